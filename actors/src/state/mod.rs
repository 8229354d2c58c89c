//! What the documents hold, and the pure rules over them. Documents are read and written in [`crate::ledger`],
//! [`crate::world`] and [`crate::hour`].

pub mod hour;
pub mod late;
pub mod shard;

pub use hour::{Absorbed, HourState};
pub use late::{Manifest, ManifestEntry};
pub use shard::{DeadFile, Segment, ShardState};
