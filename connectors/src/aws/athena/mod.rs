//! The catalog on Athena: tables over the lake's Parquet files, partitions whose LOCATION is the present generation, SQL.
//!
//! Only Athena's API is used, no Glue API. A partition is made by `ADD IF NOT EXISTS PARTITION` and moved by `SET LOCATION`;
//! where it points is read back by `DESCRIBE FORMATTED … PARTITION`, the one statement whose answer names it (`SHOW PARTITIONS`
//! and `"table$partitions"` give values only). Statements of DDL cost nothing but a place among the account's active ones.
//!
//! Every statement is idempotent, so one may be issued again at will. One that was given up may still land later: callers read
//! locations back before they rely on them.

mod ddl;
mod options;
mod probe;
mod reason;
mod runner;
mod tokens;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use aws_sdk_athena::types::{ColumnInfo, ResultSet};
use futures::{StreamExt, TryStreamExt};

use self::ddl::Folders;
pub use self::options::Options;
use self::runner::Runner;
use super::Session;
use crate::failure::{Class, Failure};
use crate::hour::Hour;
use crate::ports::{Catalog, QueryResult, Snapshot};

/// The Glue catalog by the name Athena has for it.
const CATALOG: &str = "AwsDataCatalog";

/// See the [module](self).
#[derive(Debug)]
pub struct AthenaCatalog {
    runner: Runner,
    /// The columns known to be there, by table: an hour asks for its table each time.
    known: Mutex<HashMap<String, BTreeSet<String>>>,
}

impl AthenaCatalog {
    /// The catalog as `options` say. Nothing is asked of AWS yet.
    pub fn new(session: &Session, options: Options) -> Self {
        AthenaCatalog { runner: Runner::new(session.athena(), options), known: Mutex::default() }
    }

    /// Whether the workgroup can be used.
    ///
    /// # Errors
    /// What is not possible, with what to do.
    pub async fn probe_workgroup(&self) -> Result<(), Failure> {
        probe::workgroup(&self.runner).await
    }

    /// Whether the database may be asked for. One that does not exist is made when its first table is.
    ///
    /// # Errors
    /// As [`AthenaCatalog::probe_workgroup`].
    pub async fn probe_database(&self) -> Result<(), Failure> {
        probe::database(&self.runner).await
    }

    fn options(&self) -> &Options {
        &self.runner.options
    }

    fn knows(&self, table: &str, columns: &SchemaRef) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(table).is_some_and(|there| lacking(columns, there).is_empty())
    }

    fn remember(&self, table: &str, columns: Option<BTreeSet<String>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match columns {
            Some(columns) => known.insert(table.to_owned(), columns),
            None => known.remove(table),
        };
    }

    /// The names of the table's columns, or `None` when there is no such table.
    async fn columns(&self, table: &str) -> Result<Option<BTreeSet<String>>, Failure> {
        Ok(self.types(table).await?.map(|types| types.into_keys().collect()))
    }

    /// The table's columns with their types, or `None` when there is no such table.
    async fn types(&self, table: &str) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let call = self.runner.client.get_table_metadata().catalog_name(CATALOG);
        let call = call.database_name(&self.options().database).table_name(table.to_lowercase());
        match call.send().await {
            Ok(answer) => {
                let metadata = answer.table_metadata;
                let columns = metadata.iter().flat_map(|table| table.columns());
                let column = |column: &'_ aws_sdk_athena::types::Column| {
                    (column.name().to_lowercase(), column.r#type().unwrap_or_default().to_lowercase())
                };
                Ok(Some(columns.map(column).collect()))
            }
            Err(error) => {
                let failure = probe::metadata_failure(&format!("table {table} in Athena"), &error);
                let told = failure.detail.to_lowercase();
                let missing =
                    ["entitynotfound", "not found", "does not exist"].iter().any(|part| told.contains(part));
                if failure.class == Class::Rejected && missing { Ok(None) } else { Err(failure) }
            }
        }
    }

    async fn create(
        &self,
        table: &str,
        columns: &SchemaRef,
        (folders, place): (Folders, &str),
    ) -> Result<BTreeSet<String>, Failure> {
        let options = self.options();
        self.runner.change("database", &ddl::create_database(&options.database), false).await?;
        let location = options.url(place);
        let sql = ddl::create_table(table, columns, (folders, &location)).map_err(Failure::rejected)?;
        self.runner.change(&format!("table {table}"), &sql, true).await?;
        let unseen = || Failure::transient(format!("Athena does not show the table {table} yet"));
        self.columns(table).await?.ok_or_else(unseen)
    }

    /// Adds what is lacking; all columns that are there then.
    async fn add(&self, table: &str, lacking: &[&Field]) -> Result<BTreeSet<String>, Failure> {
        let sql = ddl::add_columns(table, lacking).map_err(Failure::rejected)?;
        let added = self.runner.change(&format!("columns {table}"), &sql, true).await;
        let unseen = || Failure::transient(format!("Athena does not show the table {table} any more"));
        match added {
            Ok(()) => self.columns(table).await?.ok_or_else(unseen),
            // Refused as a whole when another node has added one of them meanwhile.
            Err(failure) if failure.class == Class::Rejected => {
                let there = self.columns(table).await?.unwrap_or_default();
                match lacking.iter().filter(|field| there.contains(&field.name().to_lowercase())).count() {
                    0 => Err(failure),
                    _ => Ok(there),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Makes the table, or adds the columns it lacks.
    async fn ensure(&self, table: &str, columns: &SchemaRef, place: (Folders, &str)) -> Result<(), Failure> {
        if self.knows(table, columns) {
            return Ok(());
        }
        let mut there = match self.columns(table).await? {
            Some(there) => there,
            None => self.create(table, columns, place).await?,
        };
        // Athena adds no columns of type date:
        // https://docs.aws.amazon.com/athena/latest/ug/alter-table-add-columns.html
        let date = |field: &&Field| *field.data_type() == DataType::Date32;
        let (dates, others): (Vec<_>, Vec<_>) = lacking(columns, &there).into_iter().partition(date);
        if !others.is_empty() {
            there = self.add(table, &others).await?;
        }
        self.remember(table, Some(there.clone()));
        if let Some(date) = dates.first() {
            return Err(Failure::rejected(format!(
                "table {table}: Athena cannot add the column {} of type date; make it a date-time, or drop the table in Athena \
                 (the files stay) and it is made anew",
                date.name()
            )));
        }
        match lacking(columns, &there).first() {
            None => Ok(()),
            Some(lost) => Err(Failure::transient(format!(
                "table {table}: the column {} was lost to another change of the table",
                lost.name()
            ))),
        }
    }

    /// The hours of all partitions, ascending.
    async fn hours(&self, table: &str) -> Result<BTreeSet<Hour>, Failure> {
        let lines = self.runner.ask(&ddl::show_partitions(table)).await?;
        Ok(lines.iter().filter_map(|line| ddl::hour_in(line)).collect())
    }

    async fn add_partitions(&self, table: &str, places: &[(Hour, String)]) -> Result<(), Failure> {
        let places: Vec<_> =
            places.iter().map(|(hour, folder)| (*hour, self.options().url(folder))).collect();
        for (index, sql) in ddl::add_partitions(table, &places, ddl::LONGEST).iter().enumerate() {
            let first = places.first().map(|(hour, _)| hour.to_string()).unwrap_or_default();
            self.runner.change(&format!("add {table} {first} {index}"), sql, true).await?;
        }
        Ok(())
    }

    async fn switch(&self, table: &str, hour: Hour, folder: &str) -> Result<(), Failure> {
        let sql = ddl::set_location(table, hour, &self.options().url(folder));
        self.runner.change(&format!("set {table} {hour}"), &sql, true).await
    }

    /// A table that a statement failed on may have been dropped: it is asked for anew.
    fn judged<T>(&self, table: &str, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.as_ref().is_err_and(|failure| failure.class == Class::Rejected) {
            self.remember(table, None);
        }
        outcome
    }
}

/// The columns that are not there.
fn lacking<'a>(columns: &'a SchemaRef, there: &BTreeSet<String>) -> Vec<&'a Field> {
    ddl::data(columns).filter(|field| !there.contains(&field.name().to_lowercase())).collect()
}

#[async_trait]
impl Catalog for AthenaCatalog {
    async fn ensure_table(&self, table: &str, columns: &SchemaRef) -> Result<(), Failure> {
        self.ensure(table, columns, (Folders::Files, &format!("tables/{table}"))).await
    }

    async fn ensure_manifests(&self, table: &str, folder: &str, columns: &SchemaRef) -> Result<(), Failure> {
        self.ensure(table, columns, (Folders::Manifests, folder)).await
    }

    async fn unfit(&self, table: &str, columns: &SchemaRef) -> Result<Option<String>, Failure> {
        let Some(there) = self.types(table).await? else { return Ok(None) };
        Ok(ddl::narrower(columns, &there).map(|(column, is, wanted)| {
            format!(
                "table {table}: the column {column} is {is} in Athena and must become {wanted}, and Athena reads no Parquet column as \
                 another type; stop the nodes, drop the table in Athena (the files stay), start them (it is made anew), then \
                 `shardmill lake promote --table {table}` and `shardmill lake verify --repair`"
            )
        }))
    }

    async fn set_location(&self, table: &str, hour: Hour, location: &str) -> Result<(), Failure> {
        let outcome = async {
            self.add_partitions(table, &[(hour, location.to_owned())]).await?;
            // It may have been there, with another location.
            self.switch(table, hour, location).await
        };
        self.judged(table, outcome.await)
    }

    async fn set_locations(&self, table: &str, places: &[(Hour, String)]) -> Result<(), Failure> {
        let outcome = async {
            let there = self.hours(table).await?;
            let (moved, new): (Vec<_>, Vec<_>) =
                places.iter().cloned().partition(|(hour, _)| there.contains(hour));
            self.add_partitions(table, &new).await?;
            for (hour, folder) in &moved {
                self.switch(table, *hour, folder).await?;
            }
            Ok(())
        };
        self.judged(table, outcome.await)
    }

    async fn drop_partition(&self, table: &str, hour: Hour) -> Result<(), Failure> {
        let sql = ddl::drop_partition(table, hour);
        match self.runner.change(&format!("drop {table} {hour}"), &sql, true).await {
            Err(failure) if failure.class == Class::Rejected && self.columns(table).await?.is_none() => {
                Ok(())
            }
            outcome => self.judged(table, outcome),
        }
    }

    async fn location(&self, table: &str, hour: Hour) -> Result<Option<String>, Failure> {
        match self.runner.ask(&ddl::describe_partition(table, hour)).await {
            Ok(lines) => match ddl::location_in(&lines) {
                Some(url) => Ok(Some(self.options().folder(&url))),
                None => Err(Failure::crashed(format!(
                    "DESCRIBE FORMATTED of {table}/{hour} names no location; its {} lines: {lines:?}",
                    lines.len()
                ))),
            },
            // What Athena says of a partition that is missing is not documented: the list of partitions decides.
            Err(failure) if failure.class == Class::Rejected => {
                match self.hours(table).await?.contains(&hour) {
                    true => Err(failure),
                    false => Ok(None),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    async fn registered(&self, table: &str) -> Result<BTreeSet<Hour>, Failure> {
        self.hours(table).await
    }

    /// One statement for the list and one for each partition.
    async fn partitions(&self, table: &str) -> Result<Vec<(Hour, String)>, Failure> {
        let hours = self.hours(table).await?;
        let each = futures::stream::iter(hours)
            .map(|hour| async move { Ok::<_, Failure>((hour, self.location(table, hour).await?)) })
            .buffered(self.options().ddl_at_once.max(1));
        let found: Vec<(Hour, Option<String>)> = each.try_collect().await?;
        Ok(found.into_iter().filter_map(|(hour, location)| Some((hour, location?))).collect())
    }

    /// The whole answer is held, up to a limit, since the port gives it as a whole; pages become batches as they come.
    async fn query(&self, sql: &str, _: &Snapshot) -> Result<QueryResult, Failure> {
        if !ddl::only_reads(sql) {
            return Err(Failure::rejected(
                "only queries are allowed: SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW and DESCRIBE"
                    .to_owned(),
            ));
        }
        let ended = self.runner.query(sql.trim().trim_end_matches(';')).await?;
        let (mut next, mut bytes) = (None, 0);
        let mut result = QueryResult { schema: Schema::empty().into(), batches: Vec::new() };
        let mut first = true;
        loop {
            let (page, more) = self.runner.page(&ended.id, next).await?;
            if first {
                result.schema = schema(&page);
            }
            let mut rows = rows(&page);
            if first && has_header(&result.schema, &rows, ended.selects) {
                rows.remove(0);
            }
            first = false;
            bytes += rows.iter().flatten().flatten().map(String::len).sum::<usize>();
            if bytes > self.options().result_bytes {
                return Err(Failure::rejected(format!(
                    "the answer has more than {} bytes; add a LIMIT, or read it where Athena wrote it (query {})",
                    self.options().result_bytes,
                    ended.id
                )));
            }
            if !rows.is_empty() {
                result.batches.push(values::batch(&result.schema, &rows).map_err(Failure::crashed)?);
            }
            match more {
                Some(token) => next = Some(token),
                None => return Ok(result),
            }
        }
    }
}

fn schema(page: &ResultSet) -> SchemaRef {
    let columns = page.result_set_metadata().map(|metadata| metadata.column_info()).unwrap_or_default();
    let column = |info: &'_ ColumnInfo| {
        (info.name().to_owned(), info.r#type().to_owned(), info.precision(), info.scale())
    };
    let columns: Vec<_> = columns.iter().map(column).collect();
    values::schema(
        columns
            .iter()
            .map(|(name, kind, precision, scale)| (name.as_str(), kind.as_str(), *precision, *scale)),
    )
}

fn rows(page: &ResultSet) -> Vec<Vec<Option<String>>> {
    let cells = |row: &aws_sdk_athena::types::Row| {
        row.data().iter().map(|cell| cell.var_char_value().map(str::to_owned)).collect()
    };
    page.rows().iter().map(cells).collect()
}

/// Whether the first row of the first page holds the names of the columns: it does for SELECT. A look at the row keeps the
/// first row of data where it does not.
fn has_header(schema: &SchemaRef, rows: &[Vec<Option<String>>], selects: bool) -> bool {
    let names = || schema.fields().iter().map(|field| Some(field.name().as_str()));
    selects && rows.first().is_some_and(|row| names().eq(row.iter().map(Option::as_deref)))
}
