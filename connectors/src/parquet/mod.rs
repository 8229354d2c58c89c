//! Parquet files of the lake: segments, their merge into generations, and their proof.
//!
//! Every file carries the origin of each row and, in its footer, the number of its rows, their set-sum and a checksum over
//! all its bytes: whoever reads it can prove what it holds without asking anyone.

mod checksum;
mod encoder;
mod late;
pub mod merge;
pub mod origin;
pub mod read;
pub mod unify;
pub mod verify;
pub mod write;

#[cfg(test)]
mod testing;

pub use merge::{Input, MergeError, MergeRequest, Merged, merge};
pub use origin::Origins;
pub use read::{Batches, FileReader, open};
pub use verify::{deep, tallies_by_shard, tally};
pub use write::{Compression, FileWriter, Summary, WriteOptions};

/// The footer entry with the number of rows.
pub const ROWS: &str = "shardmill.rows";
/// The footer entry with the set-sum of the rows' identities.
pub const SETSUM: &str = "shardmill.setsum";
/// The footer entry with the checksum over the whole file: XXH3-128, taken while the value itself is all zeros.
pub const CHECKSUM: &str = "shardmill.checksum";
