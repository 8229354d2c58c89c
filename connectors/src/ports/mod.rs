//! The ports: what the system needs from the outside, one attempt at a time.
//!
//! Every method makes one attempt and classifies what went wrong ([`crate::failure::Failure`]); waiting and repeating are
//! decided by supervision. Only pacing to a service's limits and long polls wait here.

pub mod catalog;
pub mod documents;
pub mod objects;
pub mod queue;
pub mod raw;
pub mod stream;
pub mod text;

pub use catalog::{Catalog, LakeFile, QueryResult, Snapshot};
pub use documents::{Document, Documents, Tag, Written};
pub use objects::{Object, Objects, Put, Upload};
pub use queue::{Depth, Message, Queue};
pub use raw::{Listed, Listing, Place, RawBody, RawFile, RawFiles};
pub use stream::{Fetched, HashRange, Limit, Shard, ShardReader, Start, Stream};
pub use text::{Text, TextFile, TextObject};
