//! Replaying into the lake: a portion becomes one late source. Its rows are late segments of their own hours, what the table refuses
//! becomes letters, and *creating* the manifest commits both; whoever comes second adopts what is there.

use std::collections::HashSet;

use shardmill_connectors::backup::Kept;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::record::Origin;
use xxhash_rust::xxh3::xxh3_128;

use super::nowhere::Nowhere;
use super::portion::{Portion, ShardHour};
use super::records::Records;
use super::{Run, Whereto};
use crate::dead_letters::letter::Refused;
use crate::dead_letters::selection::Status;
use crate::dead_letters::{Letter, Search, Selection, announce_once};
use crate::intake::sorter::{IDS_BYTES, Of, Sorter, With};
use crate::late::{self, Attempt};
use crate::shared::{Ports, StreamSettings};
use crate::standardise::Refusal;
use crate::state::Manifest;

/// Bytes of rows that are held before they are written.
const ROWS_BYTES: u64 = 32 << 20;

/// The letters of the lake that there were when the first was needed: an event that has one gets no other.
#[derive(Debug, Default)]
pub(super) struct Earlier(Option<HashSet<u128>>);

impl Earlier {
    async fn has(&mut self, ports: &Ports, letter: &Letter) -> Result<bool, Failure> {
        let known = match &mut self.0 {
            Some(known) => known,
            none => none.insert(Self::load(ports).await?),
        };
        Ok(u128::from_str_radix(&letter.id, 16).is_ok_and(|id| known.contains(&id)))
    }

    async fn load(ports: &Ports) -> Result<HashSet<u128>, Failure> {
        let destination = Some("lake".to_owned());
        let selection = Selection { destination, status: Status::ALL.to_vec(), ..Selection::default() };
        let (mut search, mut known) = (Search::open(ports, &selection).await?, HashSet::new());
        while let Some(found) = search.next().await? {
            known.extend(u128::from_str_radix(&found.letter.id, 16));
        }
        Ok(known)
    }
}

impl Run<'_> {
    /// Replays a portion into the tables of a stream, or into the one that is not its own; the number of the raw backup through
    /// which this is done now.
    pub(super) async fn land(&mut self, portion: &Portion, into: Whereto<'_>) -> Result<u64, Failure> {
        let documents = &self.with.ports.documents;
        let attempt = Attempt::new(&portion.source);
        let sorted = self.sort((portion, &attempt), into).await?;
        let through = portion.through();
        if self.with.dry_run || (sorted.entries.is_empty() && sorted.dead_letters.is_none()) {
            self.count(&sorted, false).await?;
            return Ok(through);
        }
        crash::point("replay.before-manifest");
        self.erased.still(documents.as_ref()).await?;
        let sorted = Manifest { through: Some(through), ..sorted };
        let (manifest, created) = attempt.commit(documents, sorted).await?;
        crash::point("replay.after-manifest");
        self.result.sources += 1;
        self.result.adopted += u64::from(!created);
        self.count(&manifest, true).await?;
        Ok(manifest.through.unwrap_or(through))
    }

    /// Counts what an earlier run has committed.
    pub(super) async fn landed_before(&mut self, source: &str) -> Result<(), Failure> {
        let Some(manifest) = late::known(&self.with.ports.documents, source).await? else { return Ok(()) };
        self.result.sources += 1;
        self.result.adopted += 1;
        self.count(&manifest, true).await
    }

    /// Counts what a manifest names, and announces its letters when it was made.
    async fn count(&mut self, manifest: &Manifest, made: bool) -> Result<(), Failure> {
        self.result.rows += manifest.entries.iter().map(|entry| entry.tally.rows).sum::<u64>();
        let Some(file) = &manifest.dead_letters else { return Ok(()) };
        self.result.dead_letters += file.tally.rows;
        if made && !self.with.dry_run { announce_once(self.with.ports, file).await } else { Ok(()) }
    }

    /// Makes everything of a portion durable; the manifest to be created.
    async fn sort(
        &mut self,
        (portion, attempt): (&Portion, &Attempt),
        (stream, foreign): Whereto<'_>,
    ) -> Result<Manifest, Failure> {
        let with = self.with;
        let objects: &dyn Objects = match with.dry_run {
            true => &Nowhere,
            false => with.ports.objects.as_ref(),
        };
        let settings = Of { name: &portion.of.stream, label: "shardmill.replay", table: stream };
        let with_sorter = With { settings, objects, write: with.write, ids: IDS_BYTES };
        let mut sorter = Sorter::new(with_sorter, attempt, nobody(&portion.of), ROWS_BYTES);
        let all = (&portion.of, self.all, &self.erased);
        let mut records = Records::new(&with, self.request, all, stream, &mut self.pace);
        while let Some(kept) = records.next().await? {
            if let Err(refusal) = sorter.record(&kept.data, &kept.origin) {
                let letter = letter(stream, foreign, &kept, refusal);
                match self.earlier.has(with.ports, &letter).await? {
                    true => self.result.refused_before += 1,
                    false => sorter.refuse(&letter)?,
                }
            }
            sorter.relieve().await?;
        }
        let (read, matched) = (records.read, records.matched);
        self.result.read += read;
        self.result.matched += matched;
        sorter.finish().await
    }
}

/// The letter of a record that its table refuses: the one that it got when it was read, or would have got. In a table that is not
/// its stream's it is another letter.
fn letter(stream: &StreamSettings, foreign: Option<&str>, kept: &Kept, refusal: Refusal) -> Letter {
    let (Kept { origin, key, data }, Refusal { table, rejection }) = (kept, refusal);
    let (origin, table, at) = (origin.clone(), &table.name, Millis::now());
    let mut letter = Letter::lake(Refused { stream, table, origin, key, data, rejection, redrives: 0, at });
    if let Some(table) = foreign {
        letter.id = format!("{:032x}", xxh3_128(format!("{} in {table}", letter.id).as_bytes()));
    }
    letter
}

/// Every record has an origin of its own.
fn nobody(portion: &ShardHour) -> Origin {
    Origin {
        stream: portion.stream.as_str().into(),
        shard: portion.shard.as_str().into(),
        sequence: 0_u64.into(),
        subsequence: 0,
        arrived_at: portion.from,
    }
}
