//! The part of `crash-points` about lanes: the node aborts between two durable steps of a lane's commit, with letters to publish and
//! keys to park; after a restart every event is delivered or one dead letter, in order.

use std::time::Duration;

use serde_json::json;
use shardmill_connectors::crash;
use tokio::sync::watch;

use super::Outcome;
use super::deliveries::{self, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use crate::harness::receiver::{Faults, Script};
use crate::harness::{Cli, Feed, Node, Receiver, Setup};

/// Events of a scenario, and their keys.
const EVENTS: u64 = 900;
const KEYS: usize = 20;

/// A node that delivers to an unreliable receiver aborts at the `turn`-th arrival at the point, and is started again.
pub(super) async fn scenario(point: &str, turn: u32, setup: &Setup, seed: u64) -> Outcome {
    let faults = Faults { unavailable: 0.3, ..Faults::default() };
    let receiver = Receiver::start(Script { seed, refused_one_in: 20, faults, ..Script::default() }).await?;
    let hook = Webhook { more: "park_after = \"100ms\"", ..Webhook::new("hook", &receiver) };
    let setup = Setup { config: Some(format!("{CONFIG}{}", hook.section())), ..setup.clone() };
    let armed = setup.clone().env(crash::VARIABLE, &format!("{point}:{turn}"));
    let mut node = Node::start(&armed).await?;
    let (collector, at) = watch::channel(node.collector.clone());
    let feeding = Feed::new(EVENTS, KEYS as _, seed).start(at);
    let hit = async {
        while !node.has_ended() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), hit).await.map_err(|_| "the point was never reached")?;
    receiver.mark_gone().await?;
    let node = Node::start(&setup).await?;
    collector.send_replace(node.collector.clone());
    let book = feeding.book().await?;
    let acknowledged = book.values().filter(|offered| offered.acknowledged).count() as u64;
    deliveries::settled(&node, acknowledged).await?;
    deliveries::until(&node, "hook", PATIENCE, deliveries::State::is_done).await?;
    node.stop().await?;
    let cli = Cli::new(&setup)?;
    let (letters, record) = (deliveries::letters(&cli, "hook").await?, receiver.record());
    let refused = |id: &str| receiver.refusal(id).is_some();
    check::verdict(&check::complete(&book, &record, refused))?;
    check::verdict(&check::letters(&book, &record, &letters, refused))?;
    check::verdict(&check::order(&record))?;
    cli.verify().await?;
    Ok(json!({"acknowledged": acknowledged, "dead_letters": letters.len(), "receiver": record.figures()}))
}
