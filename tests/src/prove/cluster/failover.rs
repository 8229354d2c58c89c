//! `failover`: workers and leaders are killed; all their shards are read and delivered by others within seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use shardmill_connectors::Millis;

use super::rig::PATIENCE;
use super::{Backend, Rig, Size, judge};
use crate::prove::{Options, Outcome};

/// How long the median of all failovers may take when a worker is killed, in milliseconds.
const WORKER_MS: i64 = 5_000;
/// The same of the leader.
const LEADER_MS: i64 = 8_000;

/// How often whom.
#[derive(Debug, Clone, Copy)]
struct Kills {
    workers: usize,
    leaders: usize,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let kills = |workers, leaders| Kills { workers, leaders };
    let (embedded, aws) =
        if options.short { (kills(3, 2), kills(1, 1)) } else { (kills(10, 10), kills(10, 10)) };
    let cloud = Backend::cloud(options.seed).await?;
    Ok(json!({
        "embedded": on(Backend::Embedded, embedded, &options).await?,
        "aws": on(cloud, aws, &options).await?,
    }))
}

async fn on(backend: Backend, kills: Kills, options: &Options) -> Outcome {
    let mut rig = Rig::start(Size::nodes(3, options.seed), backend).await?;
    let mut chance = StdRng::seed_from_u64(options.seed);
    rig.balanced(PATIENCE).await?;
    let (mut workers, mut leaders) = (Vec::new(), Vec::new());
    for turn in 0..kills.workers + kills.leaders {
        // In turns, as long as there are both.
        let of_leader = leaders.len() < kills.leaders && (turn % 2 == 1 || workers.len() >= kills.workers);
        tokio::time::sleep(Duration::from_millis(chance.random_range(500..2_500))).await;
        let leader = rig.leader().await?;
        let others: Vec<usize> = rig.cluster.living().into_iter().filter(|place| *place != leader).collect();
        let victim = if of_leader { leader } else { others[chance.random_range(0..others.len())] };
        let slowest = kill(&mut rig, victim, of_leader).await?;
        if of_leader { leaders.push(slowest) } else { workers.push(slowest) }
    }
    for (what, took, most) in [("worker", &workers, WORKER_MS), ("leader", &leaders, LEADER_MS)] {
        let median = judge::summary(took)["median"].as_i64().unwrap_or(i64::MAX);
        if median > most {
            return Err(format!("a killed {what}'s shards are read elsewhere after {median} ms: {took:?}"));
        }
    }
    let lake = rig.finish().await?;
    let figures = |took: &[i64]| json!({"until_all_are_read_elsewhere_ms": took, "of": judge::summary(took)});
    Ok(json!({"nodes": 3, "workers": figures(&workers), "leaders": figures(&leaders), "run": lake}))
}

/// Kills the node in a place; how long until events of every one of its shards arrive from others, in milliseconds.
async fn kill(rig: &mut Rig, victim: usize, leads: bool) -> Result<i64, String> {
    rig.route_past(victim).await?;
    let (shards, mark) = (rig.owned(victim)?, rig.cluster.mark(victim));
    if shards.is_empty() {
        return Err("the victim had no shards: nothing would be shown".into());
    }
    let in_flight = rig.under_way(&mark).await?;
    let (from, killed) = (rig.requests(), Millis::now());
    rig.cluster.kill(victim).await?;
    rig.crashed(mark.clone());
    let arrived = rig.arrived(&shards, from, PATIENCE, |by| by != mark).await?;
    let took: BTreeMap<&String, i64> = arrived.iter().map(|(shard, at)| (shard, at.since(killed))).collect();
    let took: Vec<i64> = took.into_values().collect();
    let slowest = took.iter().copied().max().unwrap_or(i64::MAX);
    rig.timeline.note(format!(
        "SIGKILL of {} {mark} with {} shards, {in_flight} requests under way: read elsewhere after {} to {slowest} ms",
        if leads { "the leader" } else { "a worker" },
        shards.len(),
        took.iter().copied().min().unwrap_or(i64::MAX)
    ));
    rig.cluster.start(victim).await?;
    let counts = rig.balanced(PATIENCE).await?;
    rig.timeline.note(format!("{} is there again: {counts:?}", rig.cluster.mark(victim)));
    Ok(slowest)
}
