//! The raw backup: the records of a stream as they were received, in objects that the commits of its shards name.
//!
//! ```text
//! writer ── one object for each hour of arrival ──▶ objects raw/…     (uploaded with the segments)
//!        └─ the shard's document names them                           (the commit: read = raw, by number and set-sum)
//! next commit: what is old goes on a page `raw/…`, then the document unlists it
//! ```
//!
//! So what is named, by a document or by a page, was committed; anything else does not exist, and the sweeper deletes it.

pub mod list;
pub mod pages;
pub mod read;
pub mod sweep;
#[cfg(test)]
mod tests;

pub use list::{Named, named};
pub use read::RawReader;
