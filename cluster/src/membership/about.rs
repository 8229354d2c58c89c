//! What a node says of itself in its own document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardmill_connectors::clock::Millis;

use crate::node::NodeId;

/// The names of all nodes' documents begin with this.
pub const PREFIX: &str = "nodes/";

/// The name of a node's document.
pub fn key(node: &NodeId) -> String {
    format!("{PREFIX}{node}")
}

/// A node's own document. Older and newer versions run side by side: fields that one does not know are left out, those that it
/// misses have a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// The node.
    pub node: NodeId,
    /// Grows with every renewal.
    pub counter: u64,
    /// Somebody has declared it dead: it never comes back under this identity.
    #[serde(default)]
    pub dead: bool,
    /// What it says of itself.
    #[serde(default)]
    pub about: About,
}

/// Whether a node takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It does.
    #[default]
    Active,
    /// It is about to leave: it gets nothing new, and what it holds goes elsewhere.
    Draining,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Its name, the same after a restart.
    pub name: String,
    /// Where other nodes reach it, as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Where operators reach it, as `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<String>,
    /// The version of its program.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: Millis,
    /// Whether it takes work.
    pub state: Activity,
    /// What it works on, and how heavy that is, by the work's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub loads: BTreeMap<String, Load>,
}

/// How heavy a piece of work is, as its owner has measured it lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// Records a second.
    pub records_per_s: u64,
    /// Milliseconds behind the newest.
    pub lag_ms: u64,
}

/// The nodes that live, as the leader sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// Each with what it says of itself; this node among them.
    pub nodes: BTreeMap<NodeId, About>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_are_understood() {
        let older = r#"{"node":"a-1","counter":7}"#;
        let state: NodeState = serde_json::from_str(older).unwrap();
        assert_eq!((state.counter, state.dead, state.about), (7, false, About::default()));
        let newer = r#"{"node":"a-1","counter":7,"dead":false,"zone":"b","about":{"name":"a","state":"draining","rack":3,
            "loads":{"shards/events/0":{"bytes_per_s":5,"cpu":0.5}}}}"#;
        let state: NodeState = serde_json::from_str(newer).unwrap();
        assert_eq!(
            (state.about.state, state.about.loads["shards/events/0"].bytes_per_s),
            (Activity::Draining, 5)
        );
    }
}
