//! `query`: one SELECT over the lake.

use shardmill_actors::lake;
use shardmill_connectors::ports::QueryResult;
use shardmill_connectors::ports::Snapshot;
use shardmill_connectors::{Class, Failure};

use super::Error;
use super::reach::Reached;
use crate::cli::QueryArgs;
use crate::config::Backend;
use crate::output::{self, Format};

/// Snapshots tried before a query fails.
const SNAPSHOTS: u32 = 5;

/// Runs the SELECT over the present generations and the fresh segments, each row once, and prints its rows.
pub async fn query(args: QueryArgs, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.reach).await?;
    let result = select(&reached, &args.sql).await?;
    let format = if json { Format::Json } else { args.format };
    Ok(output::print(&output::rows(&result.schema, &result.batches, format)?)?)
}

/// Runs the SELECT on a snapshot; a file that was replaced and deleted meanwhile asks for a new one. Athena reads its own
/// catalog, and every attempt costs money: it is asked once.
async fn select(reached: &Reached, sql: &str) -> Result<QueryResult, Failure> {
    let ports = &reached.stores.ports;
    if reached.config.backend == Backend::Aws {
        return ports.catalog.query(sql, &Snapshot::default()).await;
    }
    let mut attempts = 0;
    loop {
        let snapshot = lake::snapshot(ports, &reached.stores.schemas()).await?;
        attempts += 1;
        match ports.catalog.query(sql, &snapshot).await {
            Err(failure) if failure.class == Class::Transient && attempts < SNAPSHOTS => {}
            outcome => return outcome,
        }
    }
}
