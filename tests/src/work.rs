//! The lake's heavy work by itself, away from actors and stores: what benchmarks and comparisons measure.
//!
//! Kept behind these few functions, so that the path below them can be rewritten without touching what is measured.

use std::fs::File;
use std::io::{BufRead, BufReader};
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

/// Rows handed to the encoder together, as a flush does: few enough to be in the processor's caches still.
const TOGETHER: usize = 4_096;
/// The shard and the moment that all rows come from.
const SHARD: &str = "shardId-000000000000";
pub(crate) const ARRIVED: Millis = Millis(1_795_000_000_000);

/// The same generated events on any day: valid, about half a kilobyte each, one JSON text each.
pub fn events(count: u64, seed: u64) -> impl Iterator<Item = String> {
    let plan = Plan { events: count, seed, until: ARRIVED, spread_ms: 3_600_000, invalid: 0.0 };
    generate::events(plan)
}

/// Checks events against the built-in table and makes rows of them; the first has the sequence number `first`.
pub fn standardise<'a>(events: impl IntoIterator<Item = &'a str>, first: u64) -> Result<RecordBatch, String> {
    standardise_from(SHARD, events, first)
}

/// The same, of a shard.
pub fn standardise_from<'a>(
    shard: &str,
    events: impl IntoIterator<Item = &'a str>,
    first: u64,
) -> Result<RecordBatch, String> {
    let mut standardiser = Standardiser::new(&TableSchema::builtin(), first);
    standardiser.origin.shard = shard.into();
    events.into_iter().try_for_each(|event| standardiser.add(event.as_bytes()))?;
    standardiser.finish()
}

/// Events one after the other, as a shard's writer has them.
struct Standardiser {
    reader: Reader,
    rows: Rows,
    origin: Origin,
    next: u64,
}

impl Standardiser {
    fn new(schema: &Arc<TableSchema>, first: u64) -> Self {
        let origin = Origin {
            stream: "events".into(),
            shard: SHARD.into(),
            sequence: Sequence::from(first),
            subsequence: 0,
            arrived_at: ARRIVED,
        };
        Standardiser {
            reader: Reader::new(schema.clone()),
            rows: Rows::new(schema.clone()),
            origin,
            next: first,
        }
    }

    fn add(&mut self, event: &[u8]) -> Result<(), String> {
        self.origin.sequence = Sequence::from(self.next);
        self.next += 1;
        match self.reader.read(event) {
            Some(event) => self.rows.append_read(&event, &self.origin),
            None => {
                let event = Object::parse(event).map_err(|error| error.to_string())?;
                self.rows.append(&event, &self.origin).map_err(|rejection| rejection.to_string())?;
            }
        }
        Ok(())
    }

    /// The rows, once their columns were asked.
    fn finish(&mut self) -> Result<RecordBatch, String> {
        match self.reader.doubtful(&self.rows, 0).first() {
            Some(row) => {
                let line = self.next + 1 + *row as u64 - self.rows.len() as u64;
                Err(format!("line {line}: a rule of its table is broken, or may be"))
            }
            None => Ok(self.rows.finish()),
        }
    }
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

/// A file of events to `files` Parquet files of a table in the store at `folder`, each of as many rows.
pub async fn convert(
    schema: &Arc<TableSchema>,
    events: &Path,
    folder: &Path,
    files: usize,
) -> Result<(), String> {
    let told = |failure: Failure| failure.to_string();
    let source = std::fs::File::open(events).map_err(|error| format!("{}: {error}", events.display()))?;
    let mut lines = Lines::of(source);
    let objects = EmbeddedObjects::open(folder).map_err(told)?;
    // Only several files need to know beforehand how many rows each gets.
    let count = if files > 1 { count(events)? } else { usize::MAX };
    let mut standardiser = Standardiser::new(schema, 0);
    for file in 0..files {
        let created = FileWriter::create(&objects, &segment(file), schema.arrow(), &snappy(), &[]).await;
        let mut writer = created.map_err(told)?;
        for _ in 0..count / files + usize::from(file < count % files) {
            let Some(line) = lines.next().map_err(|error| error.to_string())? else { break };
            standardiser.add(line)?;
            if standardiser.rows.len() >= TOGETHER {
                writer.write(&standardiser.finish()?).await.map_err(told)?;
            }
        }
        if !standardiser.rows.is_empty() {
            writer.write(&standardiser.finish()?).await.map_err(told)?;
        }
        writer.finish().await.map_err(told)?;
    }
    Ok(())
}

fn count(events: &Path) -> Result<usize, String> {
    let source = std::fs::File::open(events).map_err(|error| format!("{}: {error}", events.display()))?;
    let (mut lines, mut count) = (Lines::of(source), 0);
    while lines.next().map_err(|error| error.to_string())?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The lines of a file, as they stand in its buffer.
struct Lines {
    source: BufReader<File>,
    /// Bytes of the buffer that were handed out.
    taken: usize,
    /// A line that goes beyond the buffer.
    long: Vec<u8>,
}

impl Lines {
    fn of(source: File) -> Self {
        Lines { source: BufReader::with_capacity(1 << 17, source), taken: 0, long: Vec::new() }
    }

    fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.source.consume(std::mem::take(&mut self.taken));
        self.long.clear();
        loop {
            let held = self.source.fill_buf()?;
            let (length, end) = (held.len(), memchr::memchr(b'\n', held));
            if let (Some(end), true) = (end, self.long.is_empty()) {
                self.taken = end + 1;
                return Ok(self.source.buffer().get(..end));
            }
            self.long.extend_from_slice(held.get(..end.unwrap_or(length)).unwrap_or_default());
            self.source.consume(end.map_or(length, |end| end + 1));
            if end.is_some() || length == 0 {
                return Ok((end.is_some() || !self.long.is_empty()).then_some(&self.long));
            }
        }
    }
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

/// What a compaction has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Rows of the result.
    pub rows: u64,
    /// Its row groups that were encoded anew; the others were copied.
    pub encoded: usize,
}

/// Merges segments into files below `folder` and removes nothing. With the options as they are, segments of 20,000 rows and
/// more are copied, and smaller ones gathered and encoded anew.
pub async fn compact(
    objects: Arc<dyn Objects>,
    folder: &str,
    segments: Vec<Input>,
    options: WriteOptions,
) -> Result<Compacted, Failure> {
    let (folder, base, late, meta) = (folder.to_owned(), vec![], vec![], vec![]);
    let (dedupe, listed) = (None, vec![]);
    let request = MergeRequest { objects, folder, base, segments, late, options, meta, dedupe, listed };
    let merged = merge(request).await?;
    let encoded = merged.files.iter().map(|file| file.encoded.len()).sum();
    Ok(Compacted { rows: merged.tally().rows, encoded })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_long_they_are() {
        let long = "x".repeat(3 << 20);
        for (text, expected) in [
            (String::new(), vec![]),
            ("a\n\nb".to_owned(), vec!["a", "", "b"]),
            (format!("a\n{long}\nb\n"), vec!["a", &long, "b"]),
            (long.clone(), vec![&long]),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            let (mut lines, mut found) = (Lines::of(file), Vec::new());
            while let Some(line) = lines.next().unwrap() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
            assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn what_is_measured_keeps_every_event() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("events.ndjson");
        std::fs::write(&source, events(1_001, 7).map(|event| event + "\n").collect::<String>()).unwrap();
        convert(&TableSchema::builtin(), &source, folder.path(), 4).await.unwrap();
        let objects: Arc<dyn Objects> = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        let keys: Vec<String> = (0..4).map(segment).collect();
        let inputs = inputs(&objects, &keys).await.unwrap();
        assert_eq!(inputs.iter().map(|input| input.tally.rows).sum::<u64>(), 1_001);
        for (folder, copy_rows, encoded) in [("anew", 20_000, 1), ("copied", 250, 0)] {
            let options = WriteOptions { copy_rows, ..snappy() };
            let done = compact(objects.clone(), folder, inputs.clone(), options).await.unwrap();
            assert_eq!(done, Compacted { rows: 1_001, encoded });
        }
    }
}
