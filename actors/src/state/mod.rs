//! What the documents hold, and the pure rules over them. Documents are read and written in [`crate::ledger`],
//! [`crate::world`] and [`crate::hour`].

pub mod caution;
pub mod hour;
pub mod intake;
pub mod lane;
pub mod late;
pub mod raw;
pub mod schedule;
pub mod shard;

pub use caution::Caution;
pub use hour::{Absorbed, HourState};
pub use intake::IntakeState;
pub use lane::{Counts, LaneState};
pub use late::{Manifest, ManifestEntry};
pub use raw::{RawFile, RawList, RawPage};
pub use schedule::{SchedulePage, ScheduleState};
pub use shard::{DeadFile, Segment, ShardState};
