//! What PostgreSQL says of a batch: by the SQLSTATE of its error, or by how the connection broke.

use std::error::Error as _;

use bytes::Bytes;
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use super::merge::{Cause, Stage, Trouble};
use super::settings::Postgres;
use super::table::Table;
use crate::destinations::hide::{self, Secret};
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Refusal, status};
use crate::failure::{Class, Failure};

/// What an error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Somebody must do something.
    Stop(&'static str),
    /// A row is to blame.
    Rows,
    /// The server cannot now.
    Later,
}

/// What a SQLSTATE says: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(super) fn meaning(state: &str) -> Meaning {
    use Meaning::{Later, Rows, Stop};
    match (state.get(..2).unwrap_or_default(), state) {
        ("28", _) => Stop("correct `user` and `password`, or let them in by pg_hba.conf, then resume"),
        (_, "3D000") => Stop("correct the database's name, or make it, then resume"),
        (_, "3F000") => Stop("correct the schema in `table`, or make it there, then resume"),
        (_, "42501") => Stop(
            "grant the user INSERT and SELECT on the table and TEMPORARY on the database, and with `create` CREATE on the schema, \
             then resume",
        ),
        (_, "42P01") => Stop("correct `table`, make it there, or set create = true, then resume"),
        (_, "42703") => Stop("correct `columns`, add the column there, or set create = true, then resume"),
        (_, "42P10") => {
            Stop("give the table a primary key or a unique index on the column of ids alone, then resume")
        }
        // The server is a standby: perhaps until those who look after it have moved the name.
        (_, "25006") => Later,
        ("22" | "23" | "44" | "54" | "P0", _) => Rows,
        // Poolers mix up the names of statements now and then.
        (_, "42P05") => Later,
        ("0A" | "42", _) => Stop("correct the settings or the table that the message names, then resume"),
        // 08, 25, 40, 53, 55, 57, 58, XX: connections, time, resources, locks, operators, disks. What is not known is nobody's fault.
        _ => Later,
    }
}

/// What became of a batch that was not delivered.
pub(super) fn judged(batch: Batch<'_>, trouble: &Trouble, settings: &Postgres) -> Answer {
    let refusal = match missing(trouble, &settings.table) {
        Some(failure) => failure.into(),
        None => refusal(trouble, settings.secret.as_ref()),
    };
    match refusal.failure.class {
        Class::Rejected => Answer::Split(refusal),
        _ => Answer::refused(batch.events.len(), &refusal),
    }
}

/// A column that must have a value, and that no row is given one for.
fn missing(trouble: &Trouble, table: &Table) -> Option<Failure> {
    let Cause::Error(error) = &trouble.cause else { return None };
    let said = error.as_db_error().filter(|said| said.code().code() == "23502")?;
    let column = said.column().filter(|column| !table.columns.iter().any(|known| known.name == *column))?;
    Some(Failure::unauthorized(format!(
        "PostgreSQL says 23502: the table wants a value in `{column}`, which no row has; add it to `columns`, or give it a default, then resume"
    )))
}

/// Why nothing was delivered, or why nobody knows.
pub(super) fn refusal(trouble: &Trouble, secret: Option<&Secret>) -> Refusal {
    let mut refusal = match &trouble.cause {
        Cause::Silence(time) => {
            Failure::transient(format!("{}: no answer within {time:?}", doing(trouble.stage))).into()
        }
        Cause::Error(error) => match error.as_db_error() {
            Some(said) => of_server(said),
            None => of_connection(error, trouble.stage).into(),
        },
    };
    // Once the commit is under way, only a refusal of the rows says that nothing was committed.
    refusal.unknown = trouble.stage == Stage::Committing && refusal.failure.class == Class::Transient;
    refusal.failure.detail = scrubbed(&refusal.failure.detail, secret);
    refusal.response = refusal.response.map(|response| scrubbed(&response, secret));
    refusal
}

fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Connecting => "no connection",
        Stage::Open => "nothing was committed",
        Stage::Committing => "perhaps it was committed",
    }
}

/// The server's own words. Those about rows quote what is in them: they go with the event, and not into logs.
fn of_server(said: &DbError) -> Refusal {
    let (state, message) = (said.code().code(), said.message());
    let told = format!("PostgreSQL says {state}");
    let failure = match meaning(state) {
        Meaning::Rows => Failure::rejected(format!("{told}: it does not take the row{}", place(said))),
        Meaning::Stop(remedy) => Failure::unauthorized(format!("{told}: {message}; {remedy}")),
        Meaning::Later if state == "25006" => Failure::transient(format!(
            "{told}: {message}; if it stays so, name the server that takes writes"
        )),
        Meaning::Later => Failure::transient(format!("{told}: {message}")),
    };
    let whole =
        [Some(message), said.detail(), said.where_()].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Refusal { response: status::excerpt(&Response::new(0, whole)), ..failure.into() }
}

/// Which column or constraint it is about.
fn place(said: &DbError) -> String {
    // All that an error of a value says is where it stood: `COPY shardmill_staging, line 7, column total: "x"`.
    let copied = || {
        let place = said.where_()?.lines().rev().find(|line| line.starts_with("COPY "))?;
        let (_, column) = place.split_once(", column ")?;
        Some(column.split(':').next().unwrap_or(column))
    };
    match (said.constraint(), said.column().or_else(copied)) {
        (Some(constraint), _) => format!(", by the constraint `{constraint}`"),
        (None, Some(column)) => format!(", for the column `{column}`"),
        (None, None) => String::new(),
    }
}

/// Nobody said anything: the connection did not come about, or broke.
fn of_connection(error: &Error, stage: Stage) -> Failure {
    let text = told(error);
    let remedy = match stage {
        Stage::Connecting => remedy(&text.to_lowercase()),
        Stage::Open | Stage::Committing => None,
    };
    match remedy {
        Some(remedy) => Failure::unauthorized(format!("no connection: {text}; {remedy}, then resume")),
        None => Failure::transient(format!("{}: {text}", doing(stage))),
    }
}

/// What somebody must do about a connection that does not come about.
fn remedy(text: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["certificate", "unknownissuer"]) {
        return Some(
            "renew the server's certificate, correct its name, or name its authority with `root_cert`",
        );
    }
    if says(&["does not support tls"]) {
        return Some("let the server speak TLS, or set tls = \"disable\" where nobody can listen");
    }
    says(&["password missing"]).then_some("set `password`").or_else(|| {
        says(&["authentication error", "invalid configuration"])
            .then_some("correct how the user signs in: by SCRAM, MD5 or a plain password")
    })
}

fn told(error: &Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

fn scrubbed(text: &str, secret: Option<&Secret>) -> String {
    let secrets: Vec<String> = secret.map(|secret| secret.reveal().to_owned()).into_iter().collect();
    let clean = hide::scrub(Bytes::copy_from_slice(text.as_bytes()), &secrets);
    String::from_utf8_lossy(&clean).into_owned()
}
