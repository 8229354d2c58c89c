//! The part of `store-outage` in which nodes reach the documents and not each other: in a network namespace, whose routes to the
//! addresses where nodes listen for each other are taken away.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::json;
use shardmill_connectors::Millis;
use tokio::process::Command;

use super::rig::PATIENCE;
use super::{Backend, Rig, Size};
use crate::prove::{Options, Outcome};

/// Nodes.
const NODES: usize = 3;

/// Where the node in a place listens for others.
fn address(place: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(place).unwrap_or_default())
}

/// Whether a network namespace can be made here.
///
/// # Errors
/// Why it cannot.
pub(super) async fn possible() -> Result<(), String> {
    run_command("unshare", &["--net", "ip", "link", "set", "lo", "up"]).await
}

async fn run_command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).output().await;
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

/// Takes the routes between nodes away, or gives them back.
async fn cut(yes: bool) -> Result<(), String> {
    for place in 0..NODES {
        let (how, route) = (if yes { "add" } else { "del" }, format!("{}/32", address(place)));
        run_command("ip", &["route", how, "blackhole", &route, "table", "local"]).await?;
    }
    Ok(())
}

/// How many peers the node in a place hears.
async fn hears(rig: &Rig, place: usize) -> Result<usize, String> {
    let me = rig.cluster.is(place)?.node;
    let nodes = rig.cluster.ask(place, "nodes").await?;
    let heard = |row: &&serde_json::Value| row["answers"] == true && row["node"] != me.as_str();
    Ok(nodes.as_array().into_iter().flatten().filter(heard).count())
}

/// Waits until every node hears so many others; how long that took.
async fn all_hear(rig: &Rig, wanted: usize) -> Result<Duration, String> {
    let since = Instant::now();
    for place in rig.cluster.living() {
        while hears(rig, place).await? != wanted {
            if since.elapsed() > PATIENCE {
                return Err(format!("node {place} does not hear {wanted} others: {}", rig.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(since.elapsed())
}

/// In a network namespace of its own: runs this part.
///
/// # Errors
/// What does not hold.
pub async fn run(options: Options) -> Outcome {
    run_command("ip", &["link", "set", "lo", "up"]).await?;
    let lasts = Duration::from_secs(if options.short { 15 } else { 60 });
    let backend = Backend::cloud(options.seed).await?;
    let mut rig = Rig::start_with(Size::nodes(NODES, options.seed), backend, |recipe| {
        recipe.listen.extend((0..NODES).map(|place| (place, IpAddr::V4(address(place)))));
    })
    .await?;
    rig.balanced(PATIENCE).await?;
    all_hear(&rig, NODES - 1).await?;
    let epochs = rig.observer.look(|seen| seen.epochs());
    cut(true).await?;
    rig.timeline.note("peers are cut off from each other");
    let noticed = all_hear(&rig, 0).await?;
    rig.timeline.note(format!("every node says after {noticed:.2?} that it hears nobody"));
    tokio::time::sleep(lasts).await;
    let (after, dead) = rig.observer.look(|seen| (seen.epochs(), seen.dead.len()));
    if after != epochs || dead > 0 {
        return Err(format!("{dead} nodes were declared dead; epochs {epochs:?} became {after:?}"));
    }
    rig.timeline.note(format!("{} s later no shard has changed hands", lasts.as_secs()));
    let leader = rig.leader().await?;
    let victim = rig.cluster.living().into_iter().find(|place| *place != leader).ok_or("no worker")?;
    rig.route_past(victim).await?;
    let (shards, mark) = (rig.owned(victim)?, rig.cluster.mark(victim));
    let (from, killed) = (rig.requests(), Millis::now());
    rig.cluster.kill(victim).await?;
    rig.crashed(mark.clone());
    let arrived = rig.arrived(&shards, from, PATIENCE, |by| by != mark).await?;
    let moved = arrived.values().map(|at| at.since(killed)).max().unwrap_or(i64::MAX);
    rig.timeline
        .note(format!("SIGKILL of {mark}: its {} shards are read elsewhere after {moved} ms", shards.len()));
    cut(false).await?;
    rig.cluster.start(victim).await?;
    let counts = rig.balanced(PATIENCE).await?;
    let heard = all_hear(&rig, NODES - 1).await?;
    rig.timeline.note(format!("peers reach each other again: {counts:?}, all heard after {heard:.2?}"));
    let run = rig.finish().await?;
    Ok(json!({"cut_off_s": lasts.as_secs(), "noticed_after_ms": noticed.as_millis(), "declared_dead": dead,
        "epochs_changed": 0, "failover_while_cut_off_ms": moved, "heard_again_after_ms": heard.as_millis(), "run": run}))
}
