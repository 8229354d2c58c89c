//! `store-outage`: the documents are away for everybody, then for one node only; then peers are cut off from each other and not from
//! the documents. Never do two owners commit, and everything comes back without a hand.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::Millis;
use tokio::process::Command;

use super::cut_off;
use super::rig::PATIENCE;
use super::{Backend, Rig, Size};
use crate::harness::cloud::Cloud;
use crate::harness::proxy::{Fault, FaultProxy, Rule};
use crate::prove::{Options, Outcome};

/// A node that cannot renew must have stopped sending so long after, in milliseconds: its lease.
const LEASE_MS: i64 = 6_000;
/// How long after an outage nothing more may change hands.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let away = Duration::from_secs(if options.short { 15 } else { 60 });
    let cloud = Cloud::start(super::setting::SHARDS, options.seed).await?;
    let mut proxies = Vec::new();
    for number in 0..3 {
        proxies.push(cloud.proxy(options.seed.wrapping_add(number)).await?);
    }
    let urls: Vec<String> = proxies.iter().map(|proxy| proxy.url().to_owned()).collect();
    let backend = Backend::Cloud(Box::new(cloud));
    let mut rig = Rig::start_with(Size::nodes(3, options.seed), backend, |recipe| {
        for (place, url) in urls.into_iter().enumerate() {
            recipe.own_env.insert(place, [("AWS_ENDPOINT_URL_S3".to_owned(), url)].into());
        }
    })
    .await?;
    rig.balanced(PATIENCE).await?;
    rig.flowing().await?;
    let everybody = for_everybody(&mut rig, &proxies, away).await?;
    let mut one = Vec::new();
    for leads in if options.short { vec![false] } else { vec![false, true] } {
        one.push(for_one(&mut rig, &proxies, leads, away).await?);
    }
    let run = rig.finish().await?;
    let cut = match cut_off::possible().await {
        Ok(()) => peers_cut_off(&options).await?,
        Err(why) if options.short => json!({"left_out": why}),
        Err(why) => return Err(format!("peers cannot be cut off: {why}")),
    };
    Ok(
        json!({"away_s": away.as_secs(), "everybody": everybody, "one_node": one, "run": run, "peers_cut_off": cut}),
    )
}

/// Every call about a document ends in a reset.
fn away() -> [Rule; 1] {
    [Rule::new(Fault::Reset).target("state")]
}

/// Requests of senders that `by` accepts, between two moments.
fn sent(rig: &Rig, (from, until): (Millis, Millis), by: impl Fn(&str) -> bool) -> usize {
    rig.receiver.look(|record| {
        let meant = record.entries.iter().filter(|entry| (from..until).contains(&entry.at) && by(&entry.via));
        meant.count()
    })
}

async fn for_everybody(rig: &mut Rig, proxies: &[FaultProxy], lasts: Duration) -> Result<Value, String> {
    let epochs = rig.observer.look(|seen| seen.epochs());
    let (began, acknowledged) = (Millis::now(), rig.acknowledged());
    proxies.iter().for_each(|proxy| proxy.rules(away()));
    rig.timeline.note("the documents are away for everybody");
    tokio::time::sleep(lasts).await;
    let taken = rig.acknowledged() - acknowledged;
    let (from, back) = (rig.requests(), Millis::now());
    proxies.iter().for_each(|proxy| proxy.rules([]));
    let late = sent(rig, (began.plus(LEASE_MS), back), |_| true);
    rig.timeline
        .note(format!("they are back; {taken} events were acknowledged meanwhile, {late} requests sent"));
    let all: Vec<String> = epochs.keys().cloned().collect();
    let arrived = rig.arrived(&all, from, PATIENCE, |_| true).await?;
    let resumed = arrived.values().map(|at| at.since(back)).max().unwrap_or(i64::MAX);
    rig.timeline.note(format!("all shards are read again after {resumed} ms"));
    tokio::time::sleep(AFTERWARDS).await;
    let (after, dead) = rig.observer.look(|seen| (seen.epochs(), seen.dead.len()));
    let faults: u64 = proxies.iter().map(|proxy| proxy.counts().injected()).sum();
    if after != epochs || dead > 0 {
        return Err(format!(
            "{dead} nodes were declared dead; epochs {epochs:?} became {after:?}: {}",
            rig.last_words()
        ));
    }
    if late > 0 || taken == 0 || faults == 0 {
        return Err(format!(
            "{late} requests were sent without a lease, {taken} events were taken, {faults} calls failed"
        ));
    }
    Ok(json!({"calls_failed": faults, "acknowledged_meanwhile": taken, "requests_without_a_lease": late,
        "all_read_again_after_ms": resumed, "declared_dead": dead, "epochs_changed": 0}))
}

async fn for_one(
    rig: &mut Rig,
    proxies: &[FaultProxy],
    leads: bool,
    lasts: Duration,
) -> Result<Value, String> {
    let leader = rig.leader().await?;
    let worker = rig.cluster.living().into_iter().find(|place| *place != leader);
    let victim = if leads { leader } else { worker.ok_or("there is no worker")? };
    rig.route_past(victim).await?;
    let (shards, mark, before) = (rig.owned(victim)?, rig.cluster.mark(victim), rig.cluster.is(victim)?);
    let (from, began) = (rig.requests(), Millis::now());
    proxies[victim].rules(away());
    rig.crashed(mark.clone());
    rig.timeline.note(format!("the documents are away for {mark} alone, with {} shards", shards.len()));
    let arrived = rig.arrived(&shards, from, PATIENCE, |by| by != mark).await?;
    let moved = arrived.values().map(|at| at.since(began)).max().unwrap_or(i64::MAX);
    rig.timeline.note(format!("all its shards are read elsewhere after {moved} ms"));
    let passed = Duration::from_millis(Millis::now().since(began).unsigned_abs());
    tokio::time::sleep(lasts.saturating_sub(passed)).await;
    let next = rig.cluster.mark_anew(victim)?;
    let (back, asked) = (Millis::now(), rig.requests());
    proxies[victim].rules([]);
    let after = rig.cluster.ready(victim, before.times + 1, PATIENCE).await?;
    let again = Millis::now().since(back);
    rig.timeline.note(format!("they are back: {} is {} after {again} ms", before.node, after.node));
    let counts = rig.balanced(PATIENCE).await?;
    let owned = rig.owned(victim)?;
    rig.arrived(&owned, asked, PATIENCE, |by| by == next).await?;
    rig.timeline.note(format!("it has work again: {counts:?}"));
    let late = sent(rig, (began.plus(LEASE_MS), Millis::now()), |by| by == mark);
    if late > 0 || after.node == before.node {
        return Err(format!("{mark} made {late} requests without a lease, and is {}", after.node));
    }
    Ok(json!({"leader": leads, "shards": shards.len(), "moved_after_ms": moved,
        "new_identity_after_ms": again, "requests_without_a_lease": late}))
}

/// The third part runs in a network of its own, where routes can be taken away.
async fn peers_cut_off(options: &Options) -> Outcome {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command.arg("--net").arg(program).arg("cut-off").args(["--seed", &options.seed.to_string()]);
    command.args(options.short.then_some("--short"));
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| format!("unshare: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.success() {
        true => serde_json::from_str(&said).map_err(|error| format!("{said:?}: {error}")),
        false => Err(format!("peers cut off: {}", said.trim())),
    }
}
