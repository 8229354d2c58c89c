//! The faults: how each is planted, and what must be found then.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use shardmill_actors::state::{HourState, Segment, ShardState};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::{Hour, layout};

use super::lake::{Lake, Old, TABLE, said};

/// What is done to a lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A segment's object is deleted.
    SegmentLost,
    /// A bit of a segment is flipped.
    SegmentFlipped,
    /// A segment's entry stands twice in its shard's list.
    EntryDoubled,
    /// A segment is copied, and the copy listed, too.
    SegmentCopied,
    /// A segment's entry is gone from its shard's list.
    EntryLost,
    /// A generation's file is deleted.
    GenerationLost,
    /// A bit of a generation's file is flipped, in this part of it.
    GenerationFlipped(Part),
    /// A generation's file is deleted, and everything it came from.
    GenerationLostForGood,
    /// The catalog has forgotten a partition. Planted by the copy.
    Unregistered,
    /// A partition points elsewhere.
    Misplaced,
    /// The catalog knows a partition that was never written.
    Stray,
    /// An upload of an epoch that is over.
    Orphan,
    /// An object that nobody knows.
    Foreign,
    /// The manifest of redriven rows is gone.
    ManifestLost,
    /// A file of dead letters is gone.
    LettersLost,
    /// A shard's document is the one of an earlier moment.
    ShardRolledBack,
    /// An hour's document is the one of an earlier moment.
    HourRolledBack,
}

/// A part of a Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The first page.
    First,
    /// Pages in the middle.
    Middle,
    /// The footer.
    Footer,
    /// The length of the footer, and the magic bytes.
    Tail,
}

/// Every fault.
pub(super) const FAULTS: [Fault; 20] = [
    Fault::SegmentLost,
    Fault::SegmentFlipped,
    Fault::EntryDoubled,
    Fault::SegmentCopied,
    Fault::EntryLost,
    Fault::GenerationLost,
    Fault::GenerationFlipped(Part::First),
    Fault::GenerationFlipped(Part::Middle),
    Fault::GenerationFlipped(Part::Footer),
    Fault::GenerationFlipped(Part::Tail),
    Fault::GenerationLostForGood,
    Fault::Unregistered,
    Fault::Misplaced,
    Fault::Stray,
    Fault::Orphan,
    Fault::Foreign,
    Fault::ManifestLost,
    Fault::LettersLost,
    Fault::ShardRolledBack,
    Fault::HourRolledBack,
];

/// What must be found.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) kind: &'static str,
    pub(super) at: String,
    /// Whether a repair mends it.
    pub(super) repairable: bool,
    /// Kinds that may be found besides: what follows from the fault.
    pub(super) others: &'static [&'static str],
    /// Whether only reading every byte finds it for sure.
    pub(super) deep: bool,
}

impl Expected {
    fn new(kind: &'static str, at: impl Into<String>) -> Self {
        Expected { kind, at: at.into(), repairable: false, others: &[], deep: false }
    }

    fn repairable(self) -> Self {
        Expected { repairable: true, ..self }
    }

    fn deep(self) -> Self {
        Expected { deep: true, ..self }
    }

    /// A partition that the catalog does not know.
    pub(super) fn unregistered(hour: Hour) -> Self {
        Expected::new("unregistered", format!("{TABLE}/{hour}")).repairable()
    }
}

/// Plants a fault.
pub(super) async fn plant(
    fault: Fault,
    lake: &Lake,
    old: &Old,
    chance: &mut StdRng,
) -> Result<Expected, String> {
    match fault {
        Fault::SegmentLost | Fault::SegmentFlipped => segment(fault, lake, chance).await,
        Fault::EntryDoubled | Fault::SegmentCopied | Fault::EntryLost => entry(fault, lake, chance).await,
        Fault::GenerationLost | Fault::GenerationFlipped(_) | Fault::GenerationLostForGood => {
            generation(fault, lake, chance).await
        }
        Fault::Unregistered => Err("a catalog forgets nothing by itself: the copy leaves it out".into()),
        Fault::Misplaced | Fault::Stray => partition(fault, lake, chance).await,
        Fault::Orphan | Fault::Foreign => object(fault, lake, chance).await,
        Fault::ManifestLost | Fault::LettersLost => late(fault, lake, chance).await,
        Fault::ShardRolledBack => rolled_back("shards/", lake, old, chance).await,
        Fault::HourRolledBack => {
            // What the newer document named is named no more, and the shards miss what it had absorbed.
            let expected = rolled_back("hours/", lake, old, chance).await?;
            Ok(Expected { others: &["unbalanced", "orphan"], ..expected })
        }
    }
}

/// A shard's document and one of its segments that no hour has absorbed.
async fn fresh(lake: &Lake, chance: &mut StdRng) -> Result<(Cell<ShardState>, Segment), String> {
    let mut all = Vec::new();
    for (key, _) in lake.documents.list("shards/").await.map_err(said)? {
        let shard: Option<ShardState> = cell::read(lake.documents.as_ref(), &key).await.map_err(said)?;
        let Some(shard) = shard else { continue };
        for segment in &shard.segments {
            let hour = layout::documents::hour(&segment.table, segment.hour);
            let hour: Option<HourState> = cell::read(lake.documents.as_ref(), &hour).await.map_err(said)?;
            let through = hour.map_or(0, |hour| hour.absorbed_through(&shard.name()));
            if segment.number > through {
                all.push((key.clone(), segment.clone()));
            }
        }
    }
    let (key, segment) = all.choose(chance).cloned().ok_or("there is no fresh segment")?;
    Ok((Cell::load(lake.documents.clone(), key).await.map_err(said)?, segment))
}

/// An hour that has a generation.
async fn closed(lake: &Lake, chance: &mut StdRng) -> Result<HourState, String> {
    let mut all = Vec::new();
    for (key, _) in lake.documents.list("hours/").await.map_err(said)? {
        let hour: Option<HourState> = cell::read(lake.documents.as_ref(), &key).await.map_err(said)?;
        all.extend(hour.filter(|hour| !hour.files.is_empty()));
    }
    all.choose(chance).cloned().ok_or_else(|| "no hour has a generation".to_owned())
}

async fn replace(lake: &Lake, key: &str, bytes: Vec<u8>) -> Result<(), String> {
    lake.objects.delete(key).await.map_err(said)?;
    lake.objects.put(key, bytes.into()).await.map_err(said).map(drop)
}

/// Flips a bit in a part of a Parquet file.
async fn flip(lake: &Lake, key: &str, part: Part, chance: &mut StdRng) -> Result<(), String> {
    let mut bytes = lake.objects.get(key).await.map_err(said)?.to_vec();
    let end = bytes.len().checked_sub(8).ok_or("a file of less than eight bytes")?;
    let length = bytes.get(end..end + 4).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    let footer = length.and_then(|length| end.checked_sub(length as usize)).ok_or("no footer")?;
    let range = match part {
        // Behind the magic bytes.
        Part::First => 4..footer.min(64),
        Part::Middle => footer / 4..footer / 4 * 3,
        Part::Footer => footer..end,
        Part::Tail => end..end + 8,
    };
    let at = chance.random_range(range);
    let bit = chance.random_range(0..8);
    bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
    replace(lake, key, bytes).await
}

async fn segment(fault: Fault, lake: &Lake, chance: &mut StdRng) -> Result<Expected, String> {
    let (_, Segment { key, .. }) = fresh(lake, chance).await?;
    if fault == Fault::SegmentLost {
        lake.objects.delete(&key).await.map_err(said)?;
        return Ok(Expected::new("missing", key));
    }
    flip(lake, &key, Part::Middle, chance).await?;
    Ok(Expected::new("corrupt", key).deep())
}

async fn entry(fault: Fault, lake: &Lake, chance: &mut StdRng) -> Result<Expected, String> {
    let (mut cell, segment) = fresh(lake, chance).await?;
    let mut state = cell.state().cloned().ok_or("the shard's document is gone")?;
    let name = state.name();
    let expected = match fault {
        Fault::EntryLost => {
            state.segments.retain(|other| other.number != segment.number);
            Expected::new("unbalanced", name)
        }
        Fault::EntryDoubled => {
            state.segments.push(segment);
            Expected::new("doubled", name).repairable()
        }
        _ => {
            let of = (segment.table.as_str(), segment.hour);
            let key = layout::segment(&state.stream, &state.shard, state.ownership.epoch, "copied", of);
            let bytes = lake.objects.get(&segment.key).await.map_err(said)?;
            lake.objects.put(&key, bytes).await.map_err(said)?;
            state.segments.push(Segment { number: state.next_segment, key, ..segment });
            state.next_segment += 1;
            Expected::new("doubled", name).repairable()
        }
    };
    cell.replace(state).await.map_err(said)?;
    Ok(expected)
}

async fn generation(fault: Fault, lake: &Lake, chance: &mut StdRng) -> Result<Expected, String> {
    let hour = closed(lake, chance).await?;
    let key = hour.files.first().map(|file| file.key.clone()).ok_or("a generation without a file")?;
    if let Fault::GenerationFlipped(part) = fault {
        flip(lake, &key, part, chance).await?;
        return Ok(Expected::new("corrupt", key).repairable().deep());
    }
    lake.objects.delete(&key).await.map_err(said)?;
    if fault == Fault::GenerationLost {
        return Ok(Expected::new("missing", key).repairable());
    }
    for input in &hour.garbage {
        lake.objects.delete(input).await.map_err(said)?;
    }
    Ok(Expected::new("missing", key))
}

async fn partition(fault: Fault, lake: &Lake, chance: &mut StdRng) -> Result<Expected, String> {
    let hour = match fault {
        Fault::Stray => Ok("2001-02-03T04".parse::<Hour>()?),
        _ => closed(lake, chance).await.map(|hour| hour.hour),
    }?;
    let folder = format!("tables/{TABLE}/elsewhere");
    lake.catalog.set_location(TABLE, hour, &folder).await.map_err(said)?;
    let at = format!("{TABLE}/{hour}");
    match fault {
        Fault::Stray => Ok(Expected::new("stray", at)),
        _ => Ok(Expected::new("misplaced", at).repairable()),
    }
}

async fn object(fault: Fault, lake: &Lake, chance: &mut StdRng) -> Result<Expected, String> {
    if fault == Fault::Foreign {
        lake.objects.put("segments/stray.parquet", "nobody knows".into()).await.map_err(said)?;
        return Ok(Expected::new("unknown", "segments/stray.parquet"));
    }
    // As a node leaves it that dies between an upload and its commit; another has the shard by now.
    let (cell, segment) = fresh(lake, chance).await?;
    let state = cell.state().ok_or("the shard's document is gone")?;
    let epoch = state.ownership.epoch.checked_sub(1).ok_or("the shard was never owned")?;
    let of = (segment.table.as_str(), segment.hour);
    let key = layout::segment(&state.stream, &state.shard, epoch, "uncommitted", of);
    let bytes = lake.objects.get(&segment.key).await.map_err(said)?;
    lake.objects.put(&key, bytes).await.map_err(said)?;
    Ok(Expected::new("orphan", key).repairable())
}

async fn late(fault: Fault, lake: &Lake, chance: &mut StdRng) -> Result<Expected, String> {
    if fault == Fault::LettersLost {
        let files = lake.objects.list("dead/").await.map_err(said)?;
        let file = files.choose(chance).ok_or("there are no dead letters")?;
        lake.objects.delete(&file.key).await.map_err(said)?;
        return Ok(Expected::new("missing", file.key.as_str()));
    }
    let manifests = lake.documents.list("late/").await.map_err(said)?;
    let (key, tag) = manifests.choose(chance).ok_or("there is no manifest")?;
    lake.documents.delete(key, tag).await.map_err(said)?;
    Ok(Expected::new("missing", key.as_str()))
}

/// Puts an earlier state of a document back.
async fn rolled_back(prefix: &str, lake: &Lake, old: &Old, chance: &mut StdRng) -> Result<Expected, String> {
    let keys: Vec<&String> = old.keys().filter(|key| key.starts_with(prefix)).collect();
    let key = keys.choose(chance).ok_or_else(|| format!("there was no document {prefix}…"))?;
    let now = lake.documents.read(key).await.map_err(said)?.ok_or_else(|| format!("{key} is gone"))?;
    let body = old.get(*key).cloned().unwrap_or_default();
    lake.documents.write(key, body, Some(&now.tag)).await.map_err(said)?;
    Ok(Expected::new("rolled_back", key.strip_prefix(prefix).unwrap_or(key)))
}
