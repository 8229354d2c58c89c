//! Rewriting the files of an hour with what stands in `extra` moved into columns. The rows stay the ones they are: identities,
//! their order and the books do not change.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::filters;
use super::ids::{self, Run};
use super::merge::{Input, MergedFile};
use super::read::{FileReader, open};
use super::unify;
use super::write::{FileWriter, WriteOptions};
use super::{checked, verify};
use crate::failure::Failure;
use crate::layout;
use crate::ports::{Objects, Put};
use crate::schema::EXTRA;
use crate::setsum::Tally;
use crate::standardise::promote::{Moves, Promotion};

/// Which files are rewritten, and where to.
#[derive(Debug, Clone)]
pub struct PromoteRequest<'a> {
    /// Where the files are, and where the new ones go.
    pub objects: Arc<dyn Objects>,
    /// The folder of the new files, whose names are [`crate::layout::part`]'s.
    pub folder: String,
    /// The files, each with what it must hold.
    pub files: Vec<Input>,
    /// How the new files are written. Those of a table that is de-duplicated keep their runs of ids; columns that have Bloom filters
    /// in a file get them in the new one, and those that are named here.
    pub options: WriteOptions,
    /// What goes into their footers.
    pub meta: Vec<(String, String)>,
    /// What is promoted.
    pub promotion: &'a Promotion,
}

/// What a promotion would do to some files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prospect {
    /// The values that would be moved, and those that would not.
    pub moves: Moves,
    /// Columns that are narrower in a file than in the schema.
    pub widened: Vec<String>,
    /// Columns that are to have Bloom filters and lack them in a row group.
    pub filtered: BTreeSet<String>,
}

impl Prospect {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.widened.is_empty() && self.filtered.is_empty()
    }
}

/// What promoting `files` would do, in a table with Bloom filters of the columns `bloom`. Reads the columns it is about, and changes
/// nothing.
///
/// # Errors
/// What the store raises; `Rejected` when a file cannot be read.
pub async fn prospect(
    objects: &Arc<dyn Objects>,
    files: &[Input],
    promotion: &Promotion,
    bloom: &BTreeSet<String>,
) -> Result<Prospect, Failure> {
    let mut prospect = Prospect::default();
    for input in files {
        let file = open(objects.clone(), &input.key).await?;
        let today = promotion.schema().arrow();
        let union = unify::union([file.schema().as_ref(), today.as_ref()]).map_err(Failure::rejected)?;
        for field in file.schema().fields() {
            let wider =
                union.field_with_name(field.name()).is_ok_and(|one| one.data_type() != field.data_type());
            if wider && !prospect.widened.contains(field.name()) {
                prospect.widened.push(field.name().clone());
            }
        }
        prospect.filtered.append(&mut filters::lacking(file.footer(), bloom));
        look(&file, promotion, &mut prospect.moves).await?;
    }
    Ok(prospect)
}

/// Counts what would move in one file.
async fn look(file: &FileReader, promotion: &Promotion, moves: &mut Moves) -> Result<(), Failure> {
    let named = |name: &str| file.schema().index_of(name).is_ok();
    if !named(EXTRA) {
        return Ok(());
    }
    let columns = promotion.schema().columns().iter().map(|column| column.name.as_str());
    let columns: Vec<&str> = columns.filter(|name| named(name)).chain([EXTRA]).collect();
    let mut batches = file.batches(Some(&columns))?;
    while let Some(batch) = batches.next().await? {
        let today = promotion.schema().arrow();
        let union = unify::union([batch.schema().as_ref(), today.as_ref()]).map_err(Failure::rejected)?;
        promoted(&batch, &union, promotion, moves)?;
    }
    Ok(())
}

/// Rewrites the files, one for one, and reads them back. When it fails, nothing is left, unless a file could not be removed.
///
/// # Errors
/// What the store raises; `Rejected` when a file is not what was recorded of it.
pub async fn promote(request: PromoteRequest<'_>) -> Result<(Vec<MergedFile>, Moves), Failure> {
    let (mut files, mut moves) = (Vec::new(), Moves::default());
    match rewrite(&request, &mut files, &mut moves).await {
        Ok(()) => Ok((files, moves)),
        Err(failure) => {
            for file in files.iter().filter(|file| file.summary.put == Put::Created) {
                if let Err(failure) = request.objects.delete(&file.key).await {
                    tracing::warn!(key = %file.key, %failure, "a file of a promotion that failed was not removed");
                }
            }
            Err(failure)
        }
    }
}

async fn rewrite(
    request: &PromoteRequest<'_>,
    files: &mut Vec<MergedFile>,
    moves: &mut Moves,
) -> Result<(), Failure> {
    let mut readers = Vec::new();
    for input in &request.files {
        let file = open(request.objects.clone(), &input.key).await?;
        // First, so that damaged bytes are not given to the decoder.
        checked::check(file.port()).await?;
        readers.push((file, input.tally));
    }
    let today = request.promotion.schema().arrow();
    let schemas: Vec<&Schema> =
        readers.iter().map(|(file, _)| file.schema().as_ref()).chain([today.as_ref()]).collect();
    let union = unify::union(schemas).map_err(Failure::rejected)?;
    for (file, expected) in readers {
        let written = one(request, (&file, expected), (&union, files.len()), moves).await?;
        let found = verify::read_back(request.objects.clone(), &written).await;
        let key = written.key.clone();
        files.push(written);
        if found? != expected {
            return Err(Failure::crashed(format!("{key}: other rows were read back than were written")));
        }
    }
    Ok(())
}

/// Rewrites one file as the part `number`.
async fn one(
    request: &PromoteRequest<'_>,
    (file, expected): (&FileReader, Tally),
    (union, number): (&SchemaRef, usize),
    moves: &mut Moves,
) -> Result<MergedFile, Failure> {
    let key = layout::part(&request.folder, number);
    let run = Run::of(file).filter(|run| stays(run, request, file, union));
    let of_ids = |moves: &Moves| run.as_ref().and_then(|run| moves.moved.get(&run.column).copied());
    let before = of_ids(moves);
    let bloom = &request.options.bloom | &filters::columns_of(file.footer());
    let (objects, options) = (request.objects.as_ref(), WriteOptions { bloom, ..request.options.clone() });
    let mut writer = FileWriter::create(objects, &key, union.clone(), &options, &request.meta).await?;
    let mut batches = file.batches(None)?;
    while let Some(batch) = batches.next().await? {
        writer.write(&promoted(&batch, union, request.promotion, moves)?).await?;
    }
    let written = writer.tally();
    if written != expected {
        let reason = format!("it holds {written}; {expected} were recorded");
        return Err(Failure::rejected(format!("corrupt file {}: {reason}", file.key())));
    }
    if let Some(run) = run.as_ref().filter(|_| of_ids(moves) == before) {
        ids::carry(run, file, &mut writer).await?;
    }
    let (summary, encoded) = writer.close().await?;
    Ok(MergedFile { key, summary, encoded })
}

/// Whether a run tells the ids as they will stand in the new file, unless some are moved into their column: then, and when they are
/// another type's, the new file makes its own, of as many rows as it can keep in mind.
fn stays(run: &Run, request: &PromoteRequest<'_>, file: &FileReader, union: &SchemaRef) -> bool {
    let data_type =
        |schema: &Schema| schema.field_with_name(&run.column).ok().map(|f| unify::plain(f.data_type()));
    request.options.ids.as_ref() == Some(&run.column) && data_type(file.schema()) == data_type(union)
}

fn promoted(
    batch: &RecordBatch,
    union: &SchemaRef,
    promotion: &Promotion,
    moves: &mut Moves,
) -> Result<RecordBatch, Failure> {
    let aligned = unify::align(batch, union).map_err(Failure::crashed)?;
    promotion.apply(&aligned, moves).map_err(|error| Failure::crashed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Millis;
    use crate::failure::Class;
    use crate::json::Object;
    use crate::parquet::ids::{Entry, Packing, hash};
    use crate::parquet::merge::{Dedupe, MergeRequest, merge};
    use crate::parquet::testing::Memory;
    use crate::parquet::{deep, write::WriteOptions};
    use crate::record::Origin;
    use crate::schema::TableSchema;
    use crate::standardise::Rows;

    fn schema(text: &str) -> Arc<TableSchema> {
        Arc::new(TableSchema::load(&format!(r#"{{"type":"object","properties":{{{text}}}}}"#)).unwrap())
    }

    /// A file of the events of `numbers`, made with `schema`.
    async fn file(
        objects: &Arc<Memory>,
        key: &str,
        schema: &Arc<TableSchema>,
        numbers: std::ops::Range<u64>,
    ) -> Input {
        let mut rows = Rows::new(schema.clone());
        for n in numbers {
            let event = json!({"a": n, "coupon": format!("C{n}"), "x": n}).to_string();
            let (shard, sequence) = ("0".into(), n.into());
            let origin =
                Origin { stream: "s".into(), shard, sequence, subsequence: 0, arrived_at: Millis(1) };
            rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin).unwrap();
        }
        let batch = rows.finish();
        let options = WriteOptions::default();
        let mut writer =
            FileWriter::create(objects.as_ref(), key, batch.schema(), &options, &[]).await.unwrap();
        writer.write(&batch).await.unwrap();
        Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
    }

    fn request<'a>(objects: &Arc<Memory>, files: &[Input], promotion: &'a Promotion) -> PromoteRequest<'a> {
        PromoteRequest {
            objects: objects.clone(),
            folder: "new".into(),
            files: files.to_vec(),
            options: WriteOptions::default(),
            meta: Vec::new(),
            promotion,
        }
    }

    #[tokio::test]
    async fn files_are_rewritten_with_the_same_rows_and_new_columns() {
        let objects = Memory::shared();
        let old = schema(r#""a": {"type": "integer"}"#);
        let new = schema(r#""a": {"type": "number"}, "coupon": {"type": "string"}"#);
        let files = [file(&objects, "f", &old, 0..30).await, file(&objects, "g", &new, 30..40).await];
        let promotion = Promotion::new(new);
        let port: Arc<dyn Objects> = objects.clone();
        let seen = prospect(&port, &files, &promotion, &BTreeSet::new()).await.unwrap();
        assert_eq!((seen.widened.as_slice(), seen.moves.moved["coupon"]), (&["a".to_owned()][..], 30));
        let (made, moves) = promote(request(&objects, &files, &promotion)).await.unwrap();
        assert_eq!(moves, seen.moves);
        for (made, was) in made.iter().zip(&files) {
            assert_eq!(
                (made.summary.tally, deep(objects.clone(), &made.key).await.unwrap()),
                (was.tally, was.tally)
            );
        }
        let after: Vec<Input> =
            made.iter().map(|file| Input { key: file.key.clone(), tally: file.summary.tally }).collect();
        let left = prospect(&port, &after, &promotion, &BTreeSet::new()).await.unwrap();
        assert!(left.is_empty(), "nothing is left to do");
    }

    /// How many ids the run of a file has that proves itself.
    async fn proven_ids(objects: &Arc<Memory>, key: &str) -> Option<u64> {
        deep(objects.clone(), key).await.unwrap();
        Run::of(&open(objects.clone(), key).await.unwrap()).map(|run| run.packed.entries)
    }

    #[tokio::test]
    async fn a_run_of_ids_is_carried_over_however_long_it_is() {
        let objects = Memory::shared();
        let old = schema(r#""a": {"type": "integer"}, "coupon": {"type": "string"}"#);
        let new =
            schema(r#""a": {"type": "number"}, "coupon": {"type": "string"}, "x": {"type": "integer"}"#);
        // More than a writer keeps in mind.
        let plain = file(&objects, "plain", &old, 0..30).await;
        let batch = open(objects.clone(), "plain").await.unwrap().batches(None).unwrap().next().await;
        let batch = batch.unwrap().unwrap();
        let options = WriteOptions::default();
        let mut writer =
            FileWriter::create(objects.as_ref(), "f", batch.schema(), &options, &[]).await.unwrap();
        writer.write(&batch).await.unwrap();
        let entry = |at: u64| Entry { hash: hash(&format!("C{at}")), at };
        let mut entries: Vec<Entry> = (0..30).map(entry).collect();
        entries.sort();
        let mut packing = Packing::default();
        entries.into_iter().for_each(|entry| packing.push(entry).unwrap());
        let (run, packed) = packing.finish();
        writer.ids(run).await.unwrap();
        writer.has_ids("coupon", packed).unwrap();
        let tally = writer.finish().await.unwrap().tally;
        assert_eq!(tally, plain.tally);

        let promotion = Promotion::new(new);
        for (ids, run) in [(Some("coupon"), Some(30)), (None, None), (Some("x"), None)] {
            let request = request(&objects, &[Input { key: "f".into(), tally }], &promotion);
            let folder = format!("new-{}", ids.unwrap_or_default());
            let options = WriteOptions { ids: ids.map(str::to_owned), ..request.options };
            let (made, _) = promote(PromoteRequest { folder, options, ..request }).await.unwrap();
            assert_eq!(proven_ids(&objects, &made[0].key).await, run, "{ids:?}");
        }
    }

    #[tokio::test]
    async fn filters_of_a_file_are_made_anew_for_the_rows_as_they_are_now() {
        let objects = Memory::shared();
        let new = schema(r#""a": {"type": "number"}, "coupon": {"type": "string"}"#);
        let old = file(&objects, "old", &schema(r#""a": {"type": "integer"}"#), 0..30).await;
        let promotion = Promotion::new(new);
        let with = |column: &str| WriteOptions {
            bloom: std::collections::BTreeSet::from([column.to_owned()]),
            ..WriteOptions::default()
        };
        let batch = open(objects.clone(), "old").await.unwrap().batches(None).unwrap().next().await;
        let batch = batch.unwrap().unwrap();
        let mut writer =
            FileWriter::create(objects.as_ref(), "f", batch.schema(), &with("a"), &[]).await.unwrap();
        writer.write(&batch).await.unwrap();
        writer.finish().await.unwrap();
        let files = [Input { key: "f".into(), tally: old.tally }];
        let request = request(&objects, &files, &promotion);
        let (made, _) = promote(PromoteRequest { options: with("coupon"), ..request }).await.unwrap();
        let file = open(objects.clone(), &made[0].key).await.unwrap();
        let filtered = filters::columns_of(file.footer());
        assert_eq!(filtered.into_iter().collect::<Vec<_>>(), ["a", "coupon"]);
        assert_eq!(deep(objects, &made[0].key).await.unwrap(), old.tally);
    }

    #[tokio::test]
    async fn filters_that_are_asked_for_since_are_made_once() {
        let objects = Memory::shared();
        let port: Arc<dyn Objects> = objects.clone();
        let same =
            schema(r#""a": {"type": "integer"}, "coupon": {"type": "string"}, "none": {"type": "string"}"#);
        let files = [file(&objects, "f", &same, 0..30).await];
        let promotion = Promotion::new(same);
        let bloom: BTreeSet<String> = ["coupon", "none", "unknown"].map(str::to_owned).into();
        let lacking = async |files: &[Input]| prospect(&port, files, &promotion, &bloom).await.unwrap();
        let seen = lacking(&files).await;
        assert_eq!(seen.filtered, BTreeSet::from(["coupon".to_owned()]), "nobody has a value of the others");
        assert!(prospect(&port, &files, &promotion, &BTreeSet::new()).await.unwrap().is_empty());

        let request = request(&objects, &files, &promotion);
        let options = WriteOptions { bloom: bloom.clone(), ..WriteOptions::default() };
        let (made, _) = promote(PromoteRequest { options, ..request }).await.unwrap();
        let after = [Input { key: made[0].key.clone(), tally: made[0].summary.tally }];
        let again = lacking(&after).await;
        assert!(again.is_empty(), "{again:?}");
        assert_eq!(deep(objects, &after[0].key).await.unwrap(), files[0].tally);
    }

    #[tokio::test]
    async fn ids_that_are_moved_into_their_column_are_in_the_new_run() {
        let objects = Memory::shared();
        let old = schema(r#""a": {"type": "integer"}"#);
        let new = schema(r#""a": {"type": "integer"}, "coupon": {"type": "string"}"#);
        let files = vec![file(&objects, "f", &old, 0..5).await, file(&objects, "g", &new, 5..10).await];
        let (folder, options) = ("merged".to_owned(), WriteOptions::default());
        let dedupe = Some(Dedupe { column: "coupon".into(), folder: "d".into() });
        let (segments, late, meta, listed) = (vec![], vec![], vec![], vec![]);
        let objects_of = objects.clone();
        let merging = MergeRequest {
            objects: objects_of,
            folder,
            base: files,
            segments,
            late,
            options,
            meta,
            dedupe,
            listed,
        };
        let merged = merge(merging).await.unwrap().files.remove(0);
        assert_eq!(proven_ids(&objects, &merged.key).await, Some(5));
        let promotion = Promotion::new(new);
        let input = Input { key: merged.key, tally: merged.summary.tally };
        let request = request(&objects, &[input], &promotion);
        let options = WriteOptions { ids: Some("coupon".into()), ..request.options };
        let (made, moves) = promote(PromoteRequest { options, ..request }).await.unwrap();
        assert_eq!((moves.moved["coupon"], proven_ids(&objects, &made[0].key).await), (5, Some(10)));
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_was_recorded_is_told_and_nothing_is_left() {
        let objects = Memory::shared();
        let old = schema(r#""a": {"type": "integer"}"#);
        let good = file(&objects, "f", &old, 0..30).await;
        let other = file(&objects, "g", &old, 30..40).await;
        let wrong = Input { key: other.key.clone(), tally: good.tally };
        let promotion = Promotion::new(schema(r#""coupon": {"type": "string"}"#));
        let failure = promote(request(&objects, &[good, wrong], &promotion)).await.unwrap_err();
        assert!(failure.class == Class::Rejected && failure.detail.contains("recorded"), "{failure}");
        assert_eq!(objects.names(), ["f", "g"]);
    }
}
