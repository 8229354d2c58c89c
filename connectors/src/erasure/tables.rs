//! What the columns of tables hold: of which property, and in which form, by all schemas that a table has had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::field::{Field, fold};
use super::seal::Wanted;
use super::spelling::Reading;
use crate::schema::{ColumnKind, TableSchema};

/// The columns of one table, by their names as names are compared.
#[derive(Debug, Clone, Default)]
pub struct Columns(BTreeMap<String, Known>);

/// What schemas say of a column.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The column's name, as it is written.
    name: String,
    /// The properties it holds, each as it is written, by their names as names are compared.
    properties: BTreeMap<String, String>,
    /// It holds JSON.
    pub(super) is_json: bool,
    /// It holds values that are no JSON.
    pub(super) is_plain: bool,
    readings: BTreeSet<Reading>,
}

impl Known {
    /// Whether it holds the property of this name.
    pub(super) fn holds(&self, property: &str) -> bool {
        self.properties.contains_key(property)
    }
}

impl Columns {
    /// What is known of a column.
    pub(super) fn get(&self, name: &str) -> Option<&Known> {
        self.0.get(name)
    }

    fn learn(&mut self, schema: &TableSchema) {
        for column in schema.columns() {
            let known = self.0.entry(fold(&column.name)).or_default();
            known.name.clone_from(&column.name);
            known.properties.insert(fold(&column.property), column.property.clone());
            known.is_json |= column.kind == ColumnKind::Json;
            known.is_plain |= column.kind != ColumnKind::Json;
            known.readings.extend(Reading::of(column.kind));
        }
    }

    /// Takes over what `others` say of columns that it knows nothing of.
    fn complete(&mut self, others: &Columns) {
        for (name, known) in &others.0 {
            self.0.entry(name.clone()).or_insert_with(|| known.clone());
        }
    }

    /// The columns whose whole value a field is.
    fn of<'c>(&'c self, field: &Field) -> impl Iterator<Item = &'c Known> {
        let whole = field.whole();
        self.0.values().filter(move |known| known.holds(&whole))
    }
}

/// The columns of every table.
#[derive(Debug, Clone)]
pub struct Tables {
    tables: BTreeMap<String, Columns>,
    /// Of tables that had no schema at some time.
    builtin: Columns,
}

impl Tables {
    /// Tables of which nothing is known but the schema that those without one have.
    pub fn unknown() -> Self {
        let mut builtin = Columns::default();
        builtin.learn(&TableSchema::builtin());
        Tables { tables: BTreeMap::new(), builtin }
    }

    /// Learns the columns of a schema that `table` has, or has had.
    pub fn learn(&mut self, table: &str, schema: &TableSchema) {
        self.tables.entry(table.to_owned()).or_default().learn(schema);
    }

    /// The columns of a table.
    pub fn of(&self, table: &str) -> Arc<Columns> {
        let mut columns = self.tables.get(table).cloned().unwrap_or_default();
        columns.complete(&self.builtin);
        Arc::new(columns)
    }

    /// The condition with the readings of all columns that hold its fields.
    pub fn read(&self, wanted: &[Wanted]) -> Vec<Wanted> {
        let one = |wanted: &Wanted| {
            let fields = || wanted.fields.iter();
            let known = self.tables.values().chain([&self.builtin]);
            let known = known.flat_map(|columns| fields().flat_map(move |field| columns.of(field)));
            let readings = known.flat_map(|known| known.readings.iter().copied()).collect();
            Wanted { readings, ..wanted.clone() }
        };
        wanted.iter().map(one).collect()
    }

    /// Columns that fields seem to name, though they hold another property: table, column and property.
    pub fn misnamed(&self, wanted: &[Wanted]) -> BTreeSet<(String, String, String)> {
        let fields = || wanted.iter().flat_map(|wanted| &wanted.fields);
        let is_meant = |known: &Known| {
            let firsts = fields().filter_map(|field| field.parts().first().cloned());
            firsts.chain(fields().map(Field::whole)).any(|name| known.holds(&name))
        };
        let mut found = BTreeSet::new();
        for (table, columns) in &self.tables {
            let named = fields().filter_map(|field| columns.get(&field.whole()));
            for known in named.filter(|known| !is_meant(known)) {
                let of = |property: &String| (table.clone(), known.name.clone(), property.clone());
                found.extend(known.properties.values().map(of));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let mut tables = Tables::unknown();
        let schema = |properties: &str| {
            TableSchema::load(&format!(r#"{{"type": "object", "properties": {{{properties}}}}}"#)).unwrap()
        };
        tables.learn("web", &schema(r#""userId": {"type": "integer", "x-column": "id"}"#));
        tables.learn("orders", &schema(r#""id": {"type": "string"}"#));
        tables
    }

    #[test]
    fn a_column_is_read_by_its_own_tables_schemas_and_values_by_those_of_all() {
        let tables = tables();
        let holds = |table: &str, column: &str, property: &str| {
            tables.of(table).get(column).is_some_and(|known| known.holds(property))
        };
        assert!(holds("web", "id", "userid") && !holds("web", "id", "id"));
        assert!(holds("orders", "id", "id") && !holds("orders", "id", "userid"));
        assert!(holds("orders", "userid", "userid") && holds("other", "userid", "userid"), "built in");
        let readings = |condition: &str| tables.read(&[Wanted::parse(condition).unwrap()]).remove(0).readings;
        assert_eq!(readings("userId = 7"), [Reading::Integer].into());
        assert_eq!(readings("/user/id = 7"), [Reading::Integer].into(), "the same column");
        assert_eq!(readings("timestamp = 7"), [Reading::Moment].into(), "built in");
        assert!(readings("id = 7").is_empty());
    }

    #[test]
    fn the_name_of_a_column_that_holds_another_property_is_told() {
        let tables = tables();
        let told = |condition: &str| tables.misnamed(&[Wanted::parse(condition).unwrap()]);
        let web = ("web".to_owned(), "id".to_owned(), "userId".to_owned());
        assert_eq!(told("id = 7"), [web].into());
        assert!(told("userId = 7").is_empty() && told("/x/id = 7").is_empty());
    }
}
