//! Merging the files of an hour into its next generation, with the books balanced before anything becomes durable.
//!
//! Row groups that are large enough, have the result's columns and cannot hold a row twice are copied: their bytes are read
//! once, in order, through the checksum of their file, and written as they are. Small ones beside each other are gathered and
//! encoded anew. What is decoded and what is copied is planned beforehand, out of footers alone.
//!
//! In a table that is de-duplicated by message id, runs of ids tell beforehand which rows have an id that an earlier row has: only
//! the row groups that hold one are encoded anew, without it.
//!
//! ```text
//! sources.rs   inputs, opened and judged     duplicates.rs  which rows have the id of an earlier one
//! plan.rs      what is done with each        list.rs        ... and the list of them
//! repeated.rs  late rows that are there      runs.rs        the ids of all inputs, sorted
//! run.rs       carrying the plan out         sides.rs       ... and read side by side
//! output.rs    the files that are made       drops.rs       rows that are dropped, a bit each
//! fit.rs       what can be copied            sorted.rs      entries sorted in bounded memory
//! ```

mod drops;
mod duplicates;
mod fit;
mod list;
mod output;
mod plan;
mod repeated;
mod run;
mod runs;
mod sides;
mod sorted;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::drops::Drops;
use self::duplicates::Numbering;
use self::fit::Target;
use self::list::List;
use self::output::{Output, RunOfIds};
use self::run::Merging;
use self::runs::Runs;
use self::sources::{Role, Sources};
use super::late;
use super::origin::ByShard;
use super::write::{Summary, WriteOptions};
use crate::failure::{Class, Failure};
use crate::layout;
use crate::ports::Objects;
use crate::setsum::Tally;

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
    /// Where the files are, and where the new ones go.
    pub objects: Arc<dyn Objects>,
    /// The folder of the new files, whose names are [`crate::layout::part`]'s.
    pub folder: String,
    /// The files of the current generation.
    pub base: Vec<Input>,
    /// Segments that are not in it yet; their rows are in no other input. One whose positions overlap an input's before it is
    /// de-duplicated all the same.
    pub segments: Vec<Input>,
    /// Files whose rows may repeat ones of the inputs before, or each other's.
    pub late: Vec<Input>,
    /// How the new files are written, and what is large enough to be copied.
    pub options: WriteOptions,
    /// What goes into their footers.
    pub meta: Vec<(String, String)>,
    /// Of the rows of one id only the first stays.
    pub dedupe: Option<Dedupe>,
    /// The lists of what was dropped by earlier merges. Late rows that are in one are there already, as it were.
    pub listed: Vec<Input>,
}

/// De-duplication by the client's message id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// The column with the ids. Rows without one are never duplicates.
    pub column: String,
    /// The folder of the list, and of what a merge puts aside while it works.
    pub folder: String,
}

impl Dedupe {
    /// The object that lists what is dropped.
    fn list(&self) -> String {
        layout::duplicates_list(&self.folder)
    }
}

/// A list of what was dropped as duplicate: a file whose rows have the identities of the rows that were dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object's name.
    pub key: String,
    /// What it holds.
    pub summary: Summary,
}

/// The outcome of a merge: the rows of `files` = `inputs` − `dropped` − `duplicates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The new files, in the order of their rows; one unless [`WriteOptions::part_bytes`] asks for more.
    pub files: Vec<MergedFile>,
    /// All rows of all inputs.
    pub inputs: Tally,
    /// Late rows that were there already.
    pub dropped: Tally,
    /// Rows whose id an earlier row has.
    pub duplicates: Tally,
    /// The list of them, if there are any.
    pub list: Option<Listed>,
    /// The rows of `segments` by (stream, shard).
    pub by_shard: ByShard,
}

impl Merged {
    /// The rows of all new files.
    pub fn tally(&self) -> Tally {
        self.files.iter().map(|file| file.summary.tally).sum()
    }
}

/// A file that a merge has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedFile {
    /// The object's name.
    pub key: String,
    /// What it holds. Its `put` tells whether the name was free.
    pub summary: Summary,
    /// The numbers of its row groups that were encoded; the others were copied.
    pub encoded: Vec<usize>,
}

/// Why a merge failed. Nothing is left of it, unless a part could not be removed.
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

/// About the memory that finding duplicates takes among so many rows, in bytes: see `duplicates.rs`.
pub fn dedupe_bytes(rows: u64) -> u64 {
    (128 << 20) + rows / 5
}

/// Memory in bytes that finding out which of `rows` late rows are there already takes beyond the room of the row groups that
/// are encoded later, at most.
///
/// Identities are held before the first row group is, and take three quarters of the room of four. What stays of the rows is a bit for
/// each that is dropped, three while a set of them grows, and half a bit for counting them.
pub fn late_bytes(rows: u64) -> u64 {
    rows / 2
}

/// What a merge holds at a time.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Bytes fetched together.
    piece: u64,
    /// Identities of late rows.
    identities: u64,
}

impl Bounds {
    fn of(options: &WriteOptions) -> Self {
        let identities = late::fitting(3 * options.row_group_bytes as u64);
        Bounds { piece: options.piece(), identities }
    }
}

/// Merges the inputs into new files. Holds what is encoded of one row group, some pieces of what is copied, footers, and before that
/// as many identities of late rows as take three row groups' room, with some bits ([`late_bytes`]); where ids count,
/// [`dedupe_bytes`] more.
pub async fn merge(request: MergeRequest) -> Result<Merged, MergeError> {
    let bounds = Bounds::of(&request.options);
    merge_within(request, bounds).await
}

/// The same, within these bounds.
async fn merge_within(mut request: MergeRequest, bounds: Bounds) -> Result<Merged, MergeError> {
    let piece = bounds.piece;
    let sources = Sources::open(&request).await?;
    // Whoever merges may not know the table's configuration: rows that are encoded anew keep the filters they had.
    request.options.bloom.append(&mut sources.filtered());
    let target = sources.target(request.options.compression, piece).await?;
    let ways = sources.plan(&target, &request.options, &[]);
    let drops = sources.repeated(&ways, &request.objects, bounds).await?;
    let work = Work { request: &request, piece, target, sources, drops };
    let Some(dedupe) = &request.dedupe else { return work.write(None).await };
    let mut runs = Runs::new(request.objects.clone(), dedupe.clone(), work.target.schema());
    let gathered = runs.gather(&work.sources.0, piece).await;
    let runs = Arc::new(runs);
    let merged = match gathered {
        Ok(()) => work.deduplicate(dedupe, runs.clone()).await,
        Err(error) => Err(error),
    };
    runs.discard().await;
    merged
}

/// A merge whose inputs are open.
struct Work<'a> {
    request: &'a MergeRequest,
    /// Bytes fetched together.
    piece: u64,
    target: Target,
    sources: Sources,
    drops: Vec<Drops>,
}

impl Work<'_> {
    /// Finds what has the id of an earlier row, and writes the rest.
    async fn deduplicate(mut self, dedupe: &Dedupe, runs: Arc<Runs>) -> Result<Merged, MergeError> {
        let objects = self.request.objects.clone();
        let list = List::new(objects.clone(), (dedupe, runs.id_type()), &self.request.options);
        let list = duplicates::find(&runs, &self.sources.0, &mut self.drops, list).await?;
        let merged = self.write(Some(runs)).await;
        match (merged, list) {
            (Ok(merged), list) if tally_of(list.as_ref()) == merged.duplicates => {
                Ok(Merged { list, ..merged })
            }
            (merged, list) => {
                let keys = merged.iter().flat_map(|merged| &merged.files).map(|file| file.key.as_str());
                for key in keys.chain(list.as_ref().map(|list| list.key.as_str())) {
                    discard(objects.as_ref(), key).await;
                }
                let unlike = "a merge dropped other rows than it listed";
                Err(merged.err().unwrap_or_else(|| Failure::crashed(unlike).into()))
            }
        }
    }

    /// Writes all rows that are not dropped.
    async fn write(self, runs: Option<Arc<Runs>>) -> Result<Merged, MergeError> {
        let Work { request, piece, target, sources, mut drops } = self;
        drops.iter_mut().for_each(Drops::seal);
        let drops = Arc::new(drops);
        let ways = sources.plan(&target, &request.options, &drops);
        let ids = runs.map(|runs| RunOfIds { runs, numbering: Numbering::new(&sources.0, drops.clone()) });
        let schema = target.schema().clone();
        let output = Output::create(request, schema.clone(), ids).await?;
        Merging::new(output, schema, drops, piece).run(sources.0, ways).await
    }
}

fn tally_of(list: Option<&Listed>) -> Tally {
    list.map(|list| list.summary.tally).unwrap_or_default()
}

/// Removes an object that nobody names, as far as that goes: what is left is swept.
async fn discard(objects: &dyn Objects, key: &str) {
    if let Err(failure) = objects.delete(key).await {
        tracing::warn!(%key, %failure, "a part of a merge that failed was not removed");
    }
}

/// Reading an input was rejected: it is the input's fault. Anything else is not.
fn blame(key: &str, failure: Failure) -> MergeError {
    match failure.class {
        Class::Rejected => MergeError::Corrupt { key: key.to_owned(), reason: failure.detail },
        _ => MergeError::Failed(failure),
    }
}
