//! The list of the rows that were dropped because an earlier row has their id: a Parquet file, whose rows have the identities of
//! those that were dropped, so that it proves itself as all files do.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::runs::Locus;
use super::sources::Source;
use super::{Dedupe, Listed, MergeError};
use crate::failure::Failure;
use crate::parquet::ids::Ids;
use crate::parquet::origin;
use crate::parquet::unify;
use crate::parquet::write::{FileWriter, WriteOptions};
use crate::ports::Objects;
use crate::schema;

/// Pairs looked up together.
const BATCH: usize = if cfg!(test) { 3 } else { 1 << 17 };

/// The column with the hash of the id that both rows have.
const HASH: &str = "id_hash";
/// The columns with the identity of the row that stayed, as those of [`origin::IDENTITY`].
const KEPT: [&str; 4] = ["kept_stream", "kept_shard", "kept_sequence", "kept_subsequence"];

/// A row that stays, and one that is dropped for it; numbers of [`Locus`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) hash: u128,
    pub(super) kept: u64,
    pub(super) dropped: u64,
}

/// The column of the ids, and what they are in the result.
type IdColumn<'a> = (&'a str, Option<&'a DataType>);

/// See the [module](self).
pub(super) struct List<'a> {
    objects: &'a dyn Objects,
    dedupe: &'a Dedupe,
    /// What the ids are in the result.
    id_type: Option<DataType>,
    options: WriteOptions,
    pairs: Vec<Pair>,
    /// Present once something was listed.
    file: Option<FileWriter>,
}

impl<'a> List<'a> {
    /// An empty list, of ids that are of this type in the result.
    pub(super) fn new(
        objects: &'a dyn Objects,
        (dedupe, id_type): (&'a Dedupe, Option<DataType>),
        options: &WriteOptions,
    ) -> Self {
        let options = WriteOptions { ids: None, bloom: BTreeSet::new(), ..options.clone() };
        List { objects, dedupe, id_type, options, pairs: Vec::new(), file: None }
    }

    /// Lists a row.
    pub(super) async fn add(&mut self, pair: Pair, sources: &[Source]) -> Result<(), MergeError> {
        self.pairs.push(pair);
        if self.pairs.len() >= BATCH {
            self.flush(sources).await?;
        }
        Ok(())
    }

    /// Makes the list durable, if there is one.
    pub(super) async fn finish(mut self, sources: &[Source]) -> Result<Option<Listed>, MergeError> {
        self.flush(sources).await?;
        let Some(file) = self.file else { return Ok(None) };
        let summary = file.finish().await?;
        Ok(Some(Listed { key: self.dedupe.list(), summary }))
    }

    /// Looks up both rows of every pair, and writes what is found.
    async fn flush(&mut self, sources: &[Source]) -> Result<(), MergeError> {
        let pairs = std::mem::take(&mut self.pairs);
        if pairs.is_empty() {
            return Ok(());
        }
        let mut wanted: Vec<(u64, u128)> =
            pairs.iter().flat_map(|pair| [(pair.kept, pair.hash), (pair.dropped, pair.hash)]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = look_up(sources, (&self.dedupe.column, self.id_type.as_ref()), &wanted).await?;
        let rows = rows(&pairs, &wanted, &found).map_err(|error| Failure::crashed(error.to_string()))?;
        if self.file.is_none() {
            let (key, schema) = (self.dedupe.list(), rows.schema());
            let file = FileWriter::create(self.objects, &key, schema, &self.options, &[]).await?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => Ok(file.write(&rows).await?),
            None => Ok(()),
        }
    }
}

/// The origins of these rows, which are in order. What a run says of a row is not believed: its id must have that hash.
async fn look_up(
    sources: &[Source],
    column: IdColumn<'_>,
    wanted: &[(u64, u128)],
) -> Result<RecordBatch, MergeError> {
    let schema = origins();
    let mut found = Vec::new();
    for of_input in wanted.chunk_by(|a, b| Locus::of(a.0).input == Locus::of(b.0).input) {
        let input = of_input.first().map_or(0, |(at, _)| Locus::of(*at).input);
        let source = sources.get(input).ok_or_else(|| Failure::crashed("a row of no input"))?;
        let mut rest = of_input;
        for (group, rows) in source.row_ranges().into_iter().enumerate() {
            let (mine, others) = rest.split_at(rest.partition_point(|(at, _)| Locus::of(*at).row < rows.end));
            if !mine.is_empty() {
                in_group(source, (group, rows.start), (column, mine), (&schema, &mut found)).await?;
            }
            rest = others;
        }
        if !rest.is_empty() {
            return Err(source.corrupt("it has fewer rows than its run of ids names"));
        }
    }
    let all = concat_batches(&schema, &found).map_err(|error| Failure::crashed(error.to_string()))?;
    if all.num_rows() != wanted.len() {
        return Err(Failure::crashed("rows that were looked up are not there").into());
    }
    Ok(all)
}

/// The same, of one row group, whose first row is `start`.
async fn in_group(
    source: &Source,
    (group, start): (usize, u64),
    ((column, id_type), wanted): (IdColumn<'_>, &[(u64, u128)]),
    (schema, found): (&SchemaRef, &mut Vec<RecordBatch>),
) -> Result<(), MergeError> {
    let blame = |failure| source.blame(failure);
    let has = |name: &&str| source.file.schema().column_with_name(name).is_some();
    let columns: Vec<&str> = origin::COLUMNS.into_iter().filter(has).chain([column]).collect();
    let mut batches = source.file.batches_of(vec![group], Some(&columns)).map_err(blame)?;
    let (mut at, mut rest) = (start, wanted);
    while let Some(batch) = batches.next().await.map_err(blame)? {
        let end = at + batch.num_rows() as u64;
        let (mine, others) = rest.split_at(rest.partition_point(|(locus, _)| Locus::of(*locus).row < end));
        let ids = Ids::read_as(&batch, column, id_type).map_err(|reason| source.corrupt(&reason))?;
        let row = |locus: u64| Locus::of(locus).row - at;
        if let Some((locus, _)) =
            mine.iter().find(|(locus, hash)| ids.hash(row(*locus) as usize) != Some(*hash))
        {
            let row = Locus::of(*locus).row;
            return Err(source.corrupt(&format!("row {row} has another id than its run of ids says")));
        }
        if !mine.is_empty() {
            let rows: UInt64Array = mine.iter().map(|(locus, _)| row(*locus)).collect();
            let taken = take_record_batch(&batch, &rows).map_err(|e| Failure::crashed(e.to_string()))?;
            found.push(unify::align(&taken, schema).map_err(|reason| source.corrupt(&reason))?);
        }
        (at, rest) = (end, others);
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(source.corrupt("a row group has fewer rows than its footer says"))
    }
}

/// The origin columns as all tables have them.
fn origins() -> SchemaRef {
    let table = schema::TableSchema::builtin().arrow();
    let field = |name: &str| table.field_with_name(name).ok().cloned();
    Arc::new(Schema::new(origin::COLUMNS.iter().filter_map(|name| field(name)).collect::<Vec<_>>()))
}

/// The list's rows for these pairs; `found` are the origins of the rows `wanted`.
fn rows(
    pairs: &[Pair],
    wanted: &[(u64, u128)],
    found: &RecordBatch,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let place = |at: u64| wanted.partition_point(|(locus, _)| *locus < at) as u64;
    let kept: UInt64Array = pairs.iter().map(|pair| place(pair.kept)).collect();
    let dropped: UInt64Array = pairs.iter().map(|pair| place(pair.dropped)).collect();
    let hashes: StringArray = pairs.iter().map(|pair| Some(format!("{:032x}", pair.hash))).collect();
    let mut fields = vec![Field::new(HASH, DataType::Utf8, true)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(hashes)];
    for ((name, field), column) in KEPT.iter().zip(found.schema().fields()).zip(found.columns()) {
        fields.push(field.as_ref().clone().with_name(*name));
        columns.push(take(column, &kept, None)?);
    }
    for (field, column) in found.schema().fields().iter().zip(found.columns()) {
        fields.push(field.as_ref().clone());
        columns.push(take(column, &dropped, None)?);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
