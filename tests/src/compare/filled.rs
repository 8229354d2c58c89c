//! An embedded stream that was filled beforehand, and nodes that take it to committed, compacted hours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use shardmill_connectors::embedded::EmbeddedStream;
use shardmill_connectors::json::Object;
use shardmill_connectors::ports::Stream;
use shardmill_connectors::record::NewRecord;

use super::account::{Account, Meter};
use super::convert::this_program;
use super::events::{self, Events};
use super::node::{MEMORY, Measured};
use crate::harness::{Cli, Setup};

/// The stream's shards, as a node has them by default.
const SHARDS: u32 = 4;
/// The stream's retention, as a node has it by default.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// Records in a put.
const TOGETHER: usize = 5_000;

/// A data directory with a filled stream, never used itself: every node gets a copy.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    template: PathBuf,
    records: u64,
    meter: Meter,
}

/// What a node has made of it.
#[derive(Debug)]
pub(super) struct Compacted {
    pub(super) account: Account,
    /// The files of its hours.
    pub(super) files: Vec<String>,
}

impl Filled {
    /// Fills one, in a process of its own: when that has ended, nobody writes any more to what is copied.
    pub(super) async fn new(events: &Events, meter: &Meter, folder: &Path) -> Result<Filled, String> {
        let template = folder.join("filled");
        let words = ["fill", &events.file.display().to_string(), &template.display().to_string()];
        meter.run(&this_program(&words)?, &BTreeMap::new()).await?;
        Ok(Filled { template, records: events.count, meter: meter.clone() })
    }

    /// Takes a copy to compacted hours below `folder`.
    pub(super) async fn compacted(&self, folder: &Path, compression: &str) -> Result<Compacted, String> {
        let data = folder.join("data");
        let _ = std::fs::remove_dir_all(&data); // absent in the first round
        copy(&self.template, &data).map_err(|error| format!("{}: {error}", data.display()))?;
        let config = format!(
            "[streams.events]\nshards = {SHARDS}\n[lake]\ncompression = \"{compression}\"\n[memory]\nlimit = \"{MEMORY}\"\n"
        );
        let setup = Setup::new(&data, Some(&config));
        let node = Measured::start(&setup, &self.meter, folder).await?;
        node.has_read(self.records).await?;
        node.node.tell("compact", &json!({})).await?;
        let hours = node.node.ask("hours").await?;
        let account = node.stop().await?;
        let bytes = finished(&hours, self.records)?;
        let listed = Cli::new(&setup)?.run(&["lake", "files", "--json"]).await?.json()?;
        let paths = listed.as_array().into_iter().flatten().filter_map(|file| file["path"].as_str());
        Ok(Compacted { account: Account { bytes, ..account }, files: paths.map(str::to_owned).collect() })
    }
}

/// Puts the events of a file into the embedded stream of a new data directory.
pub(super) async fn fill(events: &Path, data: &Path) -> Result<(), String> {
    let stream = EmbeddedStream::open(data, "events", SHARDS, RETENTION);
    let stream = stream.map_err(|failure| failure.to_string())?;
    let mut records = Vec::with_capacity(TOGETHER);
    for line in events::lines(events)? {
        let line = line?;
        records.push(NewRecord { key: key(&line).as_str().into(), data: Bytes::from(line), trace: None });
        if records.len() == TOGETHER {
            put(&stream, std::mem::take(&mut records)).await?;
        }
    }
    put(&stream, records).await
}

/// The bytes of hours that hold all rows, in one file each, with nothing left to absorb.
fn finished(hours: &Value, records: u64) -> Result<u64, String> {
    let sum =
        |key: &str| hours.as_array().into_iter().flatten().filter_map(|hour| hour[key].as_u64()).sum::<u64>();
    let count = hours.as_array().map_or(0, Vec::len) as u64;
    match (sum("rows") == records, sum("fresh_segments"), sum("files") == count) {
        (true, 0, true) => Ok(sum("bytes")),
        _ => Err(format!("{records} records are not one file for each hour: {hours}")),
    }
}

/// Who an event is about: its records stay in order.
pub(super) fn key(event: &str) -> String {
    let text = |name: &str| {
        let object = Object::parse(event.as_bytes()).ok()?;
        serde_json::from_str::<String>(object.get(name)?.get()).ok()
    };
    text("userId").or_else(|| text("anonymousId")).unwrap_or_else(|| "nobody".to_owned())
}

async fn put(stream: &EmbeddedStream, records: Vec<NewRecord>) -> Result<(), String> {
    let outcomes = stream.put(records).await.map_err(|failure| failure.to_string())?;
    let mut outcomes = outcomes.into_iter().map(|outcome| outcome.map(drop));
    outcomes.try_for_each(|outcome| outcome.map_err(|failure| failure.to_string()))
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::ports::{Limit, Start};

    use super::*;

    #[test]
    fn an_event_is_about_its_user_or_else_a_device() {
        assert_eq!(key(r#"{"anonymousId":"a","userId":"u"}"#), "u");
        assert_eq!(key(r#"{"anonymousId":"a","userId":null}"#), "a");
        assert_eq!(key("{}"), "nobody");
    }

    #[test]
    fn hours_are_finished_when_all_rows_are_in_one_file_each() {
        let hour = |rows: u64, fresh: u64, files: u64| json!({"rows": rows, "fresh_segments": fresh, "files": files, "bytes": 7});
        assert_eq!(finished(&json!([hour(2, 0, 1), hour(3, 0, 1)]), 5), Ok(14));
        for wrong in [json!([hour(4, 0, 1)]), json!([hour(5, 1, 1)]), json!([hour(5, 0, 2)]), json!([])] {
            assert!(finished(&wrong, 5).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn every_event_is_put() {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("events.ndjson");
        std::fs::write(&events, "{\"userId\":\"u\"}\n{\"anonymousId\":\"a\"}\n").unwrap();
        let data = folder.path().join("data");
        fill(&events, &data).await.unwrap();
        let stream = EmbeddedStream::open(&data, "events", SHARDS, RETENTION).unwrap();
        let (mut found, limit) = (0, Limit { records: 10, bytes: 1 << 20 });
        for shard in stream.shards().await.unwrap() {
            let mut reader = Stream::open(&stream, &shard.id, Start::Oldest).await.unwrap();
            found += reader.next(limit, Duration::ZERO).await.unwrap().records.len();
        }
        assert_eq!(found, 2);
    }

    #[test]
    fn a_folder_is_copied_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::write(from.join("a/b/c"), "text").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("a/b/c")).unwrap(), "text");
    }
}
