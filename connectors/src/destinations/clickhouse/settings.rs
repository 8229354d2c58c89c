//! What ClickHouse may be told.

use reqwest::header::HeaderValue;

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};
use crate::json::Pointer;

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required(
        "url",
        "the HTTP interface, as \"https://ch.example.net:8443\"; more parameters may stand in its query",
    ),
    Known::required("table", "the table"),
    Known::new("database", "the user's", "the table's database"),
    Known::new("user", "the server's default", "who signs in"),
    Known::new("password", "none", "with which password"),
    Known::new(
        "columns",
        "id, ts, type, event, user_id, anonymous_id, properties",
        "a table of columns: \"id\", \"time\" or a JSON pointer for each, as { page = \"/context/page/url\" }",
    ),
    Known::new("async_insert", "false", "whether the server gathers rows of several inserts; for few events"),
];

/// The columns of a table that nobody described.
const COLUMNS: [(&str, &str); 7] = [
    ("id", ID),
    ("ts", TIME),
    ("type", "/type"),
    ("event", "/event"),
    ("user_id", "/userId"),
    ("anonymous_id", "/anonymousId"),
    ("properties", "/properties"),
];
const ID: &str = "id";
const TIME: &str = "time";

/// A table's settings, checked.
#[derive(Debug)]
pub struct Clickhouse {
    pub(super) endpoint: Endpoint,
    /// With its database, quoted.
    pub(super) table: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) columns: Vec<Column>,
    pub(super) async_insert: bool,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) source: Source,
}

/// Where a column's value comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// The event's id.
    Id,
    /// When it happened.
    Time,
    /// What stands there.
    At(Pointer),
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Clickhouse, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let endpoint = Endpoint::read(&mut settings, "url", None);
    let table = settings.required("table", "events");
    let database = settings.text("database").filter(|name| !name.is_empty());
    let (user, password) = credentials(&mut settings);
    let columns = columns(&mut settings);
    let async_insert = settings.flag("async_insert");
    let problems = settings.finish();
    match (endpoint, table) {
        (Some(endpoint), Some(table)) if problems.is_empty() => {
            let table =
                database.iter().chain([&table]).map(|name| quoted(name)).collect::<Vec<_>>().join(".");
            Ok(Clickhouse { endpoint, table, user, password, columns, async_insert })
        }
        _ => Err(problems),
    }
}

fn credentials(settings: &mut Settings) -> (Option<String>, Option<Secret>) {
    let (user, password) = (settings.text("user"), settings.secret("password"));
    if password.is_some() && user.is_none() {
        settings.report("password", "is of no use without `user`", "add user = \"…\"");
    }
    for (key, text) in [("user", user.as_deref()), ("password", password.as_ref().map(Secret::reveal))] {
        if text.is_some_and(|text| HeaderValue::from_str(text).is_err()) {
            settings.report(key, "does not fit into a header", "use printable ASCII characters");
        }
    }
    (user, password)
}

fn columns(settings: &mut Settings) -> Vec<Column> {
    let Some(mut table) = settings.table("columns") else {
        let usual = COLUMNS.iter().filter_map(|(name, source)| column(name, source));
        return usual.collect();
    };
    let described = table.rest();
    if described.is_empty() {
        settings.report(
            "columns",
            "holds no column",
            "write them as { name = \"/pointer\" }, or leave it out",
        );
    }
    let mut columns = Vec::new();
    for (name, source) in described {
        match source.as_str().and_then(|source| column(&name, source)) {
            Some(column) => columns.push(column),
            None => table.report(
                &name,
                "says not where the column's value comes from",
                "write \"id\", \"time\" or a JSON pointer as \"/userId\"",
            ),
        }
    }
    settings.absorb(table);
    columns
}

fn column(name: &str, source: &str) -> Option<Column> {
    let source = match source {
        ID => Source::Id,
        TIME => Source::Time,
        pointer => Source::At(Pointer::parse(pointer).ok()?),
    };
    Some(Column { name: name.to_owned(), source })
}

/// An identifier that cannot be taken for anything else.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', r"\\").replace('`', r"\`"))
}
