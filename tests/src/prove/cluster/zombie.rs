//! `zombie`: a node is stopped for longer than its lease and wakes up when its shards are others': it commits nothing, starts no
//! request, and comes back under a new identity.

use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::rig::PATIENCE;
use super::{Backend, Rig, Size};
use crate::prove::{Options, Outcome};

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let asleep = Duration::from_secs(if options.short { 8 } else { 30 });
    let cloud = Backend::cloud(options.seed).await?;
    Ok(json!({
        "embedded": on(Backend::Embedded, asleep, &options).await?,
        "aws": on(cloud, asleep.max(Duration::from_secs(15)), &options).await?,
    }))
}

async fn on(backend: Backend, asleep: Duration, options: &Options) -> Outcome {
    let mut rig = Rig::start(Size::nodes(3, options.seed), backend).await?;
    let mut sleeps = Vec::new();
    for leads in [false, true] {
        rig.balanced(PATIENCE).await?;
        rig.flowing().await?;
        let leader = rig.leader().await?;
        let worker = rig.cluster.living().into_iter().find(|place| *place != leader);
        let victim = if leads { leader } else { worker.ok_or("there is no worker")? };
        sleeps.push(sleep(&mut rig, victim, leads, asleep).await?);
    }
    let run = rig.finish().await?;
    Ok(json!({"nodes": 3, "asleep_s": asleep.as_secs(), "sleeps": sleeps, "run": run}))
}

async fn sleep(rig: &mut Rig, victim: usize, leads: bool, asleep: Duration) -> Result<Value, String> {
    rig.route_past(victim).await?;
    let (shards, mark, before) = (rig.owned(victim)?, rig.cluster.mark(victim), rig.cluster.is(victim)?);
    let in_flight = rig.under_way(&mark).await?;
    let (from, held) = (rig.requests(), Millis::now());
    rig.cluster.hold(victim).await?;
    rig.crashed(mark.clone());
    let what = if leads { "the leader" } else { "a worker" };
    rig.timeline.note(format!(
        "SIGSTOP of {what} {mark} with {} shards, {in_flight} requests under way",
        shards.len()
    ));
    let arrived = rig.arrived(&shards, from, asleep, |by| by != mark).await?;
    let moved = arrived.values().map(|at| at.since(held)).max().unwrap_or(i64::MAX);
    rig.timeline.note(format!("all its shards are read elsewhere after {moved} ms"));
    let rest = asleep.saturating_sub(Duration::from_millis(Millis::now().since(held).unsigned_abs()));
    tokio::time::sleep(rest).await;
    // Who comes back reads its configuration anew: by this mark it is told from who was stopped.
    let next = rig.cluster.mark_anew(victim)?;
    let (asleep_until, woken) = (rig.requests(), Millis::now());
    rig.cluster.wake(victim).await?;
    let after = rig.cluster.ready(victim, before.times + 1, PATIENCE).await?;
    let back = Millis::now().since(woken);
    rig.timeline.note(format!("SIGCONT: {} is {} after {back} ms", before.node, after.node));
    if after.node == before.node {
        return Err(format!("{} came back under its old identity", before.node));
    }
    let counts = rig.balanced(PATIENCE).await?;
    let again = rig.owned(victim)?;
    rig.arrived(&again, asleep_until, PATIENCE, |by| by == next).await?;
    rig.timeline.note(format!("it has work again: {counts:?}"));
    let late = rig
        .receiver
        .look(|record| record.entries[asleep_until..].iter().filter(|entry| *entry.via == *mark).count());
    let commits = rig.observer.look(|seen| {
        let old = |sight: &&crate::harness::observer::Sight| {
            sight.at >= woken && sight.owner.as_deref() == Some(&before.node)
        };
        seen.shards.values().flatten().filter(old).count()
    });
    if late > 0 || commits > 0 {
        return Err(format!("after it woke {mark} made {late} requests and {commits} commits"));
    }
    Ok(
        json!({"leader": leads, "shards": shards.len(), "requests_under_way": in_flight, "moved_after_ms": moved,
        "new_identity_after_ms": back, "requests_after_waking": late, "commits_after_waking": commits,
        "shards_after": again.len()}),
    )
}
