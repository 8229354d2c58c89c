//! A table: what its rows are made of, and the statements that fill it.

use std::time::Duration;

use crate::json::Pointer;

/// Where rows stand until they are merged: in the schema of temporary tables, gone with the transaction.
const STAGING: &str = "pg_temp.shardmill_staging";

/// A table's settings, checked.
#[derive(Debug)]
pub(super) struct Table {
    /// With its schema, quoted.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The column by which rows are recognised, one of `columns`.
    pub(super) id: String,
}

/// A column that is written.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) source: Source,
    /// Its type, as PostgreSQL calls it.
    pub(super) kind: &'static str,
}

/// Where a column's value comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// The event's id.
    Id,
    /// When it happened.
    Time,
    /// When it arrived.
    Arrived,
    /// All of it.
    Whole,
    /// What stands there.
    At(Pointer),
}

impl Column {
    /// Whether its values are JSON: texts stand between quotes then.
    pub(super) fn is_json(&self) -> bool {
        self.kind.starts_with("json")
    }
}

impl Table {
    /// What begins the transaction of a batch and makes the table that it is copied into. What has taken longer than `timeout`, and
    /// what nobody goes on with for so long, the server ends by itself.
    pub(super) fn begin(&self, timeout: Duration) -> Vec<String> {
        let columns = self.columns();
        vec![
            "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned(),
            limit("statement_timeout", timeout),
            limit("idle_in_transaction_session_timeout", timeout),
            // A commit that a crash of the server undoes would be an event lost.
            "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
                .to_owned(),
            format!(
                "CREATE TEMP TABLE {STAGING} ON COMMIT DROP AS SELECT {columns} FROM {} WITH NO DATA",
                self.name
            ),
        ]
    }

    /// What takes the rows.
    pub(super) fn copy(&self) -> String {
        format!("COPY {STAGING} ({}) FROM STDIN", self.columns())
    }

    /// What inserts the rows that are not there yet.
    pub(super) fn merge(&self) -> String {
        let (columns, id) = (self.columns(), quoted(&self.id));
        format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM {STAGING} ORDER BY {id} ON CONFLICT ({id}) DO NOTHING",
            self.name
        )
    }

    /// What makes the table.
    pub(super) fn create(&self, timeout: Duration) -> [String; 4] {
        let column = |column: &Column| {
            let key = if column.name == self.id { " PRIMARY KEY" } else { "" };
            format!("{} {}{key}", quoted(&column.name), column.kind)
        };
        alone(format!("CREATE TABLE IF NOT EXISTS {} ({})", self.name, self.listed(column)), timeout)
    }

    /// What adds the columns that it lacks.
    pub(super) fn extend(&self, timeout: Duration) -> [String; 4] {
        let column =
            |column: &Column| format!("ADD COLUMN IF NOT EXISTS {} {}", quoted(&column.name), column.kind);
        alone(format!("ALTER TABLE {} {}", self.name, self.listed(column)), timeout)
    }

    fn columns(&self) -> String {
        self.listed(|column| quoted(&column.name))
    }

    fn listed(&self, shown: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

/// A change of the table, as a transaction. Who waits for the table's lock has everybody else wait as well: no longer than we do.
fn alone(change: String, timeout: Duration) -> [String; 4] {
    ["BEGIN".to_owned(), limit("statement_timeout", timeout), change, "COMMIT".to_owned()]
}

fn limit(name: &str, timeout: Duration) -> String {
    format!("SET LOCAL {name} = {}", timeout.as_millis().clamp(1, i32::MAX as u128))
}

/// An identifier that cannot be taken for anything else.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
