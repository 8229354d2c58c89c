//! The lake's heavy work by itself, away from actors and stores: what benchmarks and comparisons measure.
//!
//! Kept behind these few functions, so that the path below them can be rewritten without touching what is measured.

use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use shardmill::generate::{self, Plan};
use shardmill_connectors::embedded::EmbeddedObjects;
use shardmill_connectors::json::Object;
use shardmill_connectors::parquet::{
    Compression, FileWriter, Input, MergeRequest, WriteOptions, merge, tally,
};
use shardmill_connectors::ports::Objects;
use shardmill_connectors::record::{Origin, Sequence};
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::standardise::{Reader, Rows};
use shardmill_connectors::{Failure, Millis};

/// Rows handed to the encoder together, as a flush does.
const TOGETHER: usize = 50_000;
/// The shard and the moment that all rows come from.
const SHARD: &str = "shardId-000000000000";
const ARRIVED: Millis = Millis(1_795_000_000_000);

/// The same generated events on any day: valid, about half a kilobyte each, one JSON text each.
pub fn events(count: u64, seed: u64) -> impl Iterator<Item = String> {
    let plan = Plan { events: count, seed, until: ARRIVED, spread_ms: 3_600_000, invalid: 0.0 };
    generate::events(plan)
}

/// Checks events against the built-in table and makes rows of them; the first has the sequence number `first`.
pub fn standardise<'a>(events: impl IntoIterator<Item = &'a str>, first: u64) -> Result<RecordBatch, String> {
    let (mut reader, mut rows) = (Reader::new(TableSchema::builtin()), Rows::new(TableSchema::builtin()));
    for (sequence, event) in (first..).zip(events) {
        let origin = Origin {
            stream: "events".into(),
            shard: SHARD.into(),
            sequence: Sequence::from(sequence),
            subsequence: 0,
            arrived_at: ARRIVED,
        };
        match reader.read(event.as_bytes()) {
            Some(event) => rows.append_read(&event, &origin),
            None => {
                let event = Object::parse(event.as_bytes()).map_err(|error| error.to_string())?;
                rows.append(&event, &origin).map_err(|rejection| rejection.to_string())?;
            }
        }
    }
    Ok(rows.finish())
}

/// How both sides of a comparison write.
pub fn snappy() -> WriteOptions {
    WriteOptions { compression: Compression::Snappy, ..WriteOptions::default() }
}

/// Writes batches as one Parquet file.
pub async fn write(
    objects: &dyn Objects,
    key: &str,
    batches: &[RecordBatch],
    options: &WriteOptions,
) -> Result<u64, Failure> {
    let Some(first) = batches.first() else { return Ok(0) };
    let mut file = FileWriter::create(objects, key, first.schema(), options, &[]).await?;
    for batch in batches {
        file.write(batch).await?;
    }
    Ok(file.finish().await?.bytes)
}

/// A file of events to `files` Parquet files in the store at `folder`, each of as many rows.
pub async fn convert(events: &Path, folder: &Path, files: usize) -> Result<(), String> {
    use std::io::BufRead;
    let source = std::fs::File::open(events).map_err(|error| format!("{}: {error}", events.display()))?;
    let mut lines = std::io::BufReader::with_capacity(1 << 20, source).lines();
    let count = count(events)?;
    let objects = EmbeddedObjects::open(folder).map_err(|failure| failure.to_string())?;
    let mut sequence = 0;
    for file in 0..files {
        let mut due = count / files + usize::from(file < count % files);
        let key = segment(file);
        let mut writer = None;
        while due > 0 {
            let some: Vec<String> = lines
                .by_ref()
                .take(due.min(TOGETHER))
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?;
            let batch = standardise(some.iter().map(String::as_str), sequence)?;
            (due, sequence) = (due - some.len(), sequence + some.len() as u64);
            let writer = match &mut writer {
                Some(writer) => writer,
                none => {
                    let created = FileWriter::create(&objects, &key, batch.schema(), &snappy(), &[]).await;
                    none.insert(created.map_err(|failure| failure.to_string())?)
                }
            };
            writer.write(&batch).await.map_err(|failure| failure.to_string())?;
        }
        if let Some(writer) = writer {
            writer.finish().await.map_err(|failure| failure.to_string())?;
        }
    }
    Ok(())
}

fn count(events: &Path) -> Result<usize, String> {
    use std::io::BufRead;
    let source = std::fs::File::open(events).map_err(|error| format!("{}: {error}", events.display()))?;
    Ok(std::io::BufReader::with_capacity(1 << 20, source).split(b'\n').count())
}

/// The name of the `number`-th file that [`convert`] makes.
pub fn segment(number: usize) -> String {
    format!("segment-{number:04}.parquet")
}

/// What is recorded of files when they are written, read back.
pub async fn inputs(objects: &Arc<dyn Objects>, keys: &[String]) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::with_capacity(keys.len());
    for key in keys {
        inputs.push(Input { key: key.clone(), tally: tally(objects.clone(), key).await? });
    }
    Ok(inputs)
}

/// Merges segments into the file `key` and removes nothing.
pub async fn compact(
    objects: Arc<dyn Objects>,
    key: &str,
    segments: Vec<Input>,
    options: WriteOptions,
) -> Result<u64, Failure> {
    let key = key.to_owned();
    let request = MergeRequest { objects, key, base: vec![], segments, late: vec![], options, meta: vec![] };
    Ok(merge(request).await?.summary.tally.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_measured_keeps_every_event() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("events.ndjson");
        std::fs::write(&source, events(1_001, 7).map(|event| event + "\n").collect::<String>()).unwrap();
        convert(&source, folder.path(), 4).await.unwrap();
        let objects: Arc<dyn Objects> = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        let keys: Vec<String> = (0..4).map(segment).collect();
        let inputs = inputs(&objects, &keys).await.unwrap();
        assert_eq!(inputs.iter().map(|input| input.tally.rows).sum::<u64>(), 1_001);
        assert_eq!(compact(objects, "all.parquet", inputs, snappy()).await.unwrap(), 1_001);
    }
}
