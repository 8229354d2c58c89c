//! The sweeper: deletes objects that no document lists and no living owner can still list.
//!
//! Objects are listed *first*, documents read afterwards: an object uploaded in between is not in the list, and one that was
//! listed by a document in between is seen there. Of what is unlisted only objects of an epoch lower than the present one
//! are deleted, because the present owner may be about to commit its own, and attempts at generations that are there already.
//! What a killed attempt at a late source has uploaded has no epoch, and goes after a day; no attempt lasts so long.
//! Manifests of live tables go when their hours are over. Objects of range letters belong to their letters. Raw backups are many and
//! never go: those of late are looked through once a day, by [`raw::sweep`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::ports::Object;

use crate::dead_letters::edits::EditIndex;
use crate::dead_letters::retention::remove_settled;
use crate::dead_letters::{DeadIndex, announce_owed};
use crate::erase;
use crate::raw;
use crate::shared::{Ports, Shared};
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::telemetry;
use crate::tree::Kind;
use crate::world::{Reader, World};

/// How often the objects are swept.
const EVERY: Duration = Duration::from_secs(600);

/// How often a node that does not lead looks whether it does.
const LEADING: Duration = Duration::from_secs(10);

/// How often settled dead-letter files are looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// An unlisted object of a command, or of a late source, is abandoned after a day. No command takes so long between an object and its
/// document, no [attempt](crate::late) at a source commits after half of it, and no clocks are so far apart.
const COMMAND_MS: i64 = 24 * 3_600_000;

/// The sweeper as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let shared = shared.clone();
    let make = move || {
        let sweeper = Sweeper { shared: shared.clone(), retained: None };
        async move { Ok(Box::new(sweeper) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec {
        name: "sweeper".into(),
        kind: Kind::Sweeper,
        body: Body::Worker(Arc::new(make)),
        view: Arc::new(|| Value::Null),
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Sweeper {
    shared: Shared,
    /// When dead-letter files were last looked through.
    retained: Option<Instant>,
}

#[async_trait]
impl Worker for Sweeper {
    async fn step(&mut self) -> Result<Next, Failure> {
        // One sweeps for all: looking at everything costs the same whoever does it.
        if !self.shared.cluster.leads() {
            return Ok(Next::After(LEADING));
        }
        let daily = self.retained.is_none_or(|at| at.elapsed() >= RETENTION_EVERY);
        let ports = &self.shared.ports;
        let survey = survey_of(ports, &mut Reader::default(), false).await?;
        let mut swept = survey.abandoned.len();
        for key in &survey.abandoned {
            ports.objects.delete(key).await?;
        }
        if daily {
            announce_owed(ports, &survey.world).await?;
            swept += raw::sweep::sweep(ports, &survey.world, Millis::now()).await?;
        }
        metrics::counter!(telemetry::SWEPT).increment(swept as u64);
        if swept > 0 {
            tracing::info!(objects = swept, "abandoned objects deleted");
        }
        if daily {
            let files = remove_settled(ports, &survey.world, Millis::now()).await?;
            tracing::debug!(files, "settled dead-letter files removed");
            self.retained = Some(Instant::now());
        }
        Ok(Next::After(EVERY))
    }
}

/// Every object of the lake, by what the documents say of it.
#[derive(Debug, Default)]
pub struct Survey {
    /// The documents it was judged by.
    pub world: World,
    /// Objects that a document lists.
    pub listed: BTreeSet<String>,
    /// Unlisted objects that nobody can list any more.
    pub abandoned: Vec<String>,
    /// Unlisted objects of a present epoch: an upload that is under way, or was given up by its living owner.
    pub in_flight: Vec<String>,
    /// Objects that no rule explains.
    pub unknown: Vec<String>,
}

/// Looks at every object and every document.
pub async fn survey(ports: &Ports) -> Result<Survey, Failure> {
    survey_with(ports, &mut Reader::default()).await
}

/// The same; of the documents that `reader` has read before only those that have changed are read again.
pub async fn survey_with(ports: &Ports, reader: &mut Reader) -> Result<Survey, Failure> {
    survey_of(ports, reader, true).await
}

/// The same, with raw backups or without.
async fn survey_of(ports: &Ports, reader: &mut Reader, whole: bool) -> Result<Survey, Failure> {
    let mut objects = Vec::new();
    let prefixes = [
        "segments/",
        "dead/",
        "parked/",
        "edits/",
        "late/",
        "tables/",
        layout::SCHEMAS,
        layout::DUPLICATES,
        layout::LIVE,
    ];
    for prefix in prefixes.into_iter().chain(whole.then_some(layout::RAW)) {
        objects.extend(ports.objects.list(prefix).await?);
    }
    let documents = ports.documents.as_ref();
    // Before what names objects: what an erasure has written is announced until it is named.
    let erasing = erase::announced(documents).await?;
    let world = reader.read(documents).await?;
    let mut survey = Survey { listed: listed(&world), ..Survey::default() };
    survey.listed.extend(DeadIndex::all(documents).await?.into_iter().map(|file| file.key));
    survey.listed.extend(EditIndex::all(documents).await?.into_iter().map(|edits| edits.object));
    if whole {
        let shards = world.shards.values().map(AsRef::as_ref);
        let named = raw::list::beside(documents, shards, None, |_| true).await?;
        survey.listed.extend(named.into_iter().map(|named| named.file.key));
    }
    let now = Millis::now();
    for object in objects {
        if survey.listed.contains(&object.key) {
            continue;
        }
        // Versions of schemas name themselves; no document does, and they stay as long as the lake.
        if layout::schema_number(&object.key).is_some() {
            survey.listed.insert(object.key);
            continue;
        }
        if erasing.contains(&object.key) {
            survey.in_flight.push(object.key);
            continue;
        }
        match fate(&object, &world, now) {
            Some(true) => survey.abandoned.push(object.key),
            Some(false) => survey.in_flight.push(object.key),
            None => survey.unknown.push(object.key),
        }
    }
    survey.world = world;
    Ok(survey)
}

/// Every object that a shard, an hour or a manifest lists, raw backups apart.
fn listed(world: &World) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for shard in world.shards.values() {
        keys.extend(shard.segments.iter().map(|segment| segment.key.clone()));
        keys.extend(shard.dead_letters.iter().map(|file| file.key.clone()));
        let parked = shard.lanes.values().filter_map(|lane| lane.parked.as_ref());
        keys.extend(parked.map(|parked| parked.object.clone()));
    }
    for manifest in world.late.values() {
        keys.extend(manifest.entries.iter().map(|entry| entry.key.clone()));
        keys.extend(manifest.dead_letters.iter().map(|file| file.key.clone()));
    }
    for hour in world.hours.values() {
        keys.extend(hour.files.iter().map(|file| file.key.clone()));
        keys.extend(hour.garbage.iter().cloned());
        keys.extend(hour.duplicate_lists.iter().map(|list| list.key.clone()));
        keys.extend(hour.quarantined.iter().map(|file| file.key.clone()));
        keys.extend(hour.live.then(|| layout::manifest(&hour.table, hour.hour)));
    }
    keys
}

/// Whether an unlisted object is abandoned (`true`) or may still be committed by its living owner (`false`); `None` when its
/// name explains nothing.
fn fate(object: &Object, world: &World, now: Millis) -> Option<bool> {
    let parts: Vec<&str> = object.key.split('/').collect();
    match parts.as_slice() {
        // Written by a command or a schedule, without an epoch, just before the document that lists it.
        ["edits", _] | ["dead", "redriven" | "scheduled" | "erased", _] => {
            Some(now.since(object.modified) > COMMAND_MS)
        }
        ["segments" | "dead" | "parked", stream, shard, _] | ["raw", stream, _, shard, _] => {
            let state = world.shards.get(&format!("{stream}/{shard}"))?;
            Some(layout::epoch_of(&object.key)? < state.ownership.epoch)
        }
        ["tables", table, year, month, day, hour, generation, _] => {
            let hour = parse_hour([year, month, day, hour])?;
            is_left_behind(world, (*table, hour), generation)
        }
        ["duplicates", table, hour, generation, _] => {
            is_left_behind(world, (*table, hour.parse().ok()?), generation)
        }
        ["live", ..] => {
            let (table, hour) = layout::manifest_of(&object.key)?;
            let state = world.hours.get(&(table.to_owned(), hour))?;
            // Otherwise its owner is about to open the hour, or to take it out of the live table.
            Some(state.expired_at.is_some() && state.catalog.switched_at.is_some())
        }
        // An attempt that lost to another of the same source; without a manifest, one that may be under way. It has no epoch, but
        // an end: none commits that has lasted for half as long.
        ["late", source, ..] => {
            Some(world.late.contains_key(*source) || now.since(object.modified) > COMMAND_MS)
        }
        _ => None,
    }
}

/// Whether nobody can commit what an attempt at a generation has made, which is in a folder of this name.
fn is_left_behind(world: &World, (table, hour): (&str, Hour), folder: &str) -> Option<bool> {
    let state = world.hours.get(&(table.to_owned(), hour))?;
    let (number, epoch) = layout::generation_of(folder)?;
    // An attempt at a generation that is there already can be committed by nobody, not even by the present owner,
    // which commits one after the other. An hour that has absorbed everything gets no later owner.
    Some(epoch < state.ownership.epoch || number <= state.generation)
}

fn parse_hour(parts: [&str; 4]) -> Option<Hour> {
    let values: BTreeMap<&str, &str> = parts.iter().filter_map(|part| part.split_once('=')).collect();
    let [year, month, day, hour] = ["year", "month", "day", "hour"].map(|name| values.get(name));
    format!("{}-{}-{}T{}", year?, month?, day?, hour?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::late;
    use crate::state::{HourState, Manifest};

    #[test]
    fn what_a_killed_attempt_at_a_late_source_has_uploaded_is_abandoned_after_a_day() {
        let object =
            Object { key: "late/replay-1-3/abc/dead.ndjson".into(), size: 1, modified: Millis(1_000) };
        let judged = |world: &World, after_ms: i64| fate(&object, world, object.modified.plus(after_ms));
        let none = World::default();
        assert_eq!((judged(&none, 0), judged(&none, COMMAND_MS)), (Some(false), Some(false)));
        assert_eq!(judged(&none, COMMAND_MS + 1), Some(true));
        let manifest = Manifest { source: "replay-1-3".into(), ..Manifest::default() };
        let made = World { late: [(manifest.source.clone(), Arc::new(manifest))].into(), ..World::default() };
        assert_eq!(judged(&made, 0), Some(true), "another attempt has made the source");
    }

    #[test]
    fn no_attempt_commits_what_may_be_swept() {
        // The first half for the attempt, the second for clocks that disagree.
        assert!(late::LONGEST.as_millis() * 2 <= u128::from(COMMAND_MS.unsigned_abs()));
    }

    #[test]
    fn manifests_are_listed_while_their_hours_last_and_go_with_them() {
        let hour: Hour = "2026-11-21T07".parse().unwrap();
        let key = layout::manifest("t", hour);
        let object = Object { key: key.clone(), size: 1, modified: Millis(0) };
        let judged = |change: fn(&mut HourState)| {
            let mut state = HourState::new("t", hour);
            change(&mut state);
            let world = World { hours: [(("t".into(), hour), Arc::new(state))].into(), ..World::default() };
            (listed(&world).contains(&key), fate(&object, &world, Millis(1)))
        };
        assert!(judged(|state| state.live = true).0);
        assert_eq!(judged(|_| {}), (false, Some(false)), "it is about to be opened");
        let over = |state: &mut HourState| {
            (state.expired_at, state.catalog.switched_at) = (Some(Millis(1)), Some(Millis(1)));
        };
        assert_eq!(judged(over), (false, Some(true)));
        assert_eq!(judged(|state| state.expired_at = Some(Millis(1))), (false, Some(false)));
        assert_eq!(fate(&object, &World::default(), Millis(1)), None, "nobody knows the hour");
        let odd = Object { key: "live/t/other".into(), ..object };
        assert_eq!(fate(&odd, &World::default(), Millis(1)), None);
    }
}
