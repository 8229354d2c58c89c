//! `check`: everything that is wrong with a configuration and the files it names.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use shardmill_actors::destination::Settings;
use shardmill_connectors::Failure;
use shardmill_connectors::destinations::sender::Sender;
use shardmill_connectors::failure::Class;

use super::Error;
use crate::cli::CheckArgs;
use crate::config::{self, Config, Problem};
use crate::{deliveries, output, schemas, wire};

/// How long a third party may take to say whether it knows us.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints every problem; fails when there is one.
pub async fn check(args: &CheckArgs, json: bool) -> Result<(), Error> {
    let mut problems = config::check(args.config.as_deref());
    problems.extend(destinations(args.config.as_deref()).await?);
    problems.extend(stores(args.config.as_deref()).await);
    problems.extend(versions(args.config.as_deref()).await);
    if json {
        output::print(&format!("{}\n", json!(problems)))?;
    } else if problems.is_empty() {
        output::print("nothing is wrong\n")?;
    } else {
        return Err(Error::Problems(problems));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::ToldWrong) }
}

/// What the connectors think of their settings, and third parties of our credentials; nothing when the configuration itself cannot be
/// read.
async fn destinations(file: Option<&Path>) -> Result<Vec<Problem>, Error> {
    let Ok(config) = file.map_or_else(|| Ok(Config::embedded_default()), Config::load) else {
        return Ok(Vec::new());
    };
    let sender = Sender::new()?;
    // What is wrong with the rules themselves is told where they are read.
    let (config, mut problems) = config.with_functions(&wire::rules(&config).await.unwrap_or_default());
    problems.extend(match deliveries::open(&config, &sender) {
        Ok(opened) => asked(&config, &opened).await,
        Err(found) => found,
    });
    problems.extend(deliveries::alarms(&config, &sender).err().unwrap_or_default());
    Ok(problems)
}

/// What third parties say that can be asked without changing anything there.
async fn asked(config: &Config, opened: &[Settings]) -> Vec<Problem> {
    let ask = |one: &Settings| {
        let (name, connector) = (one.name.clone(), one.connector.clone());
        async move {
            let late = |_| Failure::transient(format!("no answer within {} s", PATIENCE.as_secs()));
            let asked = tokio::time::timeout(PATIENCE, connector.probe()).await.map_err(late);
            let failure = asked.and_then(|told| told).err()?;
            let fix = match failure.class {
                Class::Unauthorized => "correct its credentials or its address",
                _ => "it may pass: try again, and see that it can be reached from this machine",
            };
            Some(config.destination_problem(&name, "kind", failure.detail, fix.to_owned()))
        }
    };
    futures::future::join_all(opened.iter().map(ask)).await.into_iter().flatten().collect()
}

/// What the stores say that the configuration names; nothing when it cannot be read.
async fn stores(file: Option<&Path>) -> Vec<Problem> {
    match file.map(Config::load) {
        Some(Ok(config)) => wire::probe(&config).await,
        _ => Vec::new(),
    }
}

/// What the lake says of the schemas, where it can be reached; what is wrong with those themselves was told with the configuration.
async fn versions(file: Option<&Path>) -> Vec<Problem> {
    let Ok(config) = file.map_or_else(|| Ok(Config::embedded_default()), Config::load) else {
        return Vec::new();
    };
    tokio::time::timeout(PATIENCE, schemas::judge(&config)).await.unwrap_or_default()
}
