//! `rolling-restart`: all nodes in turn end in good order and start again, under load: nothing is lost, nothing is repeated, and no
//! shard is without a reader for long.

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::rig::PATIENCE;
use super::{Backend, Rig, Size, judge};
use crate::prove::{Options, Outcome};

/// How long 95 of 100 moves may leave a shard without a reader, in milliseconds.
const GAP_MS: i64 = 1_000;
/// How much longer in the short form, which few moves decide, on machines that do other things as well.
const SHORT_MS: i64 = 2_000;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let rounds = if options.short { 1 } else { 10 };
    let cloud = Backend::cloud(options.seed).await?;
    Ok(json!({
        "embedded": on(Backend::Embedded, rounds, &options).await?,
        "aws": on(cloud, rounds, &options).await?,
    }))
}

async fn on(backend: Backend, rounds: usize, options: &Options) -> Outcome {
    let mut rig = Rig::start(Size::nodes(3, options.seed), backend).await?;
    rig.balanced(PATIENCE).await?;
    rig.flowing().await?;
    let (began, mut stops) = (Millis::now(), Vec::new());
    for round in 1..=rounds {
        for place in 0..3 {
            rig.route_past(place).await?;
            let (mark, shards) = (rig.cluster.mark(place), rig.owned(place)?.len());
            let took = rig.cluster.stop(place).await?;
            rig.timeline.note(format!("round {round}: {mark} with {shards} shards ended after {took:.2?}"));
            stops.push(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
            rig.cluster.start(place).await?;
            let counts = rig.balanced(PATIENCE).await?;
            rig.timeline.note(format!("{} is there: {counts:?}", rig.cluster.mark(place)));
        }
    }
    let moves = rig.observer.look(|seen| seen.moves(began));
    let ownerless = rig.observer.look(|seen| seen.ownerless(began));
    let dead = rig.observer.look(|seen| seen.dead.len());
    let run = rig.finish().await?;
    if dead > 0 {
        return Err(format!("{dead} nodes that left in good order were declared dead"));
    }
    within(&run, &judge::summary(&ownerless), options.short)?;
    Ok(json!({"nodes": 3, "rounds": rounds, "restarts": stops.len(), "moves": moves,
        "until_ended_ms": judge::summary(&stops), "without_an_owner_ms": judge::summary(&ownerless), "run": run}))
}

/// Judges how long shards had no reader: by what arrived, less the pause that is ordinary for a shard (on AWS one without events is
/// read once a second), and by the documents, which tell how long nobody owned a shard.
fn within(run: &Value, ownerless: &Value, short: bool) -> Result<(), String> {
    let (gaps, pauses) = (&run["gaps_of_planned_moves_ms"], &run["longest_pauses_of_shards_ms"]);
    let limit = GAP_MS + if short { SHORT_MS } else { 0 };
    let added = gaps["p95"].as_i64().zip(pauses["median"].as_i64()).map(|(gap, pause)| gap - pause);
    match (added, ownerless["p95"].as_i64()) {
        (Some(added), Some(free)) if added <= limit && free <= limit => Ok(()),
        _ => Err(format!(
            "a moving shard is without a reader for too long: {gaps} between arrivals, where {pauses} are ordinary; without an owner {ownerless}; {run:#}"
        )),
    }
}
