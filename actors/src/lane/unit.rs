//! One event in a lane, and what has happened to it.

use compact_str::CompactString;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::{Event, Refusal};

use super::prefix::Entry;
use crate::supervision::History;

/// Events that must be sent together, exactly these: a batch that failed as a whole is repeated as it was, a half of one that
/// was refused as a whole is a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Tells one group from another.
    pub id: u64,
    /// How many of it may be sent together.
    pub most: usize,
}

/// One event and what has happened to it.
#[derive(Debug)]
pub struct Unit {
    /// What is delivered.
    pub event: Event,
    /// The payload as received.
    pub raw: bytes::Bytes,
    /// The record's partition key.
    pub partition_key: CompactString,
    /// Its entry in the prefix; `None` when the position had passed it before this lane started, because it was parked.
    pub entry: Option<Entry>,
    /// When the attempts were made.
    pub attempted_at: Vec<Millis>,
    /// Its failures in a row.
    pub history: History,
    /// What it must be sent with.
    pub group: Option<Group>,
    /// How the last attempt ended.
    pub refusal: Option<Refusal>,
    /// How many requests the destination had answered well when it last refused this one for who we are.
    pub unwelcome_at: Option<u64>,
    /// Nobody has sent it since this lane started.
    pub fresh: bool,
    /// Bytes it is counted with.
    pub cost: u64,
}

impl Unit {
    /// An event nobody has tried yet, with the payload as received and the record's partition key; `at` is its entry in the prefix,
    /// and what it is counted with.
    pub fn new(
        event: Event,
        raw: bytes::Bytes,
        partition_key: CompactString,
        at: (Option<Entry>, u64),
    ) -> Unit {
        let (entry, cost) = at;
        Unit {
            event,
            raw,
            partition_key,
            entry,
            attempted_at: Vec::new(),
            history: History::default(),
            group: None,
            refusal: None,
            unwelcome_at: None,
            fresh: true,
            cost,
        }
    }
}
