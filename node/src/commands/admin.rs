//! `admin`: asks a running node, and shows what it answers.

use serde_json::{Value, json};

use super::Error;
use super::ops_client::OpsClient;
use super::tree;
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
            let answer = client.ask("tree", &[]).await?;
            if !json {
                return Ok(output::print(&tree::draw(&answer))?);
            }
            (answer, &[])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshard_arguments() {
        let mut how =
            ReshardArgs { stream: "s".into(), split: Some("0".into()), at: Some(u128::MAX), merge: None };
        assert_eq!(reshard(&how)["at"], "340282366920938463463374607431768211455");
        (how.split, how.merge) = (None, Some(vec!["0".into(), "1".into()]));
        assert_eq!(reshard(&how), json!({"stream": "s", "merge": ["0", "1"]}));
    }
}
