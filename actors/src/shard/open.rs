//! What a lake writer holds between two commits: open rows by table and hour, the events that were invalid, the books.
//!
//! All of it is read by one version of the stream's tables, the one in force when the first record came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet::Draft;
use shardmill_connectors::ports::Start;
use shardmill_connectors::record::{Origin, Position, Record, Sequence, ShardId};
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::Rejection;

use super::place::Place;
use super::raw;
use super::rows::{Rows, Writing};
use crate::dead_letters::Letter;
use crate::dead_letters::letter::Refused;
use crate::shared::StreamSettings;
use crate::standardise::{self, Arrived, Builders, Reading, Refusal};
use crate::state::ShardState;
use crate::trace::Links;

/// Rows that wait for their commit.
#[derive(Debug, Default)]
pub struct Open {
    reading: Option<Reading>,
    /// Rows in columns, each with the draft of those before.
    rows: Builders<Option<Draft>>,
    /// Bytes of the records, as they came.
    taken: u64,
    raw: raw::Gathered,
    invalid: Vec<Letter>,
    invalid_bytes: usize,
    invalid_tally: Tally,
    read: Tally,
    position: Option<Position>,
    /// Of a record before, to be that of the next: its stream and its shard are the same.
    origin: Option<Origin>,
    watermark: Option<Millis>,
    ended: bool,
    since: Option<Instant>,
    links: Links,
    set_aside: bool,
}

/// Rows and letters taken out of [`Open`], ready to be uploaded.
#[derive(Debug)]
pub struct Sealed {
    /// The rows of each table and hour.
    pub rows: Vec<Rows>,
    /// The events that were invalid.
    pub invalid: Vec<Letter>,
    /// Their books.
    pub invalid_tally: Tally,
    /// All records read.
    pub read: Tally,
    /// The same as they were received, by hour of arrival; nothing where they are not kept.
    pub(super) raw: Vec<raw::Sealed>,
    /// The last record's position.
    pub position: Option<Position>,
    /// Every row that arrived before this moment is in here or committed.
    pub watermark: Option<Millis>,
    /// The shard is read to its end.
    pub ended: bool,
    /// The traces the records belong to.
    pub links: Links,
    /// A record was set aside without being looked at.
    pub set_aside: bool,
}

/// Where the lake's reading of a shard goes on.
pub fn beginning(state: &ShardState, stream: &StreamSettings) -> Place {
    state.position.clone().map_or_else(|| origin(state, stream), Place::After)
}

/// Where reading of a shard begins that nobody has read before.
pub fn origin(state: &ShardState, stream: &StreamSettings) -> Place {
    match state.since {
        // A child shard is read from its beginning, whatever the configuration says of the stream.
        _ if !state.parents.is_empty() => Place::At(Start::Oldest),
        Some(moment) => Place::At(Start::At(moment)),
        None => Place::At(stream.start.clone()),
    }
}

/// What a record is standardised by.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The stream's settings.
    pub stream: &'a StreamSettings,
    /// The shard.
    pub shard: &'a ShardId,
    /// Now, for dead letters.
    pub at: Millis,
    /// Set the record aside without looking at it.
    pub set_aside: bool,
}

impl Open {
    /// Takes records in, each as a row of its table and hour or as a dead letter: how many. Fewer than there are when another builder
    /// would have to be opened than may be open: commit first.
    pub fn take(&mut self, context: Context<'_>, records: &[Record]) -> usize {
        let before = self.invalid.len();
        let is_full = |(number, record): (usize, &Record)| !self.add(context, (number, record));
        let taken = records.iter().enumerate().position(is_full).unwrap_or(records.len());
        self.ask(context, records);
        self.invalid[before..].sort_by(|a, b| place(a).cmp(&place(b)));
        taken
    }

    /// Asks the columns of the rows that were added, and keeps those records that are none after all.
    fn ask(&mut self, context: Context<'_>, records: &[Record]) {
        let Some(reading) = &self.reading else { return };
        let origin = |record| standardise::origin(context.stream, context.shard, record);
        let event = |number: usize| (&*records[number].data, origin(&records[number]).identity());
        for (number, refusal) in self.rows.ask(reading, event) {
            let record = &records[number];
            self.refuse(context, (record, &origin(record)), refusal);
        }
    }

    /// Adds a record; `false` when another builder would have to be opened.
    fn add(&mut self, context: Context<'_>, (number, record): (usize, &Record)) -> bool {
        let keeps = context.stream.raw;
        if keeps && !self.raw.has_room(Hour::of(record.arrived_at)) {
            return false;
        }
        let origin = self.origin_of(context, record);
        let arrived = Arrived::new(&record.data, &origin);
        let identity = arrived.identity;
        let outcome = self.row(context, arrived, number);
        if keeps && outcome != Ok(false) {
            self.raw.take(&origin, record);
        }
        match outcome {
            Ok(false) => return false,
            Ok(true) => {}
            Err(refusal) => self.refuse(context, (record, &origin), refusal),
        }
        self.origin = Some(origin);
        self.set_aside |= context.set_aside;
        self.read.insert(identity);
        self.taken += record.data.len() as u64;
        self.links.note(record.trace.as_deref());
        match &mut self.position {
            Some(position) => position.clone_from(&record.position),
            position => *position = Some(record.position.clone()),
        }
        self.since.get_or_insert_with(Instant::now);
        true
    }

    /// The origin of a record.
    fn origin_of(&mut self, context: Context<'_>, record: &Record) -> Origin {
        let Some(mut origin) = self.origin.take() else {
            return standardise::origin(context.stream, context.shard, record);
        };
        origin.sequence.clone_from(&record.position.sequence);
        Origin { subsequence: record.position.subsequence, arrived_at: record.arrived_at, ..origin }
    }

    /// Keeps a record that is no row.
    fn refuse(&mut self, context: Context<'_>, (record, origin): (&Record, &Origin), refusal: Refusal) {
        let Refusal { table, rejection } = refusal;
        self.invalid_tally.insert(origin.identity());
        self.invalid_bytes += record.data.len() + 600;
        self.invalid.push(Letter::lake(Refused {
            stream: context.stream,
            table: &table.name,
            origin: origin.clone(),
            key: &record.key,
            data: &record.data,
            rejection,
            redrives: 0,
            at: context.at,
        }));
    }

    /// Whether the record is a row now; `false` when another builder would have to be opened.
    fn row(&mut self, context: Context<'_>, arrived: Arrived<'_>, number: usize) -> Result<bool, Refusal> {
        let reading = self.reading.get_or_insert_with(|| Reading::of(context.stream));
        if context.set_aside {
            let rejection = Rejection {
                field: String::new(),
                rule: "an event that can be processed".into(),
                found: "one whose processing ended the process again and again".into(),
            };
            return Err(Refusal { table: reading.tables().rest().clone(), rejection });
        }
        crash::poison("standardise", arrived.data);
        Ok(self.rows.add(reading, arrived, number)?.is_some())
    }

    /// Whether rows are to be encoded before more come.
    pub fn has_piece(&self) -> bool {
        self.rows.iter().any(Writing::is_piece)
    }

    /// Encodes pieces.
    pub async fn encode(&mut self, writing: Writing<'_>) {
        for builder in self.rows.iter_mut().filter(|builder| Writing::is_piece(builder)) {
            writing.encode(builder).await;
        }
    }

    /// Whether other tables are in force than those that the open rows were made by.
    pub fn is_outdated(&self, stream: &StreamSettings) -> bool {
        let by = |reading: &Reading| !Arc::ptr_eq(reading.tables(), &stream.tables.current());
        self.reading.as_ref().is_some_and(by)
    }

    /// Notes what the reader knows beyond the records themselves.
    pub fn note(&mut self, complete_until: Option<Millis>, ended: bool) {
        self.watermark = self.watermark.max(complete_until);
        self.ended |= ended;
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let drafts = self.rows.iter().filter_map(|builder| builder.beside.as_ref()).map(Draft::bytes);
        (self.rows.bytes() + drafts.sum::<usize>() + self.invalid_bytes + self.raw.bytes()) as u64
    }

    /// Bytes of the records taken in, as they came.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether no record is held.
    pub fn is_empty(&self) -> bool {
        self.read == Tally::default()
    }

    /// Whether the shard was read to its end.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The watermark a commit would set.
    pub fn watermark(&self) -> Option<Millis> {
        self.watermark
    }

    /// How old the oldest record held is.
    pub fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Takes everything out.
    pub fn seal(&mut self) -> Sealed {
        let open = std::mem::take(self);
        Sealed {
            rows: open.rows.into_sorted().into_iter().filter_map(Rows::of).collect(),
            invalid: open.invalid,
            invalid_tally: open.invalid_tally,
            read: open.read,
            raw: open.raw.seal(),
            position: open.position,
            watermark: open.watermark,
            ended: open.ended,
            links: open.links,
            set_aside: open.set_aside,
        }
    }
}

/// Where the record of a letter stands in its shard.
fn place(letter: &Letter) -> (&Sequence, u64) {
    (&letter.origin.sequence, letter.origin.subsequence)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use async_trait::async_trait;
    use shardmill_connectors::embedded::{EmbeddedObjects, EmbeddedStream};
    use shardmill_connectors::failure::Failure;
    use shardmill_connectors::parquet::{self, WriteOptions};
    use shardmill_connectors::ports::Objects;
    use shardmill_connectors::schema::TableSchema;
    use tempfile::TempDir;

    use super::super::rows::{PIECE, PIECE_TEXTS};
    use super::*;
    use crate::shared::PartitionBy;
    use crate::standardise::{Source, Tables, TablesBook, Version};
    use crate::testing::stream_settings;

    const AT: Millis = Millis(1_795_000_000_000);

    fn tables(id: &str) -> Tables {
        let schema = format!("{{\"$id\":\"{id}\",\"type\":\"object\"}}");
        Tables::one("events", Arc::new(TableSchema::load(&schema).unwrap()))
    }

    /// The second version.
    struct Second;

    #[async_trait]
    impl Source for Second {
        async fn read(&self, known: Option<u64>) -> Result<Option<Version>, Failure> {
            Ok((known != Some(2)).then(|| Version { fingerprint: 2, tables: Ok(tables("second")) }))
        }
    }

    /// A stream of one table, whose properties are these; the folder is its log's.
    fn stream_of(properties: &str) -> (StreamSettings, TempDir) {
        let text = format!("{{\"$id\":\"r\",\"type\":\"object\",\"properties\":{{{properties}}}}}");
        let tables = Tables::one("events", Arc::new(TableSchema::load(&text).unwrap()));
        stream_by(Arc::new(TablesBook::fixed(tables)))
    }

    fn stream_by(tables: Arc<TablesBook>) -> (StreamSettings, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedStream::open(folder.path(), "events", 1, Duration::from_secs(60)).unwrap();
        (StreamSettings { tables, ..stream_settings(Arc::new(log), None) }, folder)
    }

    fn context(stream: &StreamSettings) -> Context<'_> {
        static SHARD: LazyLock<ShardId> = LazyLock::new(|| ShardId::from("s"));
        Context { stream, shard: &SHARD, at: AT, set_aside: false }
    }

    fn record(n: u64) -> Record {
        let position = Position { sequence: n.into(), subsequence: 0 };
        let data = format!("{{\"n\":{n}}}").into();
        Record { position, key: "k".into(), data, arrived_at: AT, trace: None }
    }

    /// What the files of sealed rows hold: the version of their schema, and their rows as the footer counts them.
    async fn files(sealed: &mut Sealed, lake: &WriteOptions) -> Vec<(String, Tally)> {
        let folder = tempfile::tempdir().unwrap();
        let objects: Arc<dyn Objects> = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        let mut all = Vec::new();
        for (n, rows) in sealed.rows.iter_mut().enumerate() {
            let (writing, key) = (Writing { lake, shard: "events/s" }, format!("f{n}"));
            let summary = rows.upload(writing, (&*objects, &key)).await.unwrap();
            assert_eq!(summary.tally, rows.tally);
            assert_eq!(rows.upload(writing, (&*objects, "again")).await.unwrap(), summary, "once more");
            assert_eq!(objects.get(&key).await.unwrap(), objects.get("again").await.unwrap());
            objects.delete("again").await.unwrap();
            let read = parquet::deep(objects.clone(), &key).await.unwrap();
            assert_eq!(read, summary.tally);
            let file = parquet::open(objects.clone(), &key).await.unwrap();
            assert_eq!(file.metadata("shardmill.shard"), Some(writing.shard));
            all.push((file.metadata("shardmill.schema").unwrap().to_owned(), read));
        }
        all
    }

    #[tokio::test]
    async fn pieces_of_many_rows_are_together_what_was_read() {
        let (stream, _folder) = stream_of("");
        let context = context(&stream);
        let lake = WriteOptions { row_group_rows: PIECE + 100, ..WriteOptions::default() };
        let (mut open, mut columns, mut bytes) = (Open::default(), 0, 0);
        for n in 1..=3 * PIECE as u64 + 7 {
            let data = format!("{{\"n\":{n},\"text\":\"{}\"}}", "some ".repeat(100)).into();
            let record = Record { data, ..record(n) };
            bytes += record.data.len() as u64;
            assert_eq!(open.take(context, &[record]), 1);
            assert_eq!(open.has_piece(), n % PIECE as u64 == 0);
            if open.has_piece() {
                columns = columns.max(open.bytes());
                open.encode(Writing { lake: &lake, shard: "events/s" }).await;
                assert!(!open.has_piece() && (1..columns).contains(&open.bytes()), "encoded it takes less");
            }
        }
        assert_eq!(open.taken(), bytes);
        assert!(open.bytes() > 0);
        let mut sealed = open.seal();
        assert!(open.is_empty() && open.bytes() == 0 && open.taken() == 0);
        let files = files(&mut sealed, &lake).await;
        assert_eq!((files.len(), files[0].1), (1, sealed.read));
    }

    #[tokio::test]
    async fn a_few_large_rows_are_a_piece_too() {
        let (stream, _folder) = stream_of("");
        let context = context(&stream);
        let lake = WriteOptions::default();
        let (mut open, mut pieces) = (Open::default(), 0);
        for n in 1..=10 {
            let data = format!("{{\"text\":\"{}\"}}", "x".repeat(PIECE_TEXTS / 3)).into();
            assert_eq!(open.take(context, &[Record { data, ..record(n) }]), 1);
            assert_eq!(open.has_piece(), n % 3 == 0, "{n}");
            if open.has_piece() {
                open.encode(Writing { lake: &lake, shard: "events/s" }).await;
                pieces += 1;
            }
        }
        assert_eq!(pieces, 3);
        let mut sealed = open.seal();
        assert_eq!(files(&mut sealed, &lake).await[0].1, sealed.read);
    }

    #[tokio::test]
    async fn what_is_taken_before_there_is_no_room_is_asked_too() {
        let (mut stream, _folder) = stream_of(
            r#""n":{"type":"integer","maximum":6},"timestamp":{"type":"string","format":"date-time"}"#,
        );
        stream.partition_by = PartitionBy::Event;
        let context = context(&stream);
        // Every one opens another hour.
        let record = |n: u64| {
            let hours = i64::try_from(n).unwrap();
            let data = format!("{{\"n\":{n},\"timestamp\":\"{}\"}}", AT.plus(-3_600_000 * hours));
            Record { data: data.into(), ..record(n) }
        };
        let records: Vec<Record> = (1..=20).map(record).collect();
        let mut open = Open::default();
        let taken = open.take(context, &records);
        assert!((7..20).contains(&taken), "{taken}");
        assert_eq!(open.take(context, &records[taken..]), 0, "until there was a commit");
        let sealed = open.seal();
        let rows: Tally = sealed.rows.iter().map(|rows| rows.tally).sum();
        assert_eq!((rows.rows, sealed.invalid.len()), (6, taken - 6));
        assert_eq!((sealed.read.rows, rows + sealed.invalid_tally), (taken as u64, sealed.read));
        assert_eq!(sealed.position, Some(records[taken - 1].position.clone()));
        assert_eq!(open.take(context, &records[taken..]), 20 - taken);
    }

    #[tokio::test]
    async fn what_columns_refuse_is_a_letter_like_any_other() {
        let (stream, _folder) = stream_of(r#""n":{"type":"integer","maximum":6}"#);
        let context = context(&stream);
        let mut open = Open::default();
        let data = |n: u64| match n {
            8 => "{\"n\":".to_owned(),
            n => format!("{{\"n\":{n}}}"),
        };
        let records: Vec<Record> = (1..=9).map(|n| Record { data: data(n).into(), ..record(n) }).collect();
        assert_eq!(open.take(context, &records), 9);
        assert_eq!(open.take(context, &records[..0]), 0);
        let mut sealed = open.seal();
        let origins: Vec<&str> =
            sealed.invalid.iter().map(|letter| letter.origin.sequence.as_str()).collect();
        let wanted: Vec<Record> = [7, 8, 9].map(record).into();
        assert_eq!(origins, wanted.iter().map(|one| one.position.sequence.as_str()).collect::<Vec<_>>());
        assert!(sealed.invalid[0].reason.contains("maximum 6"), "{}", sealed.invalid[0].reason);
        let rows = files(&mut sealed, &WriteOptions::default()).await[0].1;
        assert_eq!((rows.rows, rows + sealed.invalid_tally), (6, sealed.read));
    }

    #[tokio::test]
    async fn a_new_version_of_the_tables_closes_what_is_open_and_is_taken_up_after() {
        let book = Arc::new(TablesBook::followed(Arc::new(Second), tables("first"), 1));
        let (stream, _folder) = stream_by(book.clone());
        let context = context(&stream);
        let mut open = Open::default();
        assert!(open.take(context, &[record(1)]) == 1 && !open.is_outdated(&stream));
        assert!(book.look().await.is_none(), "found once");
        book.settle(book.look().await.unwrap(), Ok(()));
        assert!(open.is_outdated(&stream), "the writer commits now");
        assert!(open.take(context, &[record(2)]) == 1);
        let lake = WriteOptions::default();
        let (mut sealed, first) = (open.seal(), tables("first").rest().schema.version().to_owned());
        assert_eq!(sealed.read.rows, 2);
        assert_eq!(files(&mut sealed, &lake).await, [(first, sealed.read)]);
        assert!(open.take(context, &[record(3)]) == 1 && !open.is_outdated(&stream));
        let (mut sealed, second) = (open.seal(), tables("second").rest().schema.version().to_owned());
        assert_eq!(files(&mut sealed, &lake).await, [(second, sealed.read)]);
    }
}
