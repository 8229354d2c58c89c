//! The same work by us and by others, side by side: a file of events to checked, typed Parquet; segments to one file; a filled
//! stream to finished hours; a stream of Kinesis' protocol to segments in S3's.
//!
//! ```text
//! plan ── events ──▶ convert, compact, path, stream, hour ── turns ──▶ accounts ──▶ medians ── claims ──▶ report
//!                           │                                  └─▶ files ── agree (DuckDB asks all of them the same)
//!                           └─▶ spoil: what each side really checks
//! ```
//!
//! Each piece of work is a process of its own, so that the operating system's account (CPU seconds, peak memory) is all of it,
//! start-up included. The sides take turns on one machine; the peers, and our standardising and compacting, have one thread each,
//! our nodes as many as they like. Medians are told. Times of the clock are told, too, and claimed nowhere: they depend on
//! whatever else runs.

mod account;
mod agree;
mod claims;
mod compact;
mod convert;
mod events;
mod filled;
mod hour;
mod node;
mod ours;
mod path;
mod plan;
mod report;
mod spoil;
mod stream;
mod turns;

use std::path::Path;

use serde_json::{Value, json};

pub use self::ours::{Peer, peer};
pub use self::plan::{Plan, Work};
pub use self::report::{markdown, table};

use self::account::Meter;
use self::events::Events;
use self::filled::Filled;
use crate::harness::peers;

/// Compares; the result as JSON.
///
/// # Errors
/// What is missing, what a side said when it failed, or where sides have made different rows.
pub async fn compare(plan: Plan) -> Result<Value, String> {
    stream::peers(&plan)?; // before anything is measured
    let meter = Meter::new().await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let works = works(&plan, &meter, folder.path()).await?;
    let claims = claims::judge(&works);
    Ok(json!({"events": plan.events, "rounds": plan.rounds(), "seed": plan.seed, "machine": machine(),
        "peers": releases(), "works": works, "claims": claims}))
}

async fn works(plan: &Plan, meter: &Meter, folder: &Path) -> Result<Vec<Value>, String> {
    let rounds = plan.rounds();
    let mut works = Vec::new();
    let events = Events::generate(plan, folder)?;
    eprintln!("{} events, {} MiB of NDJSON", events.count, events.bytes >> 20);
    if plan.has(Work::Convert) {
        works.push(convert::run("convert", &events, meter, (folder, rounds)).await?);
    }
    if plan.has(Work::Compact) {
        works.push(compact::run(plan, &events, meter, folder).await?);
    }
    if plan.has(Work::Path) || plan.has(Work::Hour) {
        let filled = Filled::new(&events, meter, folder).await?;
        if plan.has(Work::Path) {
            works.push(path::run(&filled, &events, meter, (folder, rounds)).await?);
        }
        if plan.has(Work::Hour) {
            works.push(hour::run(&filled, &events, meter, folder).await?);
        }
    }
    if plan.has(Work::Stream) {
        works.push(stream::run(plan, &events, meter, folder).await?);
    }
    if let Some(data) = plan.data.as_deref().filter(|_| plan.has(Work::Data)) {
        for events in Events::of_data(plan, data, folder)? {
            works.push(convert::run("data", &events, meter, (folder, rounds)).await?);
        }
    }
    Ok(works)
}

/// What was compared with.
fn releases() -> Vec<String> {
    let others = peers::PACKAGES.iter().map(|package| (*package).to_owned());
    std::iter::once(format!("duckdb=={}", peers::DUCKDB)).chain(others).collect()
}

/// Where this was measured.
fn machine() -> Value {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({"cores": cores, "model": model.map(|(_, model)| model.trim())})
}
