//! The list of the rows that were dropped because an earlier row has their id: a Parquet file, whose rows have the identities of
//! those that were dropped, so that it proves itself as all files do.
//!
//! Both rows of a pair are looked up. Pairs are found in the order of their ids, in which each lies anywhere in the hour: so they
//! are sorted first, by the row that is dropped, and looked up a batch at a time, which memory forces. The rows that are dropped
//! are then read in one pass over the inputs. So are those that stay wherever they lie in about the same order, which is how clients
//! repeat what they sent. At worst, when ids repeat at random over the hour, each batch reads the origins of all row groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::runs::Locus;
use super::sides::Sides;
use super::sorted::{self, Sorted};
use super::sources::Source;
use super::{Dedupe, Listed, MergeError};
use crate::failure::Failure;
use crate::parquet::Repeats;
use crate::parquet::ids::{Entry, Ids};
use crate::parquet::origin;
use crate::parquet::unify;
use crate::parquet::write::{FileWriter, WriteOptions};
use crate::ports::Objects;
use crate::schema;

/// Pairs looked up together: some 70 MiB, twice while what was found is put together included.
const BATCH: usize = if cfg!(test) { 3 } else { 1 << 17 };

/// The column with the hash of the id that both rows have.
const HASH: &str = "id_hash";
/// The columns with the identity of the row that stayed, as those of [`origin::IDENTITY`].
const KEPT: [&str; 4] = ["kept_stream", "kept_shard", "kept_sequence", "kept_subsequence"];

/// A row that stays, and one that is dropped for it; numbers of [`Locus`], which take 56 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) kept: u64,
    pub(super) dropped: u64,
    /// The first 72 bits of the hash of the id that the runs say they have. The rows themselves must have the whole in common.
    hash: u128,
}

/// Bits of a pair's hash.
const HASH_BITS: u32 = 72;

impl Pair {
    pub(super) fn new(hash: u128, kept: u64, dropped: u64) -> Self {
        Pair { kept, dropped, hash: first_bits(hash) }
    }

    /// As something that is sorted by the row that is dropped.
    fn entry(self) -> Entry {
        Entry { hash: u128::from(self.dropped) << HASH_BITS | self.hash, at: self.kept }
    }

    fn of(entry: Entry) -> Self {
        let hash = entry.hash & ((1 << HASH_BITS) - 1);
        Pair { kept: entry.at, dropped: (entry.hash >> HASH_BITS) as u64, hash }
    }
}

fn first_bits(hash: u128) -> u128 {
    hash >> (u128::BITS - HASH_BITS)
}

/// The column of the ids, and what they are in the result.
type IdColumn<'a> = (&'a str, Option<&'a DataType>);

/// See the [module](self).
pub(super) struct List<'a> {
    objects: Arc<dyn Objects>,
    dedupe: &'a Dedupe,
    /// What the ids are in the result.
    id_type: Option<DataType>,
    options: WriteOptions,
    pairs: Sorted,
    /// Present once something was listed.
    file: Option<FileWriter>,
}

impl<'a> List<'a> {
    /// An empty list, of ids that are of this type in the result.
    pub(super) fn new(
        objects: Arc<dyn Objects>,
        (dedupe, id_type): (&'a Dedupe, Option<DataType>),
        options: &WriteOptions,
    ) -> Self {
        // Its columns are called as the table's are, and hold other values.
        let repeats = Repeats::default();
        let options = WriteOptions { ids: None, bloom: BTreeSet::new(), repeats, ..options.clone() };
        let pairs = Sorted::new(objects.clone(), format!("{}/pairs", dedupe.folder));
        List { objects, dedupe, id_type, options, pairs, file: None }
    }

    /// Lists a row.
    pub(super) async fn add(&mut self, pair: Pair) -> Result<(), Failure> {
        self.pairs.push(pair.entry());
        self.pairs.relieve().await
    }

    /// Looks up all pairs, and makes the list of them durable, if there are any.
    pub(super) async fn write(&mut self, sources: &[Source]) -> Result<Option<Listed>, MergeError> {
        self.pairs.finish().await?;
        let sides = self.pairs.sides(sorted::piece(self.pairs.chunks())).await?;
        let mut all = Sides::new(sides).await?;
        let mut pairs = Vec::new();
        while let Some(entry) = all.next().await? {
            pairs.push(Pair::of(entry));
            if pairs.len() >= BATCH {
                self.flush(std::mem::take(&mut pairs), sources).await?;
            }
        }
        self.flush(pairs, sources).await?;
        let Some(file) = self.file.take() else { return Ok(None) };
        let summary = file.finish().await?;
        Ok(Some(Listed { key: self.dedupe.list(), summary }))
    }

    /// Removes what was put aside.
    pub(super) async fn discard(&mut self) {
        self.pairs.discard().await;
    }

    /// Looks up both rows of every pair, and writes what is found.
    async fn flush(&mut self, pairs: Vec<Pair>, sources: &[Source]) -> Result<(), MergeError> {
        if pairs.is_empty() {
            return Ok(());
        }
        let found = Found::of(&pairs, sources, (&self.dedupe.column, self.id_type.as_ref())).await?;
        found.agree(&pairs, sources)?;
        let rows = found.rows(&pairs).map_err(|error| Failure::crashed(error.to_string()))?;
        if self.file.is_none() {
            let (key, schema) = (self.dedupe.list(), rows.schema());
            let file = FileWriter::create(self.objects.as_ref(), &key, schema, &self.options, &[]).await?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => Ok(file.write(&rows).await?),
            None => Ok(()),
        }
    }
}

/// What is known of rows that were looked up.
struct Found {
    /// Their loci, in order.
    wanted: Vec<u64>,
    /// The hashes of their ids.
    hashes: Vec<Option<u128>>,
    /// Their origins.
    origins: RecordBatch,
}

impl Found {
    /// The rows of these pairs.
    async fn of(pairs: &[Pair], sources: &[Source], column: IdColumn<'_>) -> Result<Self, MergeError> {
        let mut wanted: Vec<u64> = pairs.iter().flat_map(|pair| [pair.kept, pair.dropped]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut looking = LookUp { column, schema: origins(), hashes: Vec::new(), found: Vec::new() };
        for of_input in wanted.chunk_by(|a, b| Locus::of(*a).input == Locus::of(*b).input) {
            let input = of_input.first().map_or(0, |at| Locus::of(*at).input);
            let source = sources.get(input).ok_or_else(|| Failure::crashed("a row of no input"))?;
            looking.in_input(source, of_input).await?;
        }
        let LookUp { schema, hashes, found, .. } = looking;
        let origins = concat_batches(&schema, &found).map_err(|error| Failure::crashed(error.to_string()))?;
        if origins.num_rows() != wanted.len() || hashes.len() != wanted.len() {
            return Err(Failure::crashed("rows that were looked up are not there").into());
        }
        Ok(Found { wanted, hashes, origins })
    }

    fn place(&self, at: u64) -> usize {
        self.wanted.partition_point(|locus| *locus < at)
    }

    fn hash(&self, at: u64) -> Option<u128> {
        self.hashes.get(self.place(at)).copied().flatten()
    }

    /// What runs say of rows is not believed: both rows of a pair must have one id, and its hash must be that one.
    fn agree(&self, pairs: &[Pair], sources: &[Source]) -> Result<(), MergeError> {
        for pair in pairs {
            let dropped = self.hash(pair.dropped);
            let is_said = dropped.is_some_and(|hash| first_bits(hash) == pair.hash);
            let liar = if is_said { pair.kept } else { pair.dropped };
            if is_said && self.hash(pair.kept) == dropped {
                continue;
            }
            let Locus { input, row } = Locus::of(liar);
            let source = sources.get(input).ok_or_else(|| Failure::crashed("a row of no input"))?;
            return Err(source.corrupt(&format!("row {row} has another id than its run of ids says")));
        }
        Ok(())
    }

    /// The list's rows for these pairs.
    fn rows(&self, pairs: &[Pair]) -> Result<RecordBatch, ArrowError> {
        let kept: UInt64Array = pairs.iter().map(|pair| self.place(pair.kept) as u64).collect();
        let dropped: UInt64Array = pairs.iter().map(|pair| self.place(pair.dropped) as u64).collect();
        let hash = |pair: &Pair| self.hash(pair.dropped).map(|hash| format!("{hash:032x}"));
        let hashes: StringArray = pairs.iter().map(hash).collect();
        let mut fields = vec![Field::new(HASH, DataType::Utf8, true)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(hashes)];
        let schema = self.origins.schema();
        for ((name, field), column) in KEPT.iter().zip(schema.fields()).zip(self.origins.columns()) {
            fields.push(field.as_ref().clone().with_name(*name));
            columns.push(take(column, &kept, None)?);
        }
        for (field, column) in schema.fields().iter().zip(self.origins.columns()) {
            fields.push(field.as_ref().clone());
            columns.push(take(column, &dropped, None)?);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

/// Rows being looked up, in order.
struct LookUp<'a> {
    column: IdColumn<'a>,
    schema: SchemaRef,
    hashes: Vec<Option<u128>>,
    found: Vec<RecordBatch>,
}

impl LookUp<'_> {
    /// Reads rows of one input.
    async fn in_input(&mut self, source: &Source, wanted: &[u64]) -> Result<(), MergeError> {
        let mut rest = wanted;
        for (group, rows) in source.row_ranges().into_iter().enumerate() {
            let (mine, others) = rest.split_at(rest.partition_point(|at| Locus::of(*at).row < rows.end));
            if !mine.is_empty() {
                self.in_group(source, (group, rows.start), mine).await?;
            }
            rest = others;
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(source.corrupt("it has fewer rows than its run of ids names"))
    }

    /// The same, of one row group, whose first row is `start`.
    async fn in_group(
        &mut self,
        source: &Source,
        (group, start): (usize, u64),
        wanted: &[u64],
    ) -> Result<(), MergeError> {
        let blame = |failure| source.blame(failure);
        let has = |name: &&str| source.file.schema().column_with_name(name).is_some();
        let columns: Vec<&str> = origin::COLUMNS.into_iter().filter(has).chain([self.column.0]).collect();
        let mut batches = source.file.batches_of(vec![group], Some(&columns)).map_err(blame)?;
        let (mut at, mut rest) = (start, wanted);
        while !rest.is_empty()
            && let Some(batch) = batches.next().await.map_err(blame)?
        {
            let end = at + batch.num_rows() as u64;
            let (mine, others) = rest.split_at(rest.partition_point(|at| Locus::of(*at).row < end));
            let rows: UInt64Array = mine.iter().map(|locus| Locus::of(*locus).row - at).collect();
            self.take(&batch, &rows).map_err(|reason| source.corrupt(&reason))?;
            (at, rest) = (end, others);
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(source.corrupt("a row group has fewer rows than its footer says"))
    }

    /// Takes these rows out of a batch.
    fn take(&mut self, batch: &RecordBatch, rows: &UInt64Array) -> Result<(), String> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids = Ids::read_as(batch, self.column.0, self.column.1)?;
        self.hashes.extend(rows.values().iter().map(|row| ids.hash(*row as usize)));
        let taken = take_record_batch(batch, rows).map_err(|error| error.to_string())?;
        self.found.push(unify::align(&taken, &self.schema)?);
        Ok(())
    }
}

/// The origin columns as all tables have them.
fn origins() -> SchemaRef {
    let table = schema::TableSchema::builtin().arrow();
    let field = |name: &str| table.field_with_name(name).ok().cloned();
    Arc::new(Schema::new(origin::COLUMNS.iter().filter_map(|name| field(name)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pairs_come_back_from_what_is_sorted_by_the_row_that_is_dropped(
            pairs in proptest::collection::vec((any::<u128>(), 0u64..(1 << 56), 0u64..(1 << 56)), 0..20),
        ) {
            let pairs: Vec<Pair> = pairs.into_iter().map(|(hash, kept, dropped)| Pair::new(hash, kept, dropped)).collect();
            let mut entries: Vec<Entry> = pairs.iter().map(|pair| pair.entry()).collect();
            prop_assert_eq!(entries.iter().map(|entry| Pair::of(*entry)).collect::<Vec<_>>(), pairs);
            entries.sort_unstable();
            prop_assert!(entries.is_sorted_by_key(|entry| Pair::of(*entry).dropped));
        }
    }
}
