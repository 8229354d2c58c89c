//! The part of `crash-points` about intake: the node aborts between two durable steps of a raw file; started again, every event
//! is one row or one dead letter.

use std::time::Duration;

use serde_json::json;
use shardmill_connectors::{Millis, crash};

use super::Outcome;
use super::kill::CONFIG;
use crate::harness::raw::{EmbeddedRawStore, RawStore, firehose_key, gzip, settled};
use crate::harness::{Cli, Node, Setup};

const FILES: usize = 6;
const EVENTS: usize = 40;

/// Files with one bad event each; the node aborts at the `turn`-th arrival at the point.
pub(super) async fn scenario(point: &str, turn: u32, setup: &Setup) -> Outcome {
    let store = EmbeddedRawStore::new(&setup.data_dir)?;
    let setup = Setup { config: Some(format!("{CONFIG}{}", store.config())), ..setup.clone() };
    let armed = setup.clone().env(crash::VARIABLE, &format!("{point}:{turn}"));
    let mut node = Node::start(&armed).await?;
    let at = Millis::now().plus(-7_200_000);
    for file in 0..FILES {
        let key = firehose_key(at, file);
        let event =
            |n: usize| json!({"messageId": format!("{file} {n}"), "timestamp": at.to_string()}).to_string();
        let events: Vec<String> = (0..EVENTS).map(event).collect();
        let text =
            format!("{}\n{{\"broken\":\n{}", events[..EVENTS / 2].concat(), events[EVENTS / 2..].concat());
        store.put(&key, gzip(text.as_bytes())?).await?;
        store.announce(&key).await?;
        if file % 2 == 1 {
            store.announce(&key).await?;
        }
    }
    let hit = async {
        while !node.has_ended() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), hit).await.map_err(|_| "the point was never reached")?;
    let node = Node::start(&setup).await?;
    settled(&store, Duration::from_secs(90)).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let cli = Cli::new(&setup)?;
    let rows = cli.count("SELECT count(*) AS n FROM events").await?;
    let different = cli.count("SELECT count(DISTINCT message_id) AS n FROM events").await?;
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let letters = letters.as_array().map_or(0, Vec::len);
    if (rows, different, letters) != ((FILES * EVENTS) as u64, (FILES * EVENTS) as u64, FILES) {
        return Err(format!("{rows} rows, {different} different ones, {letters} letters of {FILES} files"));
    }
    cli.verify().await?;
    Ok(json!({"rows": rows, "dead_letters": letters}))
}
