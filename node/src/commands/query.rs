//! `query`: one SELECT over the lake.

use shardmill_connectors::Failure;

use super::Error;
use crate::cli::QueryArgs;

/// Runs the SELECT and prints its rows (with `output::rows`).
pub async fn query(_args: QueryArgs, _json: bool) -> Result<(), Error> {
    Err(Failure::rejected("not wired yet: query").into())
}
