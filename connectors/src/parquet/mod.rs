//! Parquet files of the lake: segments, their merge into generations, and their proof.
//!
//! Every file carries the origin of each row and, in its footer, the number of its rows, their set-sum and a checksum over
//! all its bytes: whoever reads it can prove what it holds without asking anyone. What the footer says of each row group lets a
//! merge copy it without decoding it.

mod aside;
mod checked;
mod checksum;
mod chunk;
mod columns;
mod copied;
mod dictionaries;
mod draft;
mod encoder;
mod filters;
mod groups;
mod ids;
mod late;
pub mod merge;
pub mod origin;
pub mod promote;
pub mod read;
mod row_group;
pub mod sift;
pub mod unify;
pub mod verify;
pub mod write;

#[cfg(test)]
pub(crate) mod testing;

pub use dictionaries::Repeats;
pub use draft::Draft;
pub use ids::{Twice, listed_rows, twice};
pub use merge::{
    Dedupe, Input, Listed, MergeError, MergeRequest, Merged, MergedFile, dedupe_bytes, late_bytes, merge,
};
pub use origin::Origins;
pub use promote::{PromoteRequest, Prospect, promote, prospect};
pub use read::{Batches, FileReader, open};
pub use verify::{deep, read_back, tallies_by_shard, tally};
pub use write::{Compression, FileWriter, Summary, WriteOptions};

/// The footer entry with the number of rows.
pub const ROWS: &str = "shardmill.rows";
/// The footer entry with the set-sum of the rows' identities.
pub const SETSUM: &str = "shardmill.setsum";
/// The footer entry about each row group: set-sum, arrivals, and which positions of which shards its rows can have; JSON.
pub const GROUPS: &str = "shardmill.groups";
/// The footer entry about the run of ids, if the file has one: column, place, length, checksum; JSON.
pub const IDS: &str = "shardmill.ids";
/// The footer entry with the checksum over the whole file: XXH3-128, taken while the value itself is all zeros.
pub const CHECKSUM: &str = "shardmill.checksum";
