//! From a server that speaks Kinesis' protocol to committed segments in one that speaks S3's: a node, a plain program in Rust and
//! three in Python that do as much of it as one would write by hand. All read the same stream from its beginning; each has a bucket of its own.
//!
//! ```text
//! events ── fill ──▶ ferrokinesis ──▶ a side, measured ──▶ ministack ── fetched, to be asked ──▶ DuckDB
//! ```

mod bucket;
mod fill;
mod ours;
pub(super) mod servers;
mod theirs;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use self::bucket::Bucket;
use self::ours::Ours;
use self::servers::Servers;
pub(super) use self::theirs::PLAIN;
use self::theirs::Theirs;
use super::account::{Account, Meter};
use super::agree::{Files, Questions};
use super::events::Events;
use super::plan::Plan;
use super::turns::{self, Side};

/// The stream.
const STREAM: &str = "events";
/// Its shards: each may be read at 2 MiB a second, which our node keeps to, and the peers do not.
const SHARDS: u32 = 16;

/// What is told of the peers beside their figures.
const NOTE: &str = "the peers keep no checkpoint, read faster than Kinesis allows, and write what they have read once; \
                    the one over plain HTTP does not sign its requests";

/// Compares.
pub(super) async fn run(plan: &Plan, events: &Events, meter: &Meter, folder: &Path) -> Result<Value, String> {
    let peers = peers(plan)?;
    let servers = Arc::new(Servers::start().await?);
    eprintln!("  stream: filling it");
    fill::fill(&servers, events).await?;
    let folder = folder.join("stream");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut sides: Vec<Box<dyn Side>> = Vec::new();
    let mut buckets = Vec::new();
    let ours = Bucket::create(&servers, "shardmill", "lake/segments/").await?;
    buckets.push(("shardmill", ours.clone()));
    let node = Ours {
        servers: servers.clone(),
        meter: meter.clone(),
        records: events.count,
        folder: folder.clone(),
    };
    sides.push(Box::new(Beside { side: node, servers: servers.clone(), bucket: ours }));
    for (name, script) in peers {
        let bucket = Bucket::create(&servers, &script.replace('_', "-"), "rows/").await?;
        buckets.push((name, bucket.clone()));
        let peer = match (name, script) {
            PLAIN => Theirs::plain(meter, (&servers, &bucket))?,
            _ => Theirs::new(name, script, meter, (&servers, events, &bucket)),
        };
        sides.push(Box::new(Beside { side: peer, servers: servers.clone(), bucket }));
    }
    let done = turns::take("stream", events.count, &sides, plan.rounds()).await?;
    let mut files = Vec::new();
    for (name, bucket) in buckets {
        let found = bucket.fetch(&folder.join(bucket.name())).await?;
        files.push(Files { side: name.to_owned(), files: found });
    }
    let same = Questions::of(&events.schema).agree(&files, events.count).await?;
    let done = done.with("shards", json!(SHARDS)).with("same", same).with("note", json!(NOTE));
    Ok(done.with("input_bytes", json!(events.bytes)).json())
}

/// Who copies the stream beside us: names, and what their scripts are called.
///
/// # Errors
/// The plan names one whom nobody knows.
pub(super) fn peers(plan: &Plan) -> Result<Vec<(&'static str, &'static str)>, String> {
    let all = [PLAIN].into_iter().chain(theirs::PEERS);
    let is_unknown = |part: &&String| !all.clone().any(|(name, _)| name.contains(part.as_str()));
    if let Some(unknown) = plan.peers.iter().find(is_unknown) {
        let names: Vec<&str> = all.map(|(name, _)| name).collect();
        return Err(format!("--peers {unknown}: there are {}", names.join("; ")));
    }
    Ok(all.filter(|(name, _)| plan.has_peer(name)).collect())
}

/// A side with an empty bucket, and with what the servers spend meanwhile.
struct Beside<S> {
    side: S,
    servers: Arc<Servers>,
    bucket: Bucket,
}

#[async_trait]
impl<S: Side> Side for Beside<S> {
    fn name(&self) -> &str {
        self.side.name()
    }

    async fn run(&self) -> Result<Account, String> {
        self.bucket.clear().await?;
        let before = self.servers.used();
        let account = self.side.run().await?;
        let after = self.servers.used();
        let beside = after.into_iter().map(|(name, used)| (name, used - before.get(name).unwrap_or(&0.0)));
        Ok(Account { beside: beside.collect(), bytes: self.bucket.bytes().await?, ..account })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<&'static str>, String> {
        let peers_wanted = names.iter().map(|name| (*name).to_owned()).collect();
        let plan = Plan {
            events: 1,
            rounds: 1,
            segments: 1,
            seed: 1,
            only: vec![],
            data: None,
            peers: peers_wanted,
        };
        peers(&plan).map(|peers| peers.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn peers_are_chosen_by_parts_of_their_names() {
        let all = chosen(&[]).unwrap();
        assert_eq!(all.len(), 1 + theirs::PEERS.len());
        assert_eq!(chosen(&["plain"]).unwrap(), [PLAIN.0]);
        assert_eq!(chosen(&["polars", "plain"]).unwrap(), [all[0], all[2], all[3]]);
        let error = chosen(&["plain", "spark"]).unwrap_err();
        assert!(error.starts_with("--peers spark: there are ") && error.contains(all[3]), "{error}");
    }
}
