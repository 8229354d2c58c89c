//! `admin`: asks a running node, and shows what it answers.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Error;
use super::ops_client::OpsClient;
use crate::cli::{AdminArgs, AdminCommand, ReshardArgs};
use crate::output;

/// The columns people see of `admin shards`.
const SHARDS: &[&str] =
    &["stream", "shard", "owner", "epoch", "state", "lake_position", "watermark", "lag_ms", "records_per_s"];
/// The columns people see of `admin hours`.
const HOURS: &[&str] =
    &["table", "hour", "state", "generation", "files", "rows", "bytes", "fresh_segments", "late_inputs"];
/// The columns people see of `admin nodes`.
const NODES: &[&str] = &["node", "state", "leader", "address", "shards", "uptime_s", "version"];

/// Asks or changes, and prints the answer.
pub async fn admin(args: AdminArgs, json: bool) -> Result<(), Error> {
    let client = OpsClient::new(&args.ops, args.token)?;
    let (answer, columns): (Value, &[&str]) = match args.command {
        AdminCommand::Status => (client.ask("status", &[]).await?, &[]),
        AdminCommand::Shards => (client.ask("shards", &[]).await?, SHARDS),
        AdminCommand::Hours => (client.ask("hours", &[]).await?, HOURS),
        AdminCommand::Nodes => (client.ask("nodes", &[]).await?, NODES),
        AdminCommand::Tree => {
            let tree = client.ask("tree", &[]).await?;
            if !json {
                return Ok(output::print(&draw(&tree))?);
            }
            (tree, &[])
        }
        AdminCommand::Compact { table, hour } => {
            (client.change("compact", &json!({"table": table, "hour": hour})).await?, &[])
        }
        AdminCommand::Reshard(how) => (client.change("reshard", &reshard(&how)).await?, &[]),
    };
    Ok(output::show(json, &answer, columns)?)
}

/// The arguments of `reshard`: `{stream, split, at}` or `{stream, merge: [left, right]}`; `at` is a decimal text, because
/// JSON numbers do not hold 128 bits.
fn reshard(how: &ReshardArgs) -> Value {
    match &how.merge {
        Some(shards) => json!({"stream": how.stream, "merge": shards}),
        None => json!({"stream": how.stream, "split": how.split, "at": how.at.map(|at| at.to_string())}),
    }
}

/// The supervision tree, a line per actor, children indented below their parent.
fn draw(tree: &Value) -> String {
    let mut out = String::new();
    let roots = tree.as_array().map_or(std::slice::from_ref(tree), Vec::as_slice);
    roots.iter().for_each(|root| branch(root, 0, &mut out));
    out
}

fn branch(actor: &Value, depth: usize, out: &mut String) {
    let Some(members) = actor.as_object() else {
        let _ = writeln!(out, "{}{actor}", "  ".repeat(depth));
        return;
    };
    let told = |key: &str| ["name", "actor", "children"].contains(&key);
    let name = ["name", "actor"].iter().find_map(|key| members.get(*key)?.as_str()).unwrap_or("?");
    let _ = write!(out, "{}{name}", "  ".repeat(depth));
    for (key, value) in members.iter().filter(|(key, value)| !told(key) && !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(out, "  {key}={value}");
    }
    out.push('\n');
    for child in members.get("children").and_then(Value::as_array).into_iter().flatten() {
        branch(child, depth + 1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_drawn_by_depth() {
        let tree = json!({"name": "node", "state": "running", "children": [
            {"name": "shard 0", "state": "running", "restarts": 1, "children": [{"name": "writer"}]}]});
        assert_eq!(draw(&tree), "node  state=running\n  shard 0  restarts=1  state=running\n    writer\n");
    }

    #[test]
    fn reshard_arguments() {
        let mut how =
            ReshardArgs { stream: "s".into(), split: Some("0".into()), at: Some(u128::MAX), merge: None };
        assert_eq!(reshard(&how)["at"], "340282366920938463463374607431768211455");
        (how.split, how.merge) = (None, Some(vec!["0".into(), "1".into()]));
        assert_eq!(reshard(&how), json!({"stream": "s", "merge": ["0", "1"]}));
    }
}
