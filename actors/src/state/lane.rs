//! One destination's place in a shard's document: how far it has got, what it holds apart, what it has done.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::record::Position;

use super::caution::Caution;
use super::shard::DeadFile;

/// Where a lane without a position begins. Resolved once, in the commit that creates the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneStart {
    /// Where the lake is.
    #[default]
    Lake,
    /// The oldest record retained.
    Oldest,
    /// The first record that arrived at or after this moment.
    At(Millis),
}

/// Keys that fail again and again, with all their events, in an object: the position has passed them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The object.
    pub object: String,
    /// Keys in it.
    pub keys: u64,
    /// Events in it.
    pub events: u64,
}

/// What a lane has done since it was created. Counted with the position, so that a repetition counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Events that the rules gave it.
    pub routed: u64,
    /// Events the destination took.
    pub delivered: u64,
    /// Events, delivered or given up, that needed more than one attempt.
    pub retried: u64,
    /// Events given up.
    pub dead_lettered: u64,
    /// Events left out by the mapping, for want of consent. Not routed.
    pub skipped: u64,
}

impl Counts {
    /// Events routed and neither delivered nor given up.
    pub fn pending(&self) -> u64 {
        self.routed.saturating_sub(self.delivered + self.dead_lettered)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.routed += other.routed;
        self.delivered += other.delivered;
        self.retried += other.retried;
        self.dead_lettered += other.dead_lettered;
        self.skipped += other.skipped;
    }
}

/// A lane as its shard's document holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneState {
    /// Every event up to here, included, was delivered, given up, parked or not meant for the destination.
    pub position: Option<Position>,
    /// Where reading begins while there is no position.
    #[serde(default)]
    pub start: LaneStart,
    /// Starts, and what was open.
    #[serde(flatten)]
    pub caution: Caution,
    /// What is held apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// The shard is closed and this lane has come to its end: what is parked belongs to the children.
    #[serde(default)]
    pub frozen: bool,
    /// What it has done.
    #[serde(default)]
    pub counts: Counts,
}

/// What one commit of a lane changes.
#[derive(Debug, Clone)]
pub struct LaneCommit {
    /// The destination's name.
    pub destination: String,
    /// The lane from now on; `None`: it is removed.
    pub state: Option<LaneState>,
    /// The file of the events given up since the last commit.
    pub dead_letters: Option<DeadFile>,
}
