//! A file whose rows are encoded as they come, and that is uploaded when it is whole.
//!
//! Encoded rows take a fraction of the memory that they take in columns, so whoever gathers rows for long can gather more of them. And
//! what is whole can be uploaded once more without being encoded once more.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::aside;
use super::encoder::{Account, Encoder};
use super::write::{Summary, WriteOptions};
use crate::failure::Failure;
use crate::ports::Objects;

/// What is written, for messages: it has no name yet.
const WHAT: &str = "a draft";

/// See the [module](self). What goes wrong while it is made stays with it: it can then be neither finished nor uploaded.
pub struct Draft {
    state: State,
    /// The bytes so far.
    done: Vec<Bytes>,
    /// What the encoder holds, about.
    open: usize,
}

enum State {
    /// Never locked: it makes a reference to a draft something that threads may share, which the encoder by itself is not.
    Open(Mutex<Box<Encoder>>),
    Whole(Account),
    Failed(Failure),
}

impl Draft {
    /// A file without rows. `meta` goes into its footer.
    pub fn new(schema: SchemaRef, options: &WriteOptions, meta: &[(String, String)]) -> Self {
        let state = Encoder::new(schema, options, meta).map_or_else(State::Failed, State::open);
        Draft { state, done: Vec::new(), open: 0 }
    }

    /// Appends the rows of `batch`, which has the file's columns.
    pub async fn write(&mut self, batch: RecordBatch) {
        self.state = match self.take() {
            State::Open(encoder) => {
                match aside::with(WHAT, free(encoder), move |encoder| encoder.write(&batch)).await {
                    Ok((encoder, bytes)) => {
                        self.keep(bytes);
                        self.open = encoder.memory();
                        State::open(encoder)
                    }
                    Err(failure) => State::Failed(failure),
                }
            }
            State::Whole(_) => State::Failed(Failure::crashed("rows came for a draft that was finished")),
            State::Failed(failure) => State::Failed(failure),
        };
    }

    /// Makes the file whole; what is whole stays as it is.
    pub async fn finish(&mut self) {
        self.state = match self.take() {
            State::Open(encoder) => match aside::compute(WHAT, || free(encoder).finish()).await {
                Ok(Ok((tail, account))) => {
                    self.keep(tail);
                    self.open = 0;
                    State::Whole(account)
                }
                Ok(Err(failure)) | Err(failure) => State::Failed(failure),
            },
            other => other,
        };
    }

    /// Uploads the file, which is whole, under a name, if that is free. It can be done again, under another.
    ///
    /// # Errors
    /// What the store says; or what went wrong before, and then it will again.
    pub async fn put(&self, objects: &dyn Objects, key: &str) -> Result<Summary, Failure> {
        let account = match &self.state {
            State::Whole(account) => account,
            State::Failed(failure) => return Err(failure.clone()),
            State::Open(_) => return Err(Failure::crashed(format!("{key}: the draft is not finished"))),
        };
        let mut upload = objects.upload(key).await?;
        for bytes in &self.done {
            upload.write(bytes.clone()).await?;
        }
        Ok(account.summary(upload.finish().await?))
    }

    /// About how much memory it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.open + self.done.iter().map(Bytes::len).sum::<usize>()
    }

    /// The state, to be replaced: if it never is, because whoever waited for it went away, the rows are lost.
    fn take(&mut self) -> State {
        let cancelled = Failure::crashed("encoding a draft was cancelled");
        std::mem::replace(&mut self.state, State::Failed(cancelled))
    }

    fn keep(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.done.push(bytes);
        }
    }
}

impl State {
    fn open(encoder: Encoder) -> Self {
        State::Open(Mutex::new(Box::new(encoder)))
    }
}

fn free(encoder: Mutex<Box<Encoder>>) -> Encoder {
    *encoder.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet::FileWriter;
    use crate::parquet::testing::{Memory, rows};
    use crate::ports::Put;

    fn batch(from: u32, count: u32) -> RecordBatch {
        rows(&(from..from + count).map(|i| ("s", "a", i)).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn it_becomes_the_file_that_is_written_at_once() {
        let objects = Memory::shared();
        let options = WriteOptions { row_group_rows: 700, ..WriteOptions::default() };
        let meta = [("shardmill.shard".to_owned(), "s/a".to_owned())];
        let schema = batch(0, 1).schema();
        let mut writer = FileWriter::create(&*objects, "f", schema.clone(), &options, &meta).await.unwrap();
        let mut draft = Draft::new(schema, &options, &meta);
        for part in 0..5 {
            writer.write(&batch(part * 400, 400)).await.unwrap();
            draft.write(batch(part * 400, 400)).await;
            assert!(draft.bytes() > 0);
        }
        let summary = writer.finish().await.unwrap();
        draft.finish().await;
        draft.finish().await;
        assert_eq!(draft.put(&*objects, "g").await.unwrap(), summary);
        let file = objects.get("g").await.unwrap();
        assert_eq!((file.clone(), draft.bytes()), (objects.get("f").await.unwrap(), file.len()));

        let taken = Summary { put: Put::Exists, ..summary };
        assert_eq!(draft.put(&*objects, "f").await.unwrap(), taken);
        assert_eq!(draft.put(&*objects, "h").await.unwrap(), summary, "once more");
    }

    #[tokio::test]
    async fn the_ids_of_its_run_count() {
        let bytes = async |options: &WriteOptions| {
            let mut draft = Draft::new(batch(0, 1).schema(), options, &[]);
            draft.write(batch(0, 5_000)).await;
            draft.bytes()
        };
        let plain = WriteOptions { id_rows: 1 << 18, ..WriteOptions::default() };
        let with_ids = WriteOptions { ids: Some("_sequence".to_owned()), ..plain.clone() };
        let (without, with) = (bytes(&plain).await, bytes(&with_ids).await);
        assert!(with >= without + 5_000 * 32, "{with} with, {without} without: a hash and a row of each");
    }

    #[tokio::test]
    async fn what_went_wrong_stays() {
        let objects = Memory::shared();
        let new = || Draft::new(batch(0, 1).schema(), &WriteOptions::default(), &[]);
        let refused = async |draft: &Draft| {
            let failure = draft.put(&*objects, "f").await.unwrap_err();
            assert_eq!(objects.head("f").await.unwrap(), None);
            failure.to_string()
        };
        let mut unfinished = new();
        unfinished.write(batch(0, 3)).await;
        assert!(refused(&unfinished).await.contains("not finished"));

        let mut other = new();
        other.write(batch(0, 3).project(&[0]).unwrap()).await;
        other.write(batch(0, 3)).await;
        other.finish().await;
        assert!(refused(&other).await.contains("other columns"));

        let mut late = new();
        late.finish().await;
        late.write(batch(0, 3)).await;
        late.finish().await;
        assert!(refused(&late).await.contains("finished"));
    }

    #[test]
    fn rows_whose_encoding_was_not_waited_for_are_missed() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let mut draft = Draft::new(batch(0, 1).schema(), &WriteOptions::default(), &[]);
            assert!(futures::poll!(std::pin::pin!(draft.write(batch(0, 3)))).is_pending());
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            draft.write(batch(3, 3)).await;
            draft.finish().await;
            let failure = draft.put(&*Memory::shared(), "f").await.unwrap_err();
            assert!(failure.to_string().contains("cancelled"));
        });
    }
}
