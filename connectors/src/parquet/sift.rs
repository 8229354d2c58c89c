//! Rewriting the files of an hour without some of their rows. The others stay the ones they are, in their order.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::Schema;

use super::checked;
use super::filters;
use super::merge::{Input, MergedFile};
use super::read::{FileReader, open};
use super::verify::{self, origins};
use super::write::{FileWriter, WriteOptions};
use crate::failure::Failure;
use crate::layout;
use crate::ports::{Objects, Put};
use crate::setsum::Tally;

/// Which rows are meant.
pub trait Sieve: Send + Sync + Debug {
    /// The columns that it has to see; none: no row can be meant.
    fn columns(&self, schema: &Schema) -> Vec<String>;

    /// A mark for each row that is meant. `batch` has at least the columns it asked for.
    ///
    /// # Errors
    /// What is wrong with the rows, in words.
    fn marks(&self, batch: &arrow::record_batch::RecordBatch) -> Result<BooleanArray, String>;
}

/// How many rows of a file are meant. Reads the columns it takes to tell, and changes nothing.
///
/// # Errors
/// What the store raises; `Rejected` when the file cannot be read.
pub async fn count(objects: &Arc<dyn Objects>, key: &str, sieve: &dyn Sieve) -> Result<u64, Failure> {
    let file = open(objects.clone(), key).await?;
    let columns = sieve.columns(file.schema());
    if columns.is_empty() {
        return Ok(0);
    }
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let (mut batches, mut found) = (file.batches(Some(&names))?, 0);
    while let Some(batch) = batches.next().await? {
        found += marks(&file, sieve, &batch)?.true_count() as u64;
    }
    Ok(found)
}

/// Which files are rewritten, and where to.
#[derive(Debug, Clone)]
pub struct SiftRequest<'a> {
    /// Where the files are, and where the new ones go.
    pub objects: Arc<dyn Objects>,
    /// The folder of the new files, whose names are [`crate::layout::part`]'s.
    pub folder: String,
    /// The files, each with what it must hold.
    pub files: Vec<Input>,
    /// How the new files are written.
    pub options: WriteOptions,
    /// What goes into their footers.
    pub meta: Vec<(String, String)>,
    /// The rows that are left out.
    pub sieve: &'a dyn Sieve,
}

/// Rewrites the files without the rows that are meant, and reads them back; those rows are answered. There is a file even if
/// no row is left: what has been there once does not vanish. When it fails, no new file is left, unless one could not be removed.
///
/// # Errors
/// What the store raises; `Rejected` when a file is not what was recorded of it.
pub async fn sift(request: SiftRequest<'_>) -> Result<(Vec<MergedFile>, Tally), Failure> {
    let (mut files, mut out) = (Vec::new(), Tally::default());
    match rewrite(&request, &mut files, &mut out).await {
        Ok(()) => Ok((files, out)),
        Err(failure) => {
            for file in files.iter().filter(|file| file.summary.put == Put::Created) {
                if let Err(failure) = request.objects.delete(&file.key).await {
                    tracing::warn!(key = %file.key, %failure, "a file of a rewriting that failed was not removed");
                }
            }
            Err(failure)
        }
    }
}

async fn rewrite(
    request: &SiftRequest<'_>,
    files: &mut Vec<MergedFile>,
    out: &mut Tally,
) -> Result<(), Failure> {
    for input in &request.files {
        let file = open(request.objects.clone(), &input.key).await?;
        // First, so that damaged bytes are not given to the decoder.
        checked::check(file.port()).await?;
        let (written, left_out) = one(request, &file, files.len()).await?;
        let (key, kept) = (written.key.clone(), written.summary.tally);
        files.push(written);
        if kept + left_out != input.tally {
            let (held, recorded) = (kept + left_out, input.tally);
            let reason = format!("it holds {held}; {recorded} were recorded");
            return Err(Failure::rejected(format!("corrupt file {}: {reason}", input.key)));
        }
        let written = files.last().ok_or_else(|| Failure::crashed("a file was not written"))?;
        if verify::read_back(request.objects.clone(), written).await? != kept {
            return Err(Failure::crashed(format!("{key}: other rows were read back than were written")));
        }
        *out += left_out;
    }
    Ok(())
}

/// Rewrites one file as the part `number`; what was left out.
async fn one(
    request: &SiftRequest<'_>,
    file: &FileReader,
    number: usize,
) -> Result<(MergedFile, Tally), Failure> {
    let key = layout::part(&request.folder, number);
    let bloom = &request.options.bloom | &filters::columns_of(file.footer());
    let (objects, options) = (request.objects.as_ref(), &WriteOptions { bloom, ..request.options.clone() });
    let mut writer = FileWriter::create(objects, &key, file.schema().clone(), options, &request.meta).await?;
    let (mut batches, mut out) = (file.batches(None)?, Tally::default());
    while let Some(batch) = batches.next().await? {
        let marks = marks(file, request.sieve, &batch)?;
        let crashed = |error: arrow::error::ArrowError| Failure::crashed(error.to_string());
        if marks.true_count() == 0 {
            writer.write(&batch).await?;
            continue;
        }
        out += origins(file, &filter_record_batch(&batch, &marks).map_err(crashed)?)?.tally();
        let kept = filter_record_batch(&batch, &not(&marks).map_err(crashed)?).map_err(crashed)?;
        if kept.num_rows() > 0 {
            writer.write(&kept).await?;
        }
    }
    let (summary, encoded) = writer.close().await?;
    Ok((MergedFile { key, summary, encoded }, out))
}

fn marks(
    file: &FileReader,
    sieve: &dyn Sieve,
    batch: &arrow::record_batch::RecordBatch,
) -> Result<BooleanArray, Failure> {
    sieve.marks(batch).map_err(|reason| Failure::rejected(format!("{}: {reason}", file.key())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Millis;
    use crate::erasure::{RowSieve, Seal, Tables, Wanted};
    use crate::failure::Class;
    use crate::json::Object;
    use crate::parquet::testing::Memory;
    use crate::parquet::{MergeRequest, deep, merge};
    use crate::record::Origin;
    use crate::schema::TableSchema;
    use crate::standardise::Rows;

    /// A file of the events of `numbers`, which three users send in turn.
    async fn file(objects: &Arc<Memory>, key: &str, numbers: std::ops::Range<u64>) -> Input {
        let schema = r#"{"type": "object", "properties": {"userId": {"type": "string"}}}"#;
        let mut rows = Rows::new(Arc::new(TableSchema::load(schema).unwrap()));
        for n in numbers {
            let event = json!({"userId": format!("u{}", n % 3), "n": n}).to_string();
            let (shard, sequence) = ("0".into(), n.into());
            let origin =
                Origin { stream: "s".into(), shard, sequence, subsequence: 0, arrived_at: Millis(1) };
            rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin).unwrap();
        }
        let (batch, options) = (rows.finish(), WriteOptions::default());
        let mut writer =
            FileWriter::create(objects.as_ref(), key, batch.schema(), &options, &[]).await.unwrap();
        writer.write(&batch).await.unwrap();
        Input { key: key.to_owned(), tally: writer.finish().await.unwrap().tally }
    }

    fn sieve(user: &str) -> RowSieve {
        let wanted = [Wanted::parse(&format!("/userId={user}")).unwrap()];
        RowSieve::new(Seal::of("5a17", &wanted), Millis(9), Tables::unknown().of("t"))
    }

    fn request<'a>(objects: &Arc<Memory>, files: &[Input], sieve: &'a RowSieve) -> SiftRequest<'a> {
        SiftRequest {
            objects: objects.clone(),
            folder: "new".into(),
            files: files.to_vec(),
            options: WriteOptions::default(),
            meta: Vec::new(),
            sieve,
        }
    }

    #[tokio::test]
    async fn files_are_rewritten_without_the_rows_that_are_meant() {
        let objects = Memory::shared();
        let port: Arc<dyn Objects> = objects.clone();
        let files = [file(&objects, "f", 0..30).await, file(&objects, "g", 30..32).await];
        let sieve = sieve("u1");
        assert_eq!(count(&port, "f", &sieve).await.unwrap(), 10);
        let (made, out) = sift(request(&objects, &files, &sieve)).await.unwrap();
        assert_eq!((out.rows, made.len()), (11, 2));
        let mut all = out;
        for file in &made {
            assert_eq!(deep(port.clone(), &file.key).await.unwrap(), file.summary.tally);
            assert_eq!(count(&port, &file.key, &sieve).await.unwrap(), 0);
            all += file.summary.tally;
        }
        assert_eq!(all, files[0].tally + files[1].tally, "nothing else is gone");
    }

    #[tokio::test]
    async fn an_hour_of_one_person_alone_stays_as_a_file_without_rows_that_can_be_merged() {
        let objects = Memory::shared();
        let port: Arc<dyn Objects> = objects.clone();
        let mine = file(&objects, "f", 0..1).await;
        let sieve = sieve("u0");
        let (made, out) = sift(request(&objects, std::slice::from_ref(&mine), &sieve)).await.unwrap();
        assert_eq!((out, made.len(), made[0].summary.tally), (mine.tally, 1, Tally::default()));
        assert_eq!(deep(port.clone(), &made[0].key).await.unwrap(), Tally::default());
        let next = file(&objects, "g", 1..3).await;
        let merged = merge(MergeRequest {
            objects: port,
            folder: "merged".into(),
            base: vec![Input { key: made[0].key.clone(), tally: Tally::default() }],
            segments: vec![next.clone()],
            late: Vec::new(),
            options: WriteOptions::default(),
            meta: Vec::new(),
            dedupe: None,
            listed: Vec::new(),
        });
        assert_eq!(merged.await.unwrap().tally(), next.tally);
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_was_recorded_is_told_and_nothing_is_left() {
        let objects = Memory::shared();
        let good = file(&objects, "f", 0..3).await;
        let other = file(&objects, "g", 3..9).await;
        let wrong = Input { key: other.key, tally: good.tally };
        let sieve = sieve("u1");
        let failure = sift(request(&objects, &[good, wrong], &sieve)).await.unwrap_err();
        assert!(failure.class == Class::Rejected && failure.detail.contains("recorded"), "{failure}");
        assert_eq!(objects.names(), ["f", "g"]);
    }
}
