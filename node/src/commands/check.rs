//! `check`: everything that is wrong with a configuration and the files it names.

use std::path::Path;

use serde_json::json;
use shardmill_connectors::destinations::sender::Sender;

use super::Error;
use crate::cli::CheckArgs;
use crate::config::{self, Config, Problem};
use crate::{deliveries, output, wire};

/// Prints every problem; fails when there is one.
pub async fn check(args: &CheckArgs, json: bool) -> Result<(), Error> {
    let mut problems = config::check(args.config.as_deref());
    problems.extend(destinations(args.config.as_deref())?);
    problems.extend(stores(args.config.as_deref()).await);
    if json {
        output::print(&format!("{}\n", json!(problems)))?;
    } else if problems.is_empty() {
        output::print("nothing is wrong\n")?;
    } else {
        return Err(Error::Problems(problems));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::ToldWrong) }
}

/// What the connectors think of their settings; nothing when the configuration itself cannot be read.
fn destinations(file: Option<&Path>) -> Result<Vec<Problem>, Error> {
    let Ok(config) = file.map_or_else(|| Ok(Config::embedded_default()), Config::load) else {
        return Ok(Vec::new());
    };
    let sender = Sender::new()?;
    let mut problems = deliveries::open(&config, &sender).err().unwrap_or_default();
    problems.extend(deliveries::alarms(&config, &sender).err().unwrap_or_default());
    Ok(problems)
}

/// What the stores say that the configuration names; nothing when it cannot be read.
async fn stores(file: Option<&Path>) -> Vec<Problem> {
    match file.map(Config::load) {
        Some(Ok(config)) => wire::probe(&config).await,
        _ => Vec::new(),
    }
}
