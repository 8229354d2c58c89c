//! Everything at the boundary: records and events, the ports and their backends, Parquet segments and their merge.
//!
//! One attempt, classify, no waiting: what happens next is decided in `shardmill-actors`.

pub mod aws;
pub mod backup;
pub mod batches;
pub mod clock;
pub mod crash;
pub mod destinations;
pub mod embedded;
pub mod erasure;
pub mod failure;
pub mod fields;
pub mod hour;
pub mod json;
pub mod layout;
pub mod mapping;
pub mod nearest;
pub mod notify;
pub mod parquet;
pub mod patch;
pub mod ports;
pub mod raw;
pub mod record;
pub mod routing;
pub mod schema;
pub mod setsum;
pub mod standardise;
pub mod units;
pub mod uuids;

pub use clock::Millis;
pub use failure::{Class, Failure};
pub use hour::Hour;
