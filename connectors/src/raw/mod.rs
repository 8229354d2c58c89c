//! Raw files: notices that announce them, how they are packed and framed, and the events in them.
//!
//! ```text
//! notice ── notice::read ──▶ files ── RawFiles::open ──▶ chunks ── Unpack ──▶ bytes ── Splitter ──▶ pieces: events
//! ```
//!
//! Everything here is pure and works on whatever has arrived so far, in bounded memory however large the file. What the
//! pieces of a file are does not depend on how its bytes were cut into chunks.

pub mod announcements;
pub mod firehose;
pub mod key_time;
pub mod notice;
mod recovery;
mod s3;
mod scan;
pub mod split;
pub mod unpack;

#[cfg(test)]
mod tests;

pub use announcements::Announcements;
pub use notice::{Announced, Notice};
pub use split::{Piece, Splitter, What};
pub use unpack::Unpack;
