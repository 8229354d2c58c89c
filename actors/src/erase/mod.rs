//! Erasing a person: every event of theirs that was received until now is taken out of everything that is kept.
//!
//! ```text
//! tombstone.rs  remembered first, in a document that does not say whom: every door back asks it from then on
//! letters       dead-letter files, ranges and edits are written anew without the person   (dead_letters/sift, dead_letters/edits_sift)
//! parked.rs     what lanes hold apart, too
//! raw.rs        and what was kept as it was received
//! queue.rs      messages of the dead-letter queue are taken out of it
//! removals.rs   what any of these replaces is announced before, and deleted once nothing names it
//! hours.rs      an hour absorbs what is listed for it, then gets a generation without the person; what that replaces is deleted
//! search.rs     at last every object is read and decoded: nothing may be found
//! ```
//!
//! It is about events *received* before the tombstone's moment: a person may come back, and then begins anew. The moment is by the
//! clock of the machine that the command runs on, arrival by the stream's: who erases somebody who is sending at this very moment
//! does it again later. Each step leaves a state from which the same command, run again, goes on: what it looks for is what is there,
//! not what it remembers to have done.
//!
//! The doors are closed by asking, when an event comes back: redrive, redelivery and all that shows letters (in
//! [`crate::dead_letters`]), raw files (in [`crate::intake`]), replay (in [`crate::replay`]). Each asks again before it commits, so that only what had asked twice
//! before the tombstone and commits after the search would slip through.

mod hours;
mod parked;
mod queue;
mod raw;
pub(crate) mod removals;
mod search;
mod tombstone;
mod whom;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::erasure::{Seal, Sieves, Tables, Wanted};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::schema::{TableSchema, registry};
use uuid::Uuid;

use crate::dead_letters::{Letter, edits_sift, sift};
use crate::shared::Ports;
use crate::state::ShardState;
use crate::verify::Tools;
use crate::world::Reader;

pub(crate) use removals::{Removal, Removals, announced};
pub use tombstone::{Erasure, Remembered};
use whom::Whom;

/// What an erasure works with.
#[derive(Debug, Clone, Copy)]
pub struct Erase<'a> {
    /// The stores.
    pub ports: &'a Ports,
    /// How files are written, and who knows whether an owner is gone.
    pub tools: &'a Tools,
    /// Today's schemas, by table.
    pub schemas: &'a BTreeMap<String, Arc<TableSchema>>,
    /// The column of message ids that hours of a table are de-duplicated by, of tables that streams write.
    pub dedupe: &'a BTreeMap<String, Option<String>>,
    /// Whose events: all of it must hold.
    pub wanted: &'a [Wanted],
    /// How long replaced files stay readable.
    pub delete_grace: Duration,
    /// Delete them at once: a query that reads them fails.
    pub now: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was erased of one hour, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasedHour {
    /// Its table.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// Rows.
    pub rows: u64,
    /// Why nothing, or not all, could be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An object in which something was found at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The object.
    pub object: String,
    /// Events of the person in it.
    pub events: u64,
}

/// What an erasure did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// What it is remembered as.
    pub id: Option<String>,
    /// Events that arrived before this moment.
    pub received_before: Option<String>,
    /// The fields that were compared.
    pub fields: Vec<String>,
    /// The hours that had rows of the person.
    pub hours: Vec<ErasedHour>,
    /// Segments and late files with such rows that no hour had absorbed.
    pub segments: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Messages taken out of the dead-letter queue.
    pub messages: u64,
    /// Edited payloads of dead letters.
    pub edits: u64,
    /// Events that lanes held apart.
    pub parked: u64,
    /// Records in the raw backup.
    pub raw: u64,
    /// Objects written anew.
    pub objects_rewritten: u64,
    /// Objects deleted.
    pub objects_deleted: u64,
    /// Objects that are no longer shown, and are deleted when the delete grace is over.
    pub waiting: u64,
    /// What it cannot reach.
    pub not_reached: Vec<String>,
    /// Objects of others that hold the value as a text: nobody is erased for being mentioned.
    pub mentions: u64,
    /// Events of the person that were found in the end, those that wait not counted.
    pub found_after: u64,
    /// Where.
    pub left: Vec<Left>,
    /// Objects and messages that cannot be read, and why: what is in them nobody can say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Report {
    /// Tells an object that cannot be read, once: it keeps no other from being erased in.
    fn cannot_read(&mut self, object: &str, why: &str) {
        let told = format!("{object}: ");
        if !self.unread.iter().any(|line| line.starts_with(&told)) {
            self.unread.push(format!("{told}{why}"));
        }
    }

    /// Whether nothing is left that could be reached.
    pub fn is_whole(&self) -> bool {
        let proven = self.found_after == 0 && self.unread.is_empty();
        self.dry_run || (proven && self.hours.iter().all(|hour| hour.reason.is_none()))
    }
}

/// What is said whatever was found: nobody here can take it back.
const BEYOND: [&str; 4] = [
    "the streams themselves keep what they were sent until their retention ends",
    "earlier versions of objects, where the store keeps versions, stay until its lifecycle rules remove them",
    "what destinations, backups of letters, other queues and readers of the lake have got is theirs",
    "events that carry none of the compared fields: name the fields with --field, or use --where",
];

impl Erase<'_> {
    /// Erases, or says what would be.
    ///
    /// # Errors
    /// What the stores raise. Run again, it goes on.
    pub async fn run(&self) -> Result<Report, Failure> {
        let mut report = Report { dry_run: self.dry_run, ..Report::default() };
        let fields = self.wanted.iter().flat_map(|wanted| &wanted.fields);
        report.fields = fields.map(ToString::to_string).collect();
        let tables = self.tables().await?;
        let wanted = tables.read(self.wanted);
        let erasure = match self.dry_run {
            true => Erasure::new(Seal::of(&Uuid::new_v4().simple().to_string(), &wanted)),
            false => tombstone::remember(&self.ports.documents, &wanted).await?,
        };
        if !self.dry_run {
            crash::point("erase.after-tombstone");
            report.id = Some(erasure.id.clone());
        }
        report.received_before = Some(erasure.at.to_string());
        let whom = Whom::new(&erasure, &wanted);
        report.not_reached.extend(tables.misnamed(&wanted).into_iter().map(misnamed));
        let sieves = Sieves::new(erasure.seal.clone(), erasure.at, tables);
        let removals = Removals::of(&self.ports.documents, &erasure.id);
        self.letters(&erasure, (&whom, &removals), &mut report).await?;
        parked::erase(self, &whom, &removals, &mut report).await?;
        raw::erase(self, &whom, &removals, &mut report).await?;
        hours::erase(self, &sieves, &mut report).await?;
        if !self.dry_run {
            queue::erase(self, &whom, &mut report).await?;
            crash::point("erase.before-settle");
            report.objects_deleted += removals.settle(self.ports).await?;
        }
        self.beyond(erasure.at, &mut report).await?;
        if !self.dry_run {
            search::search(self.ports, (&whom, &sieves), &mut report).await?;
        }
        Ok(report)
    }

    /// What the columns of tables hold, by all schemas there were.
    async fn tables(&self) -> Result<Tables, Failure> {
        let mut tables = Tables::unknown();
        self.schemas.iter().for_each(|(table, schema)| tables.learn(table, schema));
        let objects = self.ports.objects.as_ref();
        for table in registry::tables(objects).await?.into_keys() {
            for entry in registry::read(objects, &table).await?.entries() {
                tables.learn(&table, &entry.compile()?);
            }
        }
        Ok(tables)
    }

    /// Dead letters, what ranges of them stand for, and their edits.
    async fn letters(
        &self,
        erasure: &Erasure,
        (whom, removals): (&Whom, &Removals),
        report: &mut Report,
    ) -> Result<(), Failure> {
        let tag = format!("{}-{}", erasure.id, erasure.at.0);
        let meant = |letter: &Letter| whom.is_letter(letter);
        let (ports, tools, dry_run) = (self.ports, self.tools, self.dry_run);
        let with = sift::Sift { ports, tools, removals, tag: &tag, dry_run };
        let sifted = with.run(&meant).await?;
        let edits = edits_sift::sift(self.ports, (removals, &tag), self.dry_run, |edit| {
            sifted.ids.contains(&edit.id) || whom.is_edit(edit)
        });
        let edits = edits.await?;
        report.dead_letters = sifted.ids.len() as u64;
        report.edits = edits.edits;
        report.objects_rewritten += sifted.rewritten + edits.rewritten;
        report.not_reached.extend(sifted.busy);
        for (object, why) in sifted.unread.iter().chain(&edits.unread) {
            report.cannot_read(object, why);
        }
        Ok(())
    }

    /// Says what is beyond reach, and what has not come yet.
    async fn beyond(&self, at: Millis, report: &mut Report) -> Result<(), Failure> {
        let world = Reader::default().read(self.ports.documents.as_ref()).await?;
        for (name, shard) in &world.shards {
            if !shard.ended && shard.watermark.is_none_or(|until| until < at) {
                let until = shard.watermark.map_or("nowhere".to_owned(), |until| until.to_string());
                report.not_reached.push(format!(
                    "{name} is in the lake up to {until}: what it received after that and before the erasure comes in later; run the same command again then"
                ));
            }
        }
        report.not_reached.extend(world.shards.values().flat_map(|shard| lanes_behind(shard)));
        if report.waiting > 0 {
            report.not_reached.push(format!(
                "{} replaced objects stay until the delete grace of {} s is over: nodes delete them then, or the same command does, or at once with --now",
                report.waiting,
                self.delete_grace.as_secs()
            ));
        }
        report.not_reached.extend(BEYOND.map(str::to_owned));
        Ok(())
    }
}

/// A field that was given by the name of a column: events do not know that name.
fn misnamed((table, column, property): (String, String, String)) -> String {
    format!(
        "the column `{column}` of {table} holds /{property}, which is not compared: name that field to mean it"
    )
}

/// What lanes have not come to that the lake has: they deliver it, and hold apart what fails, when all has been searched.
fn lanes_behind(shard: &ShardState) -> impl Iterator<Item = String> {
    let behind = shard.lanes.iter().filter(|(_, lane)| !lane.frozen && lane.position < shard.position);
    behind.map(|(name, _)| {
        format!(
            "the lane to {name} of {} is behind the lake: what it still delivers is the destination's, and what it still holds apart is kept; run the same command again once it has caught up",
            shard.name()
        )
    })
}

#[cfg(test)]
mod tests;
