//! What PostgreSQL may be told.

use std::time::Duration;

use serde_json::Value;

use super::client::Pool;
use super::server::Server;
use super::table::{Column, Source, Table, quoted};
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};
use crate::json::Pointer;

/// See the [module](self).
pub const SETTINGS: &[Known] = &[
    Known::new(
        "url",
        "made of the four that follow",
        "the database, as \"postgres://ingest@db.example.net:5432/warehouse\"; of several hosts the one that takes writes",
    ),
    Known::new("host", "none", "the server, or the folder of its Unix socket"),
    Known::new("port", "5432", "its port"),
    Known::new("database", "called as the user", "the database"),
    Known::new("user", "none", "who signs in"),
    Known::new("password", "the URL's", "with which password"),
    Known::required(
        "table",
        "the table, with its schema if that is not on the user's search path: \"analytics.events\"",
    ),
    Known::new(
        "columns",
        "id, ts, received_at, type, event, name, user_id, anonymous_id, group_id, previous_id, properties, traits, context",
        "a table: \"id\", \"time\", \"arrived\", \"whole\" or a JSON pointer for each column, or { from = \"/total\", type = \"numeric\" }",
    ),
    Known::new(
        "id_column",
        "the column of \"id\"",
        "the column that rows are recognised by: with a unique index of its own",
    ),
    Known::new("create", "false", "whether the table, and columns that it lacks, are made"),
    Known::new(
        "tls",
        "\"verify-full\"; for a private address written out \"prefer\"",
        "\"verify-full\", or without asking who the server is \"require\" or \"prefer\", or \"disable\"",
    ),
    Known::new(
        "root_cert",
        "the system's",
        "a PEM file with the authorities of \"verify-full\"; relative paths start in the data directory",
    ),
    Known::new("timeout", "\"60s\"", "for one batch in all"),
];

/// The columns of a table that nobody described: name, source, type.
const COLUMNS: [(&str, &str, &str); 13] = [
    ("id", ID, "text"),
    ("ts", TIME, "timestamptz"),
    ("received_at", ARRIVED, "timestamptz"),
    ("type", "/type", "text"),
    ("event", "/event", "text"),
    ("name", "/name", "text"),
    ("user_id", "/userId", "text"),
    ("anonymous_id", "/anonymousId", "text"),
    ("group_id", "/groupId", "text"),
    ("previous_id", "/previousId", "text"),
    ("properties", "/properties", "jsonb"),
    ("traits", "/traits", "jsonb"),
    ("context", "/context", "jsonb"),
];
const ID: &str = "id";
const TIME: &str = "time";
const ARRIVED: &str = "arrived";
const WHOLE: &str = "whole";

/// The types that a column may be described with.
const KINDS: [&str; 15] = [
    "text",
    "jsonb",
    "json",
    "timestamptz",
    "timestamp",
    "date",
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "uuid",
    "inet",
];

/// The longest name that PostgreSQL keeps whole, in bytes.
const LONGEST_NAME: usize = 63;

/// How long a batch may take in all, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A destination's settings, checked, and its connections.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) pool: Pool,
    pub(super) table: Table,
    pub(super) create: bool,
    pub(super) timeout: Duration,
    /// Where the database is, for people.
    pub(super) shown: String,
    /// How connections are secured, for people.
    pub(super) tls: &'static str,
    /// What no answer may show.
    pub(super) secret: Option<Secret>,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Postgres, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let server = Server::read(&mut settings, &setup.base_dir);
    let table = table(&mut settings);
    let (create, timeout) = (settings.flag("create"), settings.period("timeout", TIMEOUT));
    let problems = settings.finish();
    match (server, table) {
        (Some(server), Some(table)) if problems.is_empty() => {
            let (shown, tls, secret) = (server.shown(), server.mode, server.password);
            let pool = Pool::new(server.config, server.tls, &setup.name);
            Ok(Postgres { pool, table, create, timeout, shown, tls, secret })
        }
        _ => Err(problems),
    }
}

fn table(settings: &mut Settings) -> Option<Table> {
    let name = settings.required("table", "analytics.events");
    let columns = columns(settings);
    let id = settings.text("id_column");
    let ids: Vec<&str> = columns
        .iter()
        .filter(|column| matches!(column.source, Source::Id))
        .map(|column| column.name.as_str())
        .collect();
    let id = match (id, ids.as_slice()) {
        (Some(id), ids) if ids.contains(&id.as_str()) => Some(id),
        (Some(_), _) => {
            settings.report(
                "id_column",
                "is no column of events' ids",
                "name a column whose source is \"id\"",
            );
            None
        }
        (None, [id]) => Some((*id).to_owned()),
        (None, []) => {
            settings.report("columns", "holds no column of events' ids", "add one, as id = \"id\"");
            None
        }
        (None, _) => {
            settings.report(
                "id_column",
                "is missing: there are several columns of events' ids",
                "name the one with a unique index",
            );
            None
        }
    };
    let name = identifiers(settings, &name?)?;
    Some(Table { name, columns, id: id? })
}

/// A table's name, quoted part by part.
fn identifiers(settings: &mut Settings, name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
        settings.report("table", "is no name of a table", "write it as \"events\" or \"analytics.events\"");
        return None;
    }
    Some(parts.into_iter().map(quoted).collect::<Vec<_>>().join("."))
}

/// What is longer would be cut without a word.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains('\0')
}

fn columns(settings: &mut Settings) -> Vec<Column> {
    let Some(mut described) = settings.table("columns") else {
        let usual = COLUMNS.iter().filter_map(|(name, source, kind)| column(name, source, Some(*kind)));
        return usual.collect();
    };
    let mut columns = Vec::new();
    for (name, value) in described.rest() {
        if !is_name(&name) {
            described.report(&name, "is no name of a column", "names have 1 to 63 bytes");
            continue;
        }
        match of_value(&name, &value) {
            Some(column) => columns.push(column),
            None => described.report(
                &name,
                "says not what the column holds",
                format!(
                    "write \"{ID}\", \"{TIME}\", \"{ARRIVED}\", \"{WHOLE}\", a JSON pointer as \"/userId\", or \
                     {{ from = \"/total\", type = \"numeric\" }} with one of the types {}",
                    KINDS.join(", ")
                ),
            ),
        }
    }
    settings.absorb(described);
    columns
}

fn of_value(name: &str, value: &Value) -> Option<Column> {
    let Value::Object(parts) = value else { return column(name, value.as_str()?, None) };
    let known = parts.keys().all(|key| matches!(key.as_str(), "from" | "type"));
    let kind = match parts.get("type") {
        Some(kind) => Some(kind.as_str()?),
        None => None,
    };
    column(name, parts.get("from")?.as_str()?, kind).filter(|_| known)
}

fn column(name: &str, source: &str, kind: Option<&str>) -> Option<Column> {
    let (source, usual) = match source {
        ID => (Source::Id, "text"),
        TIME => (Source::Time, "timestamptz"),
        ARRIVED => (Source::Arrived, "timestamptz"),
        WHOLE => (Source::Whole, "jsonb"),
        pointer => (Source::At(Pointer::parse(pointer).ok()?), "text"),
    };
    let kind = KINDS.into_iter().find(|known| *known == kind.unwrap_or(usual))?;
    Some(Column { name: name.to_owned(), source, kind })
}
