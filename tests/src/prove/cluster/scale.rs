//! `scale`: from one node to five and back: work is spread evenly, and no shard moves that need not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::rig::PATIENCE;
use super::setting::SHARDS;
use super::{Backend, Rig, Size};
use crate::prove::{Options, Outcome};

/// Nodes at the most.
const NODES: usize = 5;
/// How long nothing may move to say that nothing moves any more.
const STILL: Duration = Duration::from_secs(4);
/// For so long loads are measured before they are judged.
const MEASURED: Duration = Duration::from_secs(16);

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let mut figures = json!({"equal": equal(Backend::Embedded, &options).await?});
    if !options.short {
        figures["equal_on_aws"] = equal(Backend::cloud(options.seed).await?, &options).await?;
    }
    figures["skewed"] = skewed(&options).await?;
    Ok(figures)
}

/// One step: a node came or left.
async fn step(rig: &mut Rig, what: &str, since: Millis, necessary: usize) -> Result<Value, String> {
    let before = Instant::now();
    let counts = rig.balanced(PATIENCE).await?;
    let took = before.elapsed();
    still(rig).await?;
    let moves = rig.observer.look(|seen| seen.moves(since));
    rig.timeline.note(format!("{what}: {counts:?}, {moves} moves, {necessary} necessary"));
    if rig.counts().as_ref() != Some(&counts) {
        return Err(format!("{what}: {counts:?} became {:?} without a reason", rig.counts()));
    }
    if moves != necessary {
        return Err(format!("{what}: {moves} shards moved, {necessary} had to"));
    }
    Ok(json!({"what": what, "counts": counts.values().collect::<Vec<_>>(), "moves": moves,
        "necessary": necessary, "took_ms": took.as_millis()}))
}

/// Waits until nothing has moved for a while.
async fn still(rig: &Rig) -> Result<(), String> {
    let (began, mut known, mut since) = (Instant::now(), rig.counts(), Instant::now());
    while since.elapsed() < STILL {
        if began.elapsed() > PATIENCE {
            return Err("shards move again and again".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = rig.counts();
        if now != known {
            (known, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// As many shards as a node has at least when `nodes` share them.
fn least(nodes: usize) -> usize {
    SHARDS as usize / nodes
}

async fn equal(backend: Backend, options: &Options) -> Outcome {
    let size = Size { places: NODES, ..Size::nodes(1, options.seed) };
    let mut rig = Rig::start(size, backend).await?;
    tokio::time::sleep(MEASURED).await;
    let mut steps = Vec::new();
    for place in 1..NODES {
        let since = Millis::now();
        rig.cluster.start(place).await?;
        steps.push(step(&mut rig, &format!("{} nodes", place + 1), since, least(place + 1)).await?);
    }
    for place in (1..NODES).rev() {
        rig.route_past(place).await?;
        let (since, has) = (Millis::now(), rig.owned(place)?.len());
        rig.cluster.stop(place).await?;
        steps.push(step(&mut rig, &format!("{place} nodes"), since, has).await?);
    }
    Ok(json!({"steps": steps, "run": rig.finish().await?}))
}

/// What each shard is sent, in keys of a sender; half of all goes to five shards.
fn weights() -> BTreeMap<usize, usize> {
    [(3, 12), (11, 6), (20, 4), (21, 3), (29, 2)].into()
}

async fn skewed(options: &Options) -> Outcome {
    let size = Size {
        places: NODES,
        weights: weights(),
        per_second: 240,
        padding: 6_000,
        ..Size::nodes(1, options.seed)
    };
    let mut rig = Rig::start(size, Backend::Embedded).await?;
    tokio::time::sleep(MEASURED).await;
    let mut steps = Vec::new();
    for place in 1..NODES {
        let since = Millis::now();
        rig.cluster.start(place).await?;
        tokio::time::sleep(MEASURED).await;
        steps.push(even(&mut rig, &format!("{} nodes", place + 1), since).await?);
    }
    for place in (1..NODES).rev() {
        rig.route_past(place).await?;
        let (since, has) = (Millis::now(), rig.owned(place)?.len());
        rig.cluster.stop(place).await?;
        tokio::time::sleep(MEASURED / 2).await;
        steps.push(even(&mut rig, &format!("{place} nodes, {has} shards had to move"), since).await?);
    }
    Ok(json!({"steps": steps, "run": rig.finish().await?}))
}

/// The fullest node has at most the mean and the largest shard, by what is sent.
async fn even(rig: &mut Rig, what: &str, since: Millis) -> Result<Value, String> {
    rig.all_owned(PATIENCE).await?;
    still(rig).await?;
    let moves = rig.observer.look(|seen| seen.moves(since));
    let known = weights();
    let weigh = |shard: &String| {
        let place = (0..rig.shards.len()).find(|place| rig.shards.name(*place) == *shard);
        place.and_then(|place| known.get(&place)).copied().unwrap_or(1)
    };
    let mut loads = Vec::new();
    for place in rig.cluster.living() {
        loads.push(rig.owned(place)?.iter().map(weigh).sum::<usize>());
    }
    let (largest, total) = (known.values().max().copied().unwrap_or(1), loads.iter().sum::<usize>());
    let fullest = loads.iter().max().copied().unwrap_or_default();
    rig.timeline.note(format!("{what}: loads {loads:?}, largest shard {largest}, {moves} moves"));
    if fullest * loads.len() > total + largest * loads.len() {
        return Err(format!("{what}: the fullest node has {fullest} of {total}, in all {loads:?}"));
    }
    Ok(json!({"what": what, "loads": loads, "largest_shard": largest, "moves": moves}))
}
