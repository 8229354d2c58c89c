//! What tests of dead letters share: the embedded stores in a folder, and letters in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::parquet::WriteOptions;
use shardmill_connectors::ports::Queue;
use shardmill_connectors::record::{Origin, Sequence};

use super::deliver::Targets;
use super::index::DeadIndex;
use super::letter::{self, Letter};
use super::redrive::{Redrive, Redriven};
use super::selection::{Found, Selection, Status};
use super::{Edit, Editing, announce};
use crate::shared::Ports;
use crate::testing::stores;

/// The stores in a folder of their own.
pub(super) struct Site {
    pub(super) ports: Ports,
    _folder: tempfile::TempDir,
}

impl Site {
    pub(super) fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let ports = stores(folder.path());
        Site { ports, _folder: folder }
    }

    /// Letters in a file of their own, indexed and announced.
    pub(super) async fn file(&self, key: &str, letters: &[Letter]) {
        let file = letter::upload(self.ports.objects.as_ref(), key, letters).await.unwrap();
        DeadIndex::enter(&self.ports.documents, &file).await.unwrap();
        announce(&self.ports, key).await.unwrap();
    }

    /// The letters selected.
    pub(super) async fn find(&self, selection: &Selection) -> Vec<Found> {
        selection.find(&self.ports).await.unwrap()
    }

    /// The sequence numbers of the letters that wait.
    pub(super) async fn pending(&self) -> Vec<String> {
        let found = self.find(&Selection::default()).await;
        found.iter().map(|found| found.letter.origin.sequence.to_string()).collect()
    }

    /// Every letter, whatever became of it.
    pub(super) async fn all(&self) -> Vec<Found> {
        self.find(&Selection { status: Status::ALL.to_vec(), ..Selection::default() }).await
    }

    /// Edits one letter.
    pub(super) async fn edit(&self, id: &str, payload: &str) {
        let mut editing = Editing::begin(&self.ports).await.unwrap();
        let payload = letter::Payload::of(payload.as_bytes());
        editing.add(&Edit::new(id.to_owned(), payload, Millis::now())).await.unwrap();
        assert_eq!(editing.commit().await.unwrap(), 1);
    }

    /// Redrives what is pending; nothing goes to the lake.
    pub(super) async fn redrive(&self, targets: &dyn Targets, dry_run: bool) -> Redriven {
        let redrive = Redrive {
            ports: &self.ports,
            streams: &BTreeMap::new(),
            write: &WriteOptions::default(),
            targets,
            rate: None,
            dry_run,
            withdraw: true,
            progress: &|_, _| {},
        };
        redrive.run(&Selection::default()).await.unwrap()
    }

    /// Announcements in the queue.
    pub(super) async fn announced(&self) -> u64 {
        let depth = self.ports.dead_letters.depth().await.unwrap();
        depth.visible + depth.in_flight
    }
}

/// A letter that `destination` gave up.
pub(super) fn letter(sequence: u64, destination: &str) -> Letter {
    let origin = Origin {
        stream: "events".into(),
        shard: "0".into(),
        sequence: Sequence::from(sequence),
        subsequence: 0,
        arrived_at: Millis(1_000),
    };
    let text = serde_json::json!({
        "id": format!("{sequence:032}"), "class": "rejected", "reason": format!("reason {}", sequence % 3),
        "destination": (destination != "lake").then_some(destination),
        "table": (destination == "lake").then_some("events"),
        "field": null, "event": "Tested", "key": format!("k{sequence}"), "origin": origin, "attempts": 1,
        "first_at": 1_000 + sequence, "last_at": 1_000 + sequence, "redrives": 0,
        "payload": {"n": sequence},
    });
    serde_json::from_str(&text.to_string()).unwrap()
}

/// Letters of consecutive sequence numbers.
pub(super) fn letters(sequences: std::ops::Range<u64>, destination: &str) -> Vec<Letter> {
    sequences.map(|sequence| letter(sequence, destination)).collect()
}

/// What the messages of a queue say, sorted. They stay in it.
pub(crate) async fn messages(queue: &Arc<dyn Queue>) -> Vec<String> {
    let all = queue.receive(1_000, Duration::from_secs(60), Duration::ZERO).await.unwrap();
    for message in &all {
        assert!(queue.extend(&message.receipt, Duration::ZERO).await.unwrap());
    }
    let mut bodies: Vec<String> = all.into_iter().map(|message| message.body).collect();
    bodies.sort();
    bodies
}
