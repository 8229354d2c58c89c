//! The raw backup: every record as it was received, one line of JSON a record, in frames of zstd.
//!
//! ```json
//! {"stream":"web","shard":"0","sequence":"7","subsequence":0,"arrived_at":1795244400000,"key":"ann","data":"{\"event\":\"Bought\"}"}
//! ```
//!
//! `data` is the payload byte for byte when it is UTF-8; anything else is `base64` in its place. `arrived_at` counts milliseconds
//! since the Unix epoch. Frames follow each other and carry checksums, so that `zstdcat FILE | jq -r .data` gives the payloads
//! back; they are small, so that little of a file is in memory while it is made or read. What a file must hold, by number and
//! set-sum of its records, is kept apart from it: only that tells a file that ends early from a whole one.

mod line;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use line::Kept;
pub use pack::{Packed, Packer};
pub use unpack::Unpacker;
