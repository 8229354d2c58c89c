//! The proof of the lake: every book balances, every file holds what is recorded of it, every object is accounted for, and the
//! catalog shows what the documents say.
//!
//! Nodes may run and write meanwhile. So each check either reads in an order that can only come out right, or looks again
//! before it believes what it saw.
//!
//! ```text
//! books.rs    shards and hours, on the documents alone      late.rs      manifests against the hours that absorbed them
//! files.rs    Parquet files against what is recorded        letters.rs   files of dead letters, edits and parked events
//! catalog.rs  the catalog against the documents             objects.rs   what no document lists
//! schemas.rs  registered schemas                            raw.rs       records as they were received, against their commits
//! duplicates.rs  ids that count twice, lists of duplicates  live.rs  live tables against the documents
//! finding.rs  what is found                                 repair/      what can be done about it
//! ```

mod books;
mod catalog;
mod duplicates;
mod files;
pub mod finding;
mod late;
mod letters;
mod live;
mod objects;
mod raw;
pub mod repair;
mod schemas;
#[cfg(test)]
mod tests;

use serde::Serialize;
use shardmill_cluster::cell;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;

use crate::shared::Ports;
use crate::state::ShardState;
use crate::sweeper::{Survey, survey_with};
use crate::world::Reader;

pub use self::finding::{Action, Finding, Kind};
pub use self::repair::{Outcome, Repair, Tools};

/// How often the documents are read again while shards move between two readings.
const READINGS: usize = 10;

/// What is verified. Books and objects always are, whatever the scope: they tell only as a whole, and cost little.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only hours of this table.
    pub table: Option<String>,
    /// Only this hour.
    pub hour: Option<Hour>,
    /// Only this hour and later ones.
    pub since: Option<Hour>,
    /// Only hours before this one.
    pub until: Option<Hour>,
    /// Decode every column of every file, not only the origins, and check every byte.
    pub deep: bool,
}

impl Scope {
    /// Whether an hour is meant.
    pub fn takes(&self, table: &str, hour: Hour) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == table)
            && self.hour.is_none_or(|wanted| wanted == hour)
            && self.since.is_none_or(|since| hour >= since)
            && self.until.is_none_or(|until| hour < until)
    }
}

/// The outcome of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether nothing is wrong; orphans do no harm.
    pub ok: bool,
    /// Shards whose books were balanced.
    pub shards: u64,
    /// Hours whose books were balanced.
    pub hours: u64,
    /// Records the lake has read, over all shards.
    pub read: u64,
    /// Rows in present generations.
    pub rows: u64,
    /// Rows in segments that no hour has absorbed.
    pub fresh: u64,
    /// Events that became dead letters at the lake.
    pub invalid: u64,
    /// Late rows absorbed, those dropped as duplicates not counted.
    pub late: u64,
    /// Rows of hours that are older than their tables keep.
    pub expired: u64,
    /// Rows dropped because an earlier row of their hour has their message id.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Rows of people who were erased.
    pub erased: u64,
    /// Parquet files and dead-letter files read.
    pub files: u64,
    /// Records that are kept as they were received.
    pub raw: u64,
    /// Partitions that the catalog was asked for.
    pub partitions: u64,
    /// Objects that a document lists.
    pub listed: u64,
    /// Unlisted objects that nobody can list any more: the sweeper deletes them.
    pub abandoned: Vec<String>,
    /// Unlisted objects of a present epoch.
    pub in_flight: Vec<String>,
    /// What is wrong, and orphans.
    pub findings: Vec<Finding>,
    /// What was done about it, or would be.
    pub repairs: Vec<Repair>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Verifies the lake behind `ports`, while nodes run or not.
///
/// # Errors
/// What the stores raise when documents, lists or the catalog cannot be read. A file that cannot be read is a finding.
pub async fn verify(ports: &Ports, scope: &Scope) -> Result<Report, Failure> {
    let mut reader = Reader::default();
    let (mut survey, mut report) = balance(ports, scope, &mut reader).await?;
    objects::still_there(ports, &mut survey).await?;
    late::check(ports, scope, &survey.world, &mut report).await?;
    files::check(ports, scope, (&survey.world, &mut reader), &mut report).await?;
    duplicates::check(ports, scope, &survey.world, &mut report).await?;
    letters::check(ports, &survey.world, &mut report).await?;
    schemas::check(ports, &survey.listed, &mut report).await?;
    raw::check(ports, scope, &survey.world, &mut report).await?;
    catalog::check(ports, scope, &survey.world, &mut report).await?;
    live::check(ports, scope, &survey.world, &mut report).await?;
    objects::account(survey, &mut report);
    report.ok = report.findings.iter().all(|finding| finding.kind.is_harmless());
    Ok(report)
}

/// Reads objects and documents until every shard can be judged, and balances all books.
async fn balance(ports: &Ports, scope: &Scope, reader: &mut Reader) -> Result<(Survey, Report), Failure> {
    let mut reading = 1;
    loop {
        let survey = survey_with(ports, reader).await?;
        let mut report = Report::default();
        let mut moved = Vec::new();
        for behind in books::shards(&survey.world, &mut report) {
            // Whoever absorbed the number had read it in this very document: read now, it says so, or it never will.
            let key = format!("shards/{}", behind.shard);
            let now = cell::read::<ShardState>(ports.documents.as_ref(), &key).await?;
            let now = now.map(|shard| shard.next_segment);
            match behind.has_moved(now) {
                true => moved.push(behind),
                false => report.findings.push(behind.finding(now)),
            }
        }
        if moved.is_empty() || reading == READINGS {
            report.findings.extend(moved.iter().map(books::Behind::restless));
            books::hours(&survey.world, scope, &mut report);
            return Ok((survey, report));
        }
        reading += 1;
    }
}
