//! What the documents say, read in the one order that neither misses nor doubles rows.
//!
//! Intakes before late manifests: a manifest is there before its intake says so. Late manifests before shard documents, and the
//! hours' documents last. An hour absorbs only what was listed before, so
//! an hour's document read after the lists can only know more than they do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use shardmill_cluster::cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::ports::{Documents, Tag};

use crate::state::{HourState, IntakeState, Manifest, ManifestEntry, Segment, ShardState};

/// The state documents at about one moment.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// How far intakes are, by name.
    pub intakes: BTreeMap<String, Arc<IntakeState>>,
    /// Late manifests, by source.
    pub late: BTreeMap<String, Arc<Manifest>>,
    /// Shards, by `stream/shard`.
    pub shards: BTreeMap<String, Arc<ShardState>>,
    /// Hours.
    pub hours: BTreeMap<(String, Hour), Arc<HourState>>,
    /// Shards that their streams list and that have no document yet: nobody knows how far they are.
    pub unknown: Vec<String>,
    /// When the reading of it began: whatever was written before is in it.
    pub as_of: Option<Instant>,
}

/// Documents kept from one reading to the next, so that only changed ones are read again.
#[derive(Debug, Default)]
pub struct Reader {
    intakes: BTreeMap<String, (Tag, Arc<IntakeState>)>,
    late: BTreeMap<String, (Tag, Arc<Manifest>)>,
    shards: BTreeMap<String, (Tag, Arc<ShardState>)>,
    hours: BTreeMap<String, (Tag, Arc<HourState>)>,
}

impl Reader {
    /// Reads everything that changed since the last reading.
    pub async fn read(&mut self, documents: &dyn Documents) -> Result<World, Failure> {
        let as_of = Some(Instant::now());
        refresh(documents, layout::documents::INTAKES, &mut self.intakes).await?;
        refresh(documents, "late/", &mut self.late).await?;
        refresh(documents, "shards/", &mut self.shards).await?;
        refresh(documents, "hours/", &mut self.hours).await?;
        let named = |key: &String| key.strip_prefix(layout::documents::INTAKES).unwrap_or(key).to_owned();
        Ok(World {
            intakes: self.intakes.iter().map(|(key, (_, intake))| (named(key), intake.clone())).collect(),
            late: self.late.values().map(|(_, late)| (late.source.clone(), late.clone())).collect(),
            shards: self.shards.values().map(|(_, shard)| (shard.name(), shard.clone())).collect(),
            hours: self
                .hours
                .values()
                .map(|(_, hour)| ((hour.table.clone(), hour.hour), hour.clone()))
                .collect(),
            unknown: Vec::new(),
            as_of,
        })
    }

    /// Reads shard documents alone: what is committed and not known to be absorbed.
    pub async fn shards(&mut self, documents: &dyn Documents) -> Result<World, Failure> {
        let as_of = Some(Instant::now());
        refresh(documents, "shards/", &mut self.shards).await?;
        let shards = self.shards.values().map(|(_, shard)| (shard.name(), shard.clone())).collect();
        Ok(World { shards, as_of, ..World::default() })
    }
}

async fn refresh<T: serde::de::DeserializeOwned>(
    documents: &dyn Documents,
    prefix: &str,
    known: &mut BTreeMap<String, (Tag, Arc<T>)>,
) -> Result<(), Failure> {
    let listed = documents.list(prefix).await?;
    let mut next = BTreeMap::new();
    for (key, tag) in listed {
        match known.remove(&key) {
            Some((old, state)) if old == tag => _ = next.insert(key, (tag, state)),
            _ => {
                // Between listing and reading it may have changed again: then the next listing shows yet another tag.
                let Some(document) = documents.read(&key).await? else { continue };
                let state = Arc::new(cell::decode(&key, &document.body)?);
                next.insert(key, (document.tag, state));
            }
        }
    }
    *known = next;
    Ok(())
}

/// What an hour has to absorb.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Segments with the name of their shard, in order of shard and number.
    pub segments: Vec<(String, Segment)>,
    /// Late files with the name of their source.
    pub late: Vec<(String, ManifestEntry)>,
}

impl Inputs {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.late.is_empty()
    }
}

impl World {
    /// What `hour` has not absorbed of what is listed. `hour` must have been read after this world, or be owned here.
    pub fn inputs(&self, hour: &HourState) -> Inputs {
        let mut inputs = Inputs::default();
        for (name, shard) in &self.shards {
            let through = hour.absorbed_through(name);
            let mine = |s: &&Segment| s.table == hour.table && s.hour == hour.hour && s.number > through;
            inputs.segments.extend(shard.segments.iter().filter(mine).map(|s| (name.clone(), s.clone())));
        }
        for (source, manifest) in &self.late {
            if hour.late.contains_key(source) {
                continue;
            }
            let mine = |entry: &&ManifestEntry| entry.table == hour.table && entry.hour == hour.hour;
            inputs.late.extend(manifest.entries.iter().filter(mine).map(|e| (source.clone(), e.clone())));
        }
        inputs
    }

    /// Whether one of the shards that `inputs` come from lists at least `long` segments.
    pub fn feeds_from_long_list(&self, inputs: &Inputs, long: usize) -> bool {
        let lists =
            |(name, _): &(String, Segment)| self.shards.get(name).map_or(0, |shard| shard.segments.len());
        inputs.segments.iter().any(|input| lists(input) >= long)
    }

    /// Whether no row of `hour` can still come in the ordinary way: every shard of every stream in `streams` has passed the
    /// hour's end plus the grace. Shards without a document, and ended shards whose children have none, hold the hour.
    pub fn is_complete(&self, hour: Hour, streams: &BTreeSet<&str>, grace_ms: i64) -> bool {
        let passed = |watermark: Option<Millis>| watermark.is_some_and(|at| at >= hour.end().plus(grace_ms));
        let mine = |name: &str| name.split_once('/').is_some_and(|(stream, _)| streams.contains(stream));
        !self.unknown.iter().any(|name| mine(name))
            && self
                .shards
                .iter()
                .filter(|(name, _)| mine(name))
                .all(|(name, shard)| passed(shard.watermark) || (shard.ended && self.has_children(name)))
    }

    fn has_children(&self, name: &str) -> bool {
        let Some((stream, parent)) = name.split_once('/') else { return false };
        self.shards.values().any(|s| s.stream == stream && s.parents.iter().any(|p| &**p == parent))
    }

    /// The parents of a shard that have a document.
    pub fn parents<'a>(&'a self, shard: &'a ShardState) -> impl Iterator<Item = &'a Arc<ShardState>> {
        let name = |parent: &Arc<str>| format!("{}/{parent}", shard.stream);
        shard.parents.iter().filter_map(move |parent| self.shards.get(&name(parent)))
    }

    /// Whether the lane of `shard` to `destination` has come to its end, or never was and never will be. The lake may be done
    /// with a shard long before its lane begins: that waits for the parents' lanes.
    pub fn is_lane_done(&self, shard: &ShardState, destination: &str) -> bool {
        match shard.lanes.get(destination) {
            Some(lane) => lane.frozen,
            None => {
                let without = |parent: &Arc<ShardState>| {
                    !parent.lanes.contains_key(destination) && self.is_lane_done(parent, destination)
                };
                shard.ended && self.parents(shard).all(without)
            }
        }
    }

    /// Whether nothing is left to be done for a shard, for the lake or a lane to one of `destinations`.
    pub fn is_finished<'a>(
        &self,
        shard: &ShardState,
        mut destinations: impl Iterator<Item = &'a str>,
    ) -> bool {
        shard.ended
            && shard.segments.is_empty()
            && shard.dead_letters.is_empty()
            && destinations.all(|name| self.is_lane_done(shard, name))
    }

    /// The lowest watermark of `parents`: where a child shard starts.
    pub fn lowest_watermark(&self, stream: &str, parents: &[Arc<str>]) -> Option<Millis> {
        parents
            .iter()
            .filter_map(|parent| self.shards.get(&format!("{stream}/{parent}")))
            .map(|shard| shard.watermark)
            .min()
            .flatten()
    }

    /// Every hour that a document names.
    pub fn all_hours(&self) -> BTreeSet<(String, Hour)> {
        let listed = self.shards.values().flat_map(|s| &s.segments).map(|s| (s.table.clone(), s.hour));
        let late = self.late.values().flat_map(|m| &m.entries).map(|e| (e.table.clone(), e.hour));
        listed.chain(late).chain(self.hours.keys().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::record::ShardId;

    use super::*;
    use crate::state::LaneState;

    fn shard(id: &str, parent: Option<&str>, ended: bool, frozen: Option<bool>) -> Arc<ShardState> {
        let parents = parent.into_iter().map(Arc::from).collect();
        let mut state = ShardState::new("events", &ShardId::from(id), parents, None);
        state.ended = ended;
        let lane = frozen.map(|frozen| LaneState { frozen, ..LaneState::default() });
        state.lanes = lane.into_iter().map(|lane| ("crm".to_owned(), lane)).collect();
        Arc::new(state)
    }

    #[test]
    fn a_lane_that_is_still_to_come_is_not_done() {
        let world = |first: (bool, Option<bool>), second: (bool, Option<bool>)| {
            let shards = [shard("a", None, first.0, first.1), shard("b", Some("a"), second.0, second.1)];
            World { shards: shards.map(|shard| (shard.name(), shard)).into(), ..World::default() }
        };
        for (first, second, done) in [
            ((true, Some(false)), (true, None), false),
            // The parent's lane has ended: now this shard's is made.
            ((true, Some(true)), (true, None), false),
            ((true, Some(true)), (true, Some(false)), false),
            ((true, Some(true)), (true, Some(true)), true),
            ((true, Some(true)), (false, None), false),
            // A destination that came when both had ended.
            ((true, None), (true, None), true),
            ((false, None), (true, None), false),
        ] {
            let world = world(first, second);
            let child = world.shards["events/b"].clone();
            assert_eq!(world.is_lane_done(&child, "crm"), done, "{first:?} {second:?}");
            assert_eq!(world.is_finished(&child, ["crm"].into_iter()), done);
        }
        let alone = World::default();
        assert!(
            alone.is_lane_done(&shard("b", Some("gone"), true, None), "crm"),
            "nobody is left who had one"
        );
    }
}
