//! Merging the files of an hour into its next generation, with the books balanced before anything becomes durable.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};

use super::late::Absent;
use super::origin::ByShard;
use super::read::{FileReader, open};
use super::verify::origins;
use super::write::{FileWriter, Summary, WriteOptions};
use super::{Batches, unify};
use crate::failure::{Class, Failure};
use crate::ports::Objects;
use crate::setsum::Tally;

/// Footers fetched at a time.
const OPENING: usize = 8;

/// A file to be merged, and what it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The object's name.
    pub key: String,
    /// Its rows, as recorded when it was written.
    pub tally: Tally,
}

/// What is merged into what. Rows keep the order: `base`, `segments`, `late`.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// Where the files are, and where the new one goes.
    pub objects: Arc<dyn Objects>,
    /// The new file's name.
    pub key: String,
    /// The files of the current generation.
    pub base: Vec<Input>,
    /// Segments that are not in it yet; their rows are in no other input.
    pub segments: Vec<Input>,
    /// Files whose rows may repeat ones of the inputs before, or each other's.
    pub late: Vec<Input>,
    /// How the new file is written.
    pub options: WriteOptions,
    /// What goes into its footer.
    pub meta: Vec<(String, String)>,
}

/// The outcome of a merge: `summary.tally` = `inputs` − `dropped`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The new file. Its `put` tells whether the name was free.
    pub summary: Summary,
    /// All rows of all inputs.
    pub inputs: Tally,
    /// Late rows that were there already.
    pub dropped: Tally,
    /// The rows of `segments` by (stream, shard).
    pub by_shard: ByShard,
}

/// Why a merge failed. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// An input is missing, can't be read, or does not hold what was recorded of it.
    #[error("{reason}")]
    Corrupt {
        /// The input.
        key: String,
        /// What is wrong with it; names it.
        reason: String,
    },
    /// Everything else.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Failure {
        match error {
            MergeError::Corrupt { reason, .. } => Failure::rejected(reason),
            MergeError::Failed(failure) => failure,
        }
    }
}

/// Merges the inputs into one new file. Holds one row group of each side, and the identities of the late rows.
pub async fn merge(request: MergeRequest) -> Result<Merged, MergeError> {
    let sources = Sources::open(&request).await?;
    let schema = sources.schema()?;
    let absent = sources.absent_late_rows().await?;
    let MergeRequest { objects, key, options, meta, .. } = &request;
    let writer = FileWriter::create(&**objects, key, schema.clone(), options, meta).await?;
    let mut merging = Merging {
        writer,
        schema,
        absent,
        inputs: Tally::default(),
        dropped: Tally::default(),
        by_shard: ByShard::new(),
    };
    for source in &sources.0 {
        merging.add(source).await?;
    }
    Ok(merging.finish().await?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Base,
    Segment,
    Late,
}

struct Source {
    role: Role,
    file: FileReader,
    expected: Tally,
}

impl Source {
    async fn open(objects: Arc<dyn Objects>, role: Role, input: &Input) -> Result<Self, MergeError> {
        let file = open(objects, &input.key).await.map_err(|failure| blame(&input.key, failure))?;
        Ok(Source { role, file, expected: input.tally })
    }

    fn blame(&self, failure: Failure) -> MergeError {
        blame(self.file.key(), failure)
    }
}

/// Reading an input was rejected: it is the input's fault. Anything else is not.
fn blame(key: &str, failure: Failure) -> MergeError {
    match failure.class {
        Class::Rejected => MergeError::Corrupt { key: key.to_owned(), reason: failure.detail },
        _ => MergeError::Failed(failure),
    }
}

struct Sources(Vec<Source>);

impl Sources {
    async fn open(request: &MergeRequest) -> Result<Self, MergeError> {
        let roles =
            [(Role::Base, &request.base), (Role::Segment, &request.segments), (Role::Late, &request.late)];
        let inputs =
            roles.into_iter().flat_map(|(role, inputs)| inputs.iter().map(move |input| (role, input)));
        let opening: Vec<_> =
            inputs.map(|(role, input)| Source::open(request.objects.clone(), role, input)).collect();
        stream::iter(opening).buffered(OPENING).try_collect().await.map(Sources)
    }

    fn schema(&self) -> Result<SchemaRef, Failure> {
        if self.0.is_empty() {
            return Err(Failure::crashed("a merge of nothing"));
        }
        unify::union(self.0.iter().map(|source| &**source.file.schema())).map_err(Failure::rejected)
    }

    async fn absent_late_rows(&self) -> Result<Absent, MergeError> {
        let mut absent = Absent::default();
        for source in self.0.iter().filter(|source| source.role == Role::Late) {
            absent.collect(&source.file).await.map_err(|failure| source.blame(failure))?;
        }
        for source in self.0.iter().filter(|source| source.role != Role::Late) {
            absent.strike(&source.file).await.map_err(|failure| source.blame(failure))?;
        }
        Ok(absent)
    }
}

struct Merging {
    writer: FileWriter,
    schema: SchemaRef,
    absent: Absent,
    inputs: Tally,
    dropped: Tally,
    by_shard: ByShard,
}

impl Merging {
    async fn add(&mut self, source: &Source) -> Result<(), MergeError> {
        let mut batches = source.file.batches(None).map_err(|failure| source.blame(failure))?;
        let mut tally = Tally::default();
        let mut next = batches.next().await;
        while let Some(batch) = next.map_err(|failure| source.blame(failure))? {
            let origins = origins(&source.file, &batch).map_err(|failure| source.blame(failure))?;
            tally += origins.tally();
            if source.role == Role::Segment {
                origins.tally_by_shard(&mut self.by_shard);
            }
            let batch = match source.role {
                Role::Late => {
                    let (kept, dropped) = self.absent.admit(&batch, &origins)?;
                    self.dropped += dropped;
                    kept
                }
                _ => batch,
            };
            next = self.write_while_reading(&batch, &mut batches).await?;
        }
        if tally != source.expected {
            let (key, expected) = (source.file.key(), source.expected);
            let reason = format!("corrupt file {key}: it holds {tally}; {expected} were recorded");
            return Err(MergeError::Corrupt { key: key.to_owned(), reason });
        }
        self.inputs += tally;
        Ok(())
    }

    /// Encodes a batch while the next one is decoded; both happen on threads of their own.
    async fn write_while_reading(
        &mut self,
        batch: &arrow::record_batch::RecordBatch,
        batches: &mut Batches,
    ) -> Result<Result<Option<arrow::record_batch::RecordBatch>, Failure>, Failure> {
        let aligned = unify::align(batch, &self.schema).map_err(Failure::crashed)?;
        let (written, next) = futures::join!(self.writer.write(&aligned), batches.next());
        written.map(|()| next)
    }

    /// Balances the books, then makes the file durable: an unbalanced one never exists.
    async fn finish(self) -> Result<Merged, Failure> {
        let Merging { writer, inputs, dropped, by_shard, .. } = self;
        let (written, due) = (writer.tally(), inputs - dropped);
        if written != due {
            return Err(Failure::crashed(format!("a merge wrote {written} where {due} were due")));
        }
        Ok(Merged { summary: writer.finish().await?, inputs, dropped, by_shard })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use proptest::prelude::*;

    use super::*;
    use crate::parquet::testing::{Memory, file, rows};
    use crate::parquet::{deep, origin};

    fn request(
        objects: &Arc<Memory>,
        base: Vec<Input>,
        segments: Vec<Input>,
        late: Vec<Input>,
    ) -> MergeRequest {
        let options = WriteOptions { row_group_rows: 10, ..WriteOptions::default() };
        let objects = objects.clone();
        MergeRequest { objects, key: "new".into(), base, segments, late, options, meta: Vec::new() }
    }

    fn origins_of(numbers: &[u32]) -> Vec<(&'static str, &'static str, u32)> {
        numbers.iter().map(|n| ("s", if n % 3 == 0 { "a" } else { "b" }, *n)).collect()
    }

    async fn write(objects: &Memory, name: &str, files: &[Vec<u32>]) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (i, numbers) in files.iter().enumerate() {
            inputs.push(file(objects, &format!("{name}{i}"), &rows(&origins_of(numbers))).await);
        }
        inputs
    }

    async fn read(objects: &Arc<Memory>, key: &str) -> Vec<RecordBatch> {
        let mut batches = open(objects.clone(), key).await.unwrap().batches(None).unwrap();
        let mut all = Vec::new();
        while let Some(batch) = batches.next().await.unwrap() {
            all.push(batch);
        }
        all
    }

    async fn sequences(objects: &Arc<Memory>) -> Vec<u32> {
        let mut found = Vec::new();
        for batch in read(objects, "new").await {
            let column = batch.column_by_name(origin::SEQUENCE).unwrap().as_string::<i32>().clone();
            found.extend(column.iter().map(|text| text.unwrap().parse::<u32>().unwrap()));
        }
        found
    }

    fn tally(numbers: impl IntoIterator<Item = u32>) -> Tally {
        let numbers: Vec<_> = numbers.into_iter().collect();
        crate::parquet::Origins::of(&rows(&origins_of(&numbers))).unwrap().tally()
    }

    async fn result_is_the_union(base: Vec<Vec<u32>>, segments: Vec<Vec<u32>>, late: Vec<Vec<u32>>) {
        let objects = Memory::shared();
        let inputs = (
            write(&objects, "base", &base).await,
            write(&objects, "segment", &segments).await,
            write(&objects, "late", &late).await,
        );
        let merged = merge(request(&objects, inputs.0, inputs.1, inputs.2)).await.unwrap();
        let mut expected: Vec<u32> = base.concat();
        expected.extend(segments.concat());
        let mut seen: BTreeSet<u32> = expected.iter().copied().collect();
        let (fresh, repeated): (Vec<u32>, Vec<u32>) =
            late.concat().into_iter().partition(|n| seen.insert(*n));
        expected.extend(fresh);

        assert_eq!(sequences(&objects).await, expected);
        assert_eq!(merged.summary.tally, tally(expected));
        assert_eq!(merged.dropped, tally(repeated));
        assert_eq!(merged.inputs, merged.summary.tally + merged.dropped);
        assert_eq!(merged.by_shard.values().copied().sum::<Tally>(), tally(segments.concat()));
        assert_eq!(deep(objects, "new").await.unwrap(), merged.summary.tally);
    }

    /// Disjoint rows cut into files.
    fn files(from: u32) -> impl Strategy<Value = Vec<Vec<u32>>> {
        proptest::collection::vec(0u32..15, 0..4).prop_map(move |sizes| {
            let mut next = from;
            let mut file = |size| (next..next + size).inspect(|n| next = n + 1).collect::<Vec<u32>>();
            sizes.into_iter().map(&mut file).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_merge_is_the_union_of_its_inputs_each_row_once(
            base in files(0),
            segments in files(100),
            late in proptest::collection::vec(proptest::collection::vec(0u32..200, 0..20), 0..4),
        ) {
            prop_assume!(base.len() + segments.len() + late.len() > 0);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(result_is_the_union(base, segments, late));
        }
    }

    #[tokio::test]
    async fn columns_are_united_and_types_widened() {
        let objects = Memory::shared();
        let old = rows(&[("s", "a", 1)]);
        let mut columns = vec![("price", Arc::new(Int64Array::from(vec![7])) as ArrayRef)];
        let newer = rows(&[("s", "a", 2)]);
        columns.extend(origin::COLUMNS.map(|name| (name, newer.column_by_name(name).unwrap().clone())));
        let newer = RecordBatch::try_from_iter(columns).unwrap();
        let inputs = (file(&objects, "old", &old).await, file(&objects, "newer", &newer).await);
        merge(request(&objects, vec![inputs.0], vec![inputs.1], vec![])).await.unwrap();
        let new = read(&objects, "new").await.remove(0);
        assert_eq!((new.num_rows(), new.num_columns()), (2, 7));
        let price = new.column(1).as_primitive::<arrow::datatypes::Int64Type>();
        assert_eq!(price, &Int64Array::from(vec![None, Some(7)]));
        assert_eq!(new.schema().field(6).name(), "_arrived_at");
    }

    #[tokio::test]
    async fn an_input_that_is_not_what_was_recorded_is_named_and_nothing_is_written() {
        for role in 0..3 {
            let objects = Memory::shared();
            let sound = file(&objects, "sound", &rows(&[("s", "a", 1)])).await;
            let mut wrong = file(&objects, "wrong", &rows(&[("s", "a", 2)])).await;
            wrong.tally = sound.tally;
            let mut inputs = [vec![sound.clone()], vec![], vec![]];
            inputs[role].push(wrong);
            let [base, segments, late] = inputs;
            let error = merge(request(&objects, base, segments, late)).await.unwrap_err();
            assert!(matches!(&error, MergeError::Corrupt { key, .. } if key == "wrong"), "{error:?}");
            assert_eq!(Failure::from(error).class, Class::Rejected);
            assert!(objects.head("new").await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn damaged_and_missing_inputs_are_named() {
        let objects = Memory::shared();
        let sound = file(&objects, "sound", &rows(&[("s", "a", 1)])).await;
        let lost = Input { key: "lost".into(), tally: sound.tally };
        let error = merge(request(&objects, vec![sound.clone()], vec![lost], vec![])).await.unwrap_err();
        assert!(matches!(error, MergeError::Corrupt { key, .. } if key == "lost"));
        objects.tamper("sound", |bytes| bytes.truncate(40));
        let error = merge(request(&objects, vec![sound], vec![], vec![])).await.unwrap_err();
        assert!(matches!(error, MergeError::Corrupt { key, .. } if key == "sound"));
    }
}
