//! Who asked for which change, and when: an object for each, in the order of their names.

use serde_json::{Value, json};
use shardmill_cluster::NodeId;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Objects;
use uuid::Uuid;

use crate::shared::Shared;

/// The names of all entries begin with this.
const PREFIX: &str = "audit/";
/// Entries that are shown when nobody says how many.
const SHOWN: usize = 100;

/// Writes an entry down before the change is begun: a change that nobody can find out about is not made. `node` is the one that was
/// asked; a command line that works on the stores by itself has none.
///
/// # Errors
/// What the store raises.
pub async fn note(
    objects: &dyn Objects,
    node: Option<&NodeId>,
    command: &str,
    arguments: &Value,
) -> Result<(), Failure> {
    let at = Millis::now();
    let mut arguments = arguments.clone();
    let by = arguments.as_object_mut().and_then(|all| all.remove("by")).unwrap_or(Value::Null);
    let entry = json!({
        "at": at.to_string(), "by": by, "node": node, "command": command, "arguments": arguments,
    });
    tracing::info!(command, %by, %arguments, "an operator asked for a change");
    // Of equal length for centuries, so that names sort by time.
    let key = format!("{PREFIX}{:014}-{}.json", at.0, &Uuid::new_v4().simple().to_string()[..8]);
    objects.put(&key, entry.to_string().into()).await.map(drop)
}

/// `{limit}`: the newest entries, the newest first.
pub(super) async fn list(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let limit = match arguments.get("limit") {
        None | Some(Value::Null) => SHOWN,
        Some(limit) => limit
            .as_str()
            .map_or_else(|| limit.as_u64().map(|n| n as usize), |text| text.parse().ok())
            .ok_or_else(|| Failure::rejected("`limit` is a number"))?,
    };
    let mut keys: Vec<String> =
        shared.ports.objects.list(PREFIX).await?.into_iter().map(|object| object.key).collect();
    keys.sort();
    let mut entries = Vec::new();
    for key in keys.iter().rev().take(limit) {
        let body = shared.ports.objects.get(key).await?;
        entries.push(serde_json::from_slice::<Value>(&body).unwrap_or_else(|_| json!({"at": key})));
    }
    Ok(entries.into())
}
