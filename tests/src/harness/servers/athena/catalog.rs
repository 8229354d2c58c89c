//! What the server keeps: databases, tables, their columns, and where each partition points.
//!
//! What is refused, and roughly in which words, is Athena's: statements are Hive's, and so are their errors
//! (<https://docs.aws.amazon.com/athena/latest/ug/ddl-reference.html>).

use std::collections::BTreeMap;

use super::parse::{Made, Pairs, Statement, TableName};

/// A table.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Columns with their Hive types, without the partition keys.
    pub(super) columns: Pairs,
    /// Partition keys with their types.
    pub(super) keys: Pairs,
    /// Where it lies; what has no partition of its own is not read.
    pub(super) location: String,
    /// Locations by the values of the keys.
    pub(super) partitions: BTreeMap<Vec<String>, String>,
    /// What lies there names files, one a line.
    pub(super) manifests: bool,
}

/// Tables by database and name.
#[derive(Debug, Clone, Default)]
pub(super) struct Databases(pub(super) BTreeMap<String, BTreeMap<String, Table>>);

const SEMANTIC: &str = "FAILED: SemanticException";
const TASK: &str = "FAILED: Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask.";

impl Databases {
    /// Does what a statement says; the lines it answers, or why it failed.
    pub(super) fn apply(&mut self, current: &str, statement: &Statement) -> Result<Vec<String>, String> {
        match statement {
            Statement::CreateDatabase { name, unless_there } => {
                if self.0.contains_key(name) && !unless_there {
                    return Err(format!("{TASK} Database {name} already exists"));
                }
                self.0.entry(name.clone()).or_default();
            }
            Statement::CreateTable { name, unless_there, table } => {
                let table = new_table(table)?;
                let tables = self.tables(current, name)?;
                if tables.contains_key(&name.table) && !unless_there {
                    return Err(format!(
                        "{TASK} AlreadyExistsException(message:Table {} already exists)",
                        name.table
                    ));
                }
                tables.entry(name.table.clone()).or_insert(table);
            }
            Statement::DropTable { name, if_there } => {
                if self.tables(current, name)?.remove(&name.table).is_none() && !if_there {
                    return Err(format!("{SEMANTIC} [Error 10001]: Table not found {}", name.table));
                }
            }
            Statement::ShowTables => {
                let tables = self.0.get(current).ok_or_else(|| no_database(current))?;
                return Ok(tables.keys().cloned().collect());
            }
            Statement::AddColumns { name, .. }
            | Statement::AddPartitions { name, .. }
            | Statement::DropPartition { name, .. }
            | Statement::SetLocation { name, .. }
            | Statement::Describe { name, .. }
            | Statement::ShowPartitions { name } => {
                let database = name.database.clone().unwrap_or_else(|| current.to_owned());
                let tables = self.tables(current, name)?;
                let missing =
                    || format!("{SEMANTIC} [Error 10001]: Table not found {database}.{}", name.table);
                let table = tables.get_mut(&name.table).ok_or_else(missing)?;
                return table.apply(&database, statement);
            }
        }
        Ok(Vec::new())
    }

    fn tables(&mut self, current: &str, name: &TableName) -> Result<&mut BTreeMap<String, Table>, String> {
        let database = name.database.as_deref().unwrap_or(current);
        self.0.get_mut(database).ok_or_else(|| no_database(database))
    }
}

fn no_database(name: &str) -> String {
    format!("{SEMANTIC} [Error 10072]: Database does not exist: {name}")
}

fn new_table(made: &Made) -> Result<Table, String> {
    let Made { columns, keys, location, manifests } = made;
    for (index, (name, _)) in columns.iter().chain(keys).enumerate() {
        if columns.iter().chain(keys).take(index).any(|(other, _)| other == name) {
            return Err(format!("{SEMANTIC} [Error 10036]: Duplicate column name: {name}"));
        }
    }
    Ok(Table {
        columns: columns.clone(),
        keys: keys.clone(),
        location: place(location)?,
        partitions: BTreeMap::new(),
        manifests: *manifests,
    })
}

/// A location as it is kept: S3, a folder with its slash, no wildcard; an empty folder's name is taken away.
/// <https://docs.aws.amazon.com/athena/latest/ug/tables-location-format.html>
fn place(location: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{SEMANTIC} [Error 10025]: {location} is no location: {why}"));
    let Some(path) = location.strip_prefix("s3://") else { return wrong("it must begin with s3://") };
    if path.contains(['*', '?']) || path.starts_with("arn:") || path.starts_with('/') {
        return wrong("it must name a bucket and a folder, without wildcards");
    }
    if !path.ends_with('/') {
        return wrong("it must name a folder and end with a slash");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Ok(format!("s3://{}/", parts.join("/")))
}

impl Table {
    fn apply(&mut self, database: &str, statement: &Statement) -> Result<Vec<String>, String> {
        match statement {
            Statement::AddColumns { columns, .. } => self.add_columns(columns)?,
            Statement::AddPartitions { unless_there, partitions, .. } => {
                self.add_partitions(*unless_there, partitions)?;
            }
            Statement::DropPartition { if_there, partition, .. } => {
                let values = self.values(partition)?;
                if self.partitions.remove(&values).is_none() && !if_there {
                    return Err(not_found(partition));
                }
            }
            Statement::SetLocation { partition, location, .. } => {
                let (values, location) = (self.values(partition)?, place(location)?);
                let there = self.partitions.get_mut(&values).ok_or_else(|| not_found(partition))?;
                *there = location;
            }
            Statement::ShowPartitions { .. } => {
                return Ok(self.partitions.keys().map(|values| self.shown(values)).collect());
            }
            Statement::Describe { name, formatted, partition } => {
                return self.describe((database, &name.table), *formatted, partition.as_ref());
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    /// "Does not work for columns with the date datatype":
    /// <https://docs.aws.amazon.com/athena/latest/ug/alter-table-add-columns.html>
    fn add_columns(&mut self, columns: &Pairs) -> Result<(), String> {
        let mut all = self.columns.clone();
        for (name, kind) in columns {
            if all.iter().chain(&self.keys).any(|(there, _)| there == name) {
                return Err(format!("{TASK} Duplicate column name: {name}"));
            }
            if kind == "date" {
                return Err(format!("{TASK} column {name}: date is not supported by ADD COLUMNS"));
            }
            all.push((name.clone(), kind.clone()));
        }
        self.columns = all;
        Ok(())
    }

    /// All or none. <https://docs.aws.amazon.com/athena/latest/ug/alter-table-add-partition.html>
    fn add_partitions(
        &mut self,
        unless_there: bool,
        added: &[(Pairs, Option<String>)],
    ) -> Result<(), String> {
        let mut all = self.partitions.clone();
        for (partition, location) in added {
            let values = self.values(partition)?;
            if all.contains_key(&values) {
                if unless_there {
                    continue;
                }
                return Err(format!("{TASK} AlreadyExistsException(message:Partition already exists.)"));
            }
            let own = || format!("{}{}/", self.location, self.shown(&values));
            let location = location.as_deref().map_or_else(|| Ok(own()), place)?;
            all.insert(values, location);
        }
        self.partitions = all;
        Ok(())
    }

    /// The values of the keys in their order; all keys must be named.
    fn values(&self, partition: &Pairs) -> Result<Vec<String>, String> {
        let names: Vec<&str> = partition.iter().map(|(name, _)| name.as_str()).collect();
        let wrong = || {
            format!("{SEMANTIC} [Error 10098]: partition spec {names:?} does not fit the partition columns")
        };
        if partition.len() != self.keys.len() {
            return Err(wrong());
        }
        let value = |(key, _): &(String, String)| {
            partition.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).ok_or_else(wrong)
        };
        self.keys.iter().map(value).collect()
    }

    fn shown(&self, values: &[String]) -> String {
        let pairs: Vec<String> =
            self.keys.iter().zip(values).map(|((key, _), value)| format!("{key}={value}")).collect();
        pairs.join("/")
    }

    /// As Hive writes it: cells filled up to 20 signs, separated by tabs.
    fn describe(
        &self,
        of: (&str, &str),
        formatted: bool,
        partition: Option<&Pairs>,
    ) -> Result<Vec<String>, String> {
        let cell = |text: &str| format!("{text:<20}");
        let row = |name: &str, kind: &str| format!("{}\t{}\t{}", cell(name), cell(kind), cell(""));
        let found = partition.map(|partition| {
            let values = self.values(partition)?;
            let location = self.partitions.get(&values).ok_or_else(|| not_found(partition))?;
            Ok::<_, String>((values, location.clone()))
        });
        let found = found.transpose()?;
        let empty = "\t \t ".to_owned();
        let mut lines = vec![row("# col_name", "data_type"), empty.clone()];
        lines.extend(self.columns.iter().map(|(name, kind)| row(name, kind)));
        lines.extend([
            empty.clone(),
            "# Partition Information\t \t ".to_owned(),
            row("# col_name", "data_type"),
            empty.clone(),
        ]);
        lines.extend(self.keys.iter().map(|(name, kind)| row(name, kind)));
        if formatted {
            lines.push(empty);
            let (what, location) = match &found {
                Some((_, location)) => ("# Detailed Partition Information\t \t ", location),
                None => ("# Detailed Table Information\t \t ", &self.location),
            };
            lines.push(what.to_owned());
            if let Some((values, _)) = &found {
                lines.push(format!(
                    "{}\t{}\t ",
                    cell("Partition Value:"),
                    cell(&format!("[{}]", values.join(", ")))
                ));
            }
            lines.push(format!("{}\t{}\t ", cell("Database:"), cell(of.0)));
            lines.push(format!("{}\t{}\t ", cell("Table:"), cell(of.1)));
            lines.push(format!("{}\t{}\t ", cell("Location:"), cell(location)));
        }
        Ok(lines)
    }
}

fn not_found(partition: &Pairs) -> String {
    let pairs: Vec<String> = partition.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{SEMANTIC} [Error 10006]: Partition not found {{{}}}", pairs.join(", "))
}
