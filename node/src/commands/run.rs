//! `run`: runs a node until it is told to stop.

use shardmill_connectors::Failure;

use super::Error;
use crate::cli::RunArgs;

/// Runs a node until it is told to stop.
pub async fn run(_args: RunArgs, _json: bool) -> Result<(), Error> {
    Err(Failure::rejected("not wired yet: run").into())
}
