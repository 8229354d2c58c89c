//! `admin`: asks a running node, and shows what it answers.

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::ops_client::OpsClient;
use super::{Error, tree};
use crate::cli::{
    AdminArgs, AdminCommand, LanesArgs, LanesCommand, ReshardArgs, SchedulesArgs, SchedulesCommand,
};
use crate::output;

/// The columns people see of `admin shards`.
const SHARDS: &[&str] =
    &["stream", "shard", "owner", "epoch", "state", "lake_position", "watermark", "lag_ms", "records_per_s"];
/// The columns people see of `admin hours`.
const HOURS: &[&str] =
    &["table", "hour", "state", "generation", "files", "rows", "bytes", "fresh_segments", "late_inputs"];
/// The columns people see of `admin nodes`.
const NODES: &[&str] =
    &["node", "state", "leader", "answers", "address", "ops", "shards", "uptime_s", "version", "reason"];

/// The columns people see of `admin lanes`.
const LANES: &[&str] = &[
    "stream",
    "shard",
    "destination",
    "state",
    "lag_ms",
    "routed",
    "delivered",
    "retried",
    "dead_lettered",
    "pending",
    "parked_keys",
    "attempts",
    "next_try",
    "reason",
];
/// The columns people see of `admin destinations`.
const DESTINATIONS: &[&str] = &[
    "destination",
    "kind",
    "state",
    "routed",
    "delivered",
    "retried",
    "dead_lettered",
    "pending",
    "parked_keys",
    "breaker",
    "concurrency",
    "reason",
];
/// The columns people see of `admin schedules`.
const SCHEDULES: &[&str] = &[
    "schedule",
    "stream",
    "cron",
    "files",
    "owner",
    "state",
    "last_run",
    "next_run",
    "put",
    "given_up",
    "rows",
    "dead_letters",
];
/// The columns people see of `admin alarms`.
const ALARMS: &[&str] = &["alarm", "at", "since", "text", "fix"];
/// The columns people see of `admin audit`.
const AUDIT: &[&str] = &["at", "by", "node", "command", "arguments"];

/// Asks or changes, and prints the answer.
pub async fn admin(args: AdminArgs, json: bool) -> Result<(), Error> {
    let client = OpsClient::new(&args.ops, args.token)?;
    let (answer, columns): (Value, &[&str]) = match args.command {
        AdminCommand::Status => (client.ask("status", &[]).await?, &[]),
        AdminCommand::Shards => (client.ask("shards", &[]).await?, SHARDS),
        AdminCommand::Hours => (client.ask("hours", &[]).await?, HOURS),
        AdminCommand::Nodes => (client.ask("nodes", &[]).await?, NODES),
        AdminCommand::Lanes(LanesArgs { command: None }) => (client.ask("lanes", &[]).await?, LANES),
        AdminCommand::Lanes(LanesArgs { command: Some(LanesCommand::Remove { destination, drain, .. }) }) => {
            let how = if drain { "drain" } else { "drop" };
            let arguments = json!({"destination": destination, "how": how});
            (client.change("lanes/remove", &arguments).await?, &[])
        }
        AdminCommand::Destinations => (client.ask("destinations", &[]).await?, DESTINATIONS),
        AdminCommand::Schedules(SchedulesArgs { command: None }) => {
            (client.ask("schedules", &[]).await?, SCHEDULES)
        }
        AdminCommand::Schedules(SchedulesArgs { command: Some(SchedulesCommand::Run { name }) }) => {
            (client.change("schedules/run", &json!({"schedule": name})).await?, &[])
        }
        AdminCommand::Alarms => (client.ask("alarms", &[]).await?, ALARMS),
        AdminCommand::Pause { destination, reason } => {
            let arguments = json!({"destination": destination, "reason": reason});
            (client.change("pause", &arguments).await?, &[])
        }
        AdminCommand::Resume { destination } => {
            (client.change("resume", &json!({"destination": destination})).await?, &[])
        }
        AdminCommand::Reload => (client.change("reload", &json!({})).await?, &[]),
        AdminCommand::Move { shard, to } => {
            (client.change("move", &json!({"shard": shard, "to": to})).await?, &[])
        }
        AdminCommand::Rebalance => (client.change("rebalance", &json!({})).await?, &[]),
        AdminCommand::Drain { node } => (client.change("drain", &json!({"node": node})).await?, &[]),
        AdminCommand::Audit { limit } => (client.ask("audit", &[("limit", limit.to_string())]).await?, AUDIT),
        AdminCommand::Tree => {
            let answer = client.ask("tree", &[]).await?;
            if !json {
                return Ok(output::print(&tree::draw(&answer, Millis::now()))?);
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

/// The arguments of `reshard`: `{stream, shards}`, `{stream, split, at}` or `{stream, merge: [left, right]}`; `at` is a
/// decimal text, because JSON numbers do not hold 128 bits.
fn reshard(how: &ReshardArgs) -> Value {
    match (&how.shards, &how.merge) {
        (Some(count), _) => json!({"stream": how.stream, "shards": count}),
        (None, Some(shards)) => json!({"stream": how.stream, "merge": shards}),
        (None, None) => {
            json!({"stream": how.stream, "split": how.split, "at": how.at.map(|at| at.to_string())})
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(arguments: &str) -> Option<Value> {
        let words = ["shardmill", "admin", "reshard", "s"].into_iter().chain(arguments.split_whitespace());
        match Cli::try_parse_from(words).ok()?.command {
            Command::Admin(AdminArgs { command: AdminCommand::Reshard(how), .. }) => Some(reshard(&how)),
            _ => None,
        }
    }

    #[test]
    fn reshard_arguments() {
        let at = u128::MAX.to_string();
        assert_eq!(
            parse(&format!("--split 0 --at {at}")),
            Some(json!({"stream": "s", "split": "0", "at": at}))
        );
        assert_eq!(parse("--split 0"), Some(json!({"stream": "s", "split": "0", "at": null})));
        assert_eq!(parse("--merge 0 1"), Some(json!({"stream": "s", "merge": ["0", "1"]})));
        assert_eq!(parse("--shards 6"), Some(json!({"stream": "s", "shards": 6})));
        for wrong in ["", "--shards 6 --split 0", "--merge 0", "--shards 6 --at 5"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
