//! `query`: one SELECT over the lake.

use shardmill_actors::lake;

use super::Error;
use super::reach::Reached;
use crate::cli::QueryArgs;
use crate::output::{self, Format};

/// Runs the SELECT over the present generations and the fresh segments, each row once, and prints its rows.
pub async fn query(args: QueryArgs, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.reach)?;
    let ports = &reached.stores.ports;
    let snapshot = lake::snapshot(ports, &reached.schemas()).await?;
    let result = ports.catalog.query(&args.sql, &snapshot).await?;
    let format = if json { Format::Json } else { args.format };
    Ok(output::print(&output::rows(&result.schema, &result.batches, format)?)?)
}
