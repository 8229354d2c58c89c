//! What tests of a whole node share: its configuration, its events, its door.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::{Hour, Millis};
use shardmill_tests::harness::{Cli, Node, Setup};
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Hours by event time; fast flushes; a grace short enough to end during a test.
pub(crate) const CONFIG: &str = r#"
[streams.events]
shards = 2
partition_by = "event"
[lake]
flush = { every = "200ms" }
late_grace = "1s"
delete_grace = "1s"
"#;

/// A folder with room for a node's data and configuration.
pub(crate) struct Site {
    pub(crate) setup: Setup,
    folder: TempDir,
}

impl Site {
    pub(crate) fn new(config: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(&folder.path().join("data"), Some(config));
        Site { setup, folder }
    }

    /// A file beside the data.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn cli(&self) -> Cli {
        Cli::new(&self.setup).unwrap()
    }

    pub(crate) async fn start(&self) -> Node {
        Node::start(&self.setup).await.unwrap()
    }

    /// The path of an object.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.setup.data_dir.join("objects").join(key)
    }
}

/// Posts JSON; the status and the answer.
pub(crate) async fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}{path}", node.collector);
    let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Posts events that must all be accepted.
pub(crate) async fn accept(node: &Node, events: &[Value]) {
    let (status, answer) = post(node, "/v1/events", &json!(events)).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(events.len())), "{answer}");
}

/// The moment `hours` ago.
pub(crate) fn ago(hours: i64) -> Millis {
    Millis::now().plus(-hours * 3_600_000)
}

/// An event the built-in schema takes.
pub(crate) fn event(id: &str, at: Millis) -> Value {
    json!({"messageId": id, "type": "track", "event": "Tested", "timestamp": at.to_string(), "userId": format!("user of {id}")})
}

/// One row of `admin hours`.
pub(crate) async fn hour(node: &Node, hour: Hour) -> Value {
    let hours = node.ask("hours").await.unwrap();
    let mut rows = hours.as_array().unwrap().iter();
    rows.find(|row| row["hour"] == hour.to_string()).cloned().unwrap_or(Value::Null)
}

/// Commits and compacts everything.
pub(crate) async fn compact(node: &Node) {
    node.tell("compact", &json!({})).await.unwrap();
}

/// Asks again and again until `done` says so; what was answered last.
pub(crate) async fn until(node: &Node, command: &str, done: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let answer = node.ask(command).await.unwrap();
            if done(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{command} never answered what was waited for"))
}
