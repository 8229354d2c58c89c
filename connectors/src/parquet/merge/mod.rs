//! Merging the files of an hour into its next generation, with the books balanced before anything becomes durable.
//!
//! Row groups that are large enough, have the result's columns and cannot hold a row twice are copied: their bytes are read
//! once, in order, through the checksum of their file, and written as they are. Small ones beside each other are gathered and
//! encoded anew. What is decoded and what is copied is planned beforehand, out of footers alone.

mod fit;
mod output;
mod plan;
mod run;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::output::Output;
use self::run::Merging;
use self::sources::{Role, Sources};
use super::origin::ByShard;
use super::write::{Summary, WriteOptions};
use crate::failure::{Class, Failure};
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
}

/// The outcome of a merge: the rows of `files` = `inputs` − `dropped`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The new files, in the order of their rows; one unless [`WriteOptions::part_bytes`] asks for more.
    pub files: Vec<MergedFile>,
    /// All rows of all inputs.
    pub inputs: Tally,
    /// Late rows that were there already.
    pub dropped: Tally,
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

/// Merges the inputs into new files. Holds what is encoded of one row group, some pieces of what is copied, footers, and the
/// identities of the late rows.
pub async fn merge(request: MergeRequest) -> Result<Merged, MergeError> {
    let piece = request.options.piece();
    merge_in_pieces(request, piece).await
}

/// The same; `piece` bytes are fetched together.
async fn merge_in_pieces(request: MergeRequest, piece: u64) -> Result<Merged, MergeError> {
    let sources = Sources::open(&request).await?;
    let target = sources.target(request.options.compression, piece).await?;
    let ways = sources.plan(&target, &request.options);
    let absent = sources.absent(&ways, piece).await?;
    let schema = target.schema().clone();
    let output = Output::create(&request, schema.clone()).await?;
    Merging::new(output, schema, absent, piece).run(sources.0, ways).await
}

/// Reading an input was rejected: it is the input's fault. Anything else is not.
fn blame(key: &str, failure: Failure) -> MergeError {
    match failure.class {
        Class::Rejected => MergeError::Corrupt { key: key.to_owned(), reason: failure.detail },
        _ => MergeError::Failed(failure),
    }
}
