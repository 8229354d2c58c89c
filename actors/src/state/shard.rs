//! A shard's document: who owns it, how far it is read, and what it has written that no hour has absorbed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Owned, Ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::record::{Position, ShardId};
use shardmill_connectors::setsum::Tally;

use super::caution::Caution;
use super::hour::HourState;
use super::lane::{LaneCommit, LaneState};
use super::raw::{RawFile, RawList};

/// One committed segment. It counts for its hour iff its number is higher than the highest of this shard the hour has
/// absorbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The shard's next number when it was committed.
    pub number: u64,
    /// The table it belongs to.
    pub table: String,
    /// The hour it belongs to.
    pub hour: Hour,
    /// Its object.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub tally: Tally,
    /// The schema its rows were made with.
    pub schema: String,
}

/// A file of dead letters that the queue has not got yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadFile {
    /// Its object.
    pub key: String,
    /// Its letters: count and set-sum of their records' identities.
    pub tally: Tally,
}

/// What a stream has trimmed before it was read: each range is a dead letter, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many ranges, by now.
    pub ranges: u64,
    /// The last of them, in words.
    pub last: String,
    /// When it was found.
    pub at: Millis,
}

/// A shard's document.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ShardState {
    /// The stream's name.
    pub stream: String,
    /// The shard's name.
    pub shard: String,
    /// Owner and epoch.
    #[serde(flatten)]
    pub ownership: Ownership,
    /// Takes, and what the lake's part had open.
    #[serde(flatten)]
    pub caution: Caution,
    /// Where a shard without a position is read from, when the stream's newest records were asked for: the moment it was
    /// first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// The lake's position: every record up to here, included, is in a listed or absorbed segment or is a dead letter.
    pub position: Option<Position>,
    /// Every row that arrived before this moment, by the stream's clock, is in a committed segment.
    pub watermark: Option<Millis>,
    /// The shard is closed and the lake has read it to its end.
    pub ended: bool,
    /// The number of the next segment, from one.
    pub next_segment: u64,
    /// Committed segments no hour is known to have absorbed, by number.
    pub segments: Vec<Segment>,
    /// Dead-letter files the queue has not got yet.
    pub dead_letters: Vec<DeadFile>,
    /// Records read, since the beginning.
    pub read: Tally,
    /// Records that became dead letters at the lake, since the beginning.
    pub invalid: Tally,
    /// What the stream trimmed before it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// The records as they were received, where they are kept.
    #[serde(default, skip_serializing_if = "RawList::is_unused")]
    pub raw: RawList,
    /// The shards it came from.
    pub parents: Vec<ShardId>,
    /// The lanes, by destination. Those of destinations that a node does not know are left alone.
    #[serde(default)]
    pub lanes: BTreeMap<String, LaneState>,
}

impl Owned for ShardState {
    fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }

    fn on_take(&mut self) {
        self.caution.started();
        self.lanes.values_mut().for_each(|lane| lane.caution.started());
    }
}

/// What one commit of the lake writer adds.
#[derive(Debug, Clone, Default)]
pub struct LakeCommit {
    /// The new position, if any record was read.
    pub position: Option<Position>,
    /// The new watermark, if it is known.
    pub watermark: Option<Millis>,
    /// The shard has been read to its end.
    pub ended: bool,
    /// New segments; their numbers are given by the document.
    pub segments: Vec<Segment>,
    /// The file of the events that were invalid.
    pub dead_letters: Option<DeadFile>,
    /// Records read.
    pub read: Tally,
    /// The same as they were received; `None` where they are not kept. Their numbers are given by the document.
    pub raw: Option<Vec<RawFile>>,
    /// The numbers of raw files that pages name by now.
    pub paged: BTreeSet<u64>,
    /// A record that could not be processed was set aside: the search for it is over.
    pub set_aside: bool,
}

/// A commit whose books do not balance: a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the commit's books do not balance: {0}")]
pub struct Unbalanced(String);

impl ShardState {
    /// The document of a shard seen for the first time. It starts at the lowest watermark of its parents.
    pub fn new(stream: &str, shard: &str, parents: Vec<ShardId>, watermark: Option<Millis>) -> Self {
        ShardState {
            stream: stream.to_owned(),
            shard: shard.to_owned(),
            parents,
            watermark,
            next_segment: 1,
            ..ShardState::default()
        }
    }

    /// `stream/shard`: how hours and manifests name a shard.
    pub fn name(&self) -> String {
        format!("{}/{}", self.stream, self.shard)
    }

    /// The stream has trimmed what had not been read: `file` holds the letter that says so.
    pub fn lose(&mut self, file: &DeadFile, text: &str, at: Millis) {
        self.dead_letters.push(file.clone());
        let ranges = self.lost.as_ref().map_or(0, |lost| lost.ranges) + 1;
        self.lost = Some(Lost { ranges, last: text.to_owned(), at });
    }

    /// Applies a commit: read = rows + dead letters, and = what is kept raw where that is, or it is refused.
    pub fn commit(&mut self, commit: &LakeCommit) -> Result<(), Unbalanced> {
        let rows: Tally = commit.segments.iter().map(|segment| segment.tally).sum();
        let dead = commit.dead_letters.as_ref().map_or_else(Tally::default, |file| file.tally);
        let raw = match &commit.raw {
            Some(files) => files.iter().map(|file| file.tally).sum(),
            None => commit.read,
        };
        if rows + dead != commit.read || raw != commit.read {
            let read = commit.read;
            let text = format!("read {read}, but rows {rows} and dead letters {dead}; kept raw {raw}");
            return Err(Unbalanced(text));
        }
        self.raw.unlist(&commit.paged);
        self.raw.add(commit.raw.as_deref().unwrap_or_default());
        for segment in &commit.segments {
            self.segments.push(Segment { number: self.next_segment, ..segment.clone() });
            self.next_segment += 1;
        }
        self.dead_letters.extend(commit.dead_letters.clone());
        self.position = commit.position.clone().or(self.position.take());
        self.watermark = self.watermark.max(commit.watermark);
        self.ended |= commit.ended;
        self.read += commit.read;
        self.invalid += dead;
        match &self.position {
            _ if commit.set_aside => self.caution.calm(),
            Some(position) => self.caution.passed(position),
            None => {}
        }
        Ok(())
    }

    /// Applies a lane's commit.
    pub fn commit_lane(&mut self, commit: &LaneCommit) {
        self.dead_letters.extend(commit.dead_letters.clone());
        match &commit.state {
            Some(state) => _ = self.lanes.insert(commit.destination.clone(), state.clone()),
            None => _ = self.lanes.remove(&commit.destination),
        }
    }

    /// Forgets the segments that `hour` has absorbed.
    pub fn unlist(&mut self, hour: &HourState) {
        let through = hour.absorbed_through(&self.name());
        self.segments.retain(|s| s.table != hour.table || s.hour != hour.hour || s.number > through);
    }

    /// Releases the shard in good order.
    pub fn release(&mut self) {
        self.ownership.owner = None;
        self.caution.calm();
        self.lanes.values_mut().for_each(|lane| lane.caution.calm());
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::record::Sequence;

    use super::*;

    fn tally(identities: &[u128]) -> Tally {
        let mut tally = Tally::default();
        identities.iter().for_each(|identity| tally.insert(*identity));
        tally
    }

    fn segment(identities: &[u128]) -> Segment {
        Segment {
            number: 0,
            table: "events".into(),
            hour: "2026-11-21T07".parse().unwrap(),
            key: "k".into(),
            bytes: 1,
            tally: tally(identities),
            schema: "events@1".into(),
        }
    }

    fn position(sequence: u64) -> Position {
        Position { sequence: Sequence::from(sequence), subsequence: 0 }
    }

    #[test]
    fn a_commit_numbers_segments_and_balances_its_books() {
        let mut state = ShardState::new("web", "s0", vec![], None);
        let commit = LakeCommit {
            position: Some(position(3)),
            segments: vec![segment(&[1]), segment(&[2])],
            dead_letters: Some(DeadFile { key: "d".into(), tally: tally(&[3]) }),
            read: tally(&[1, 2, 3]),
            ..LakeCommit::default()
        };
        state.commit(&commit).unwrap();
        assert_eq!(state.segments.iter().map(|s| s.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((state.read.rows, state.invalid.rows, state.next_segment), (3, 1, 3));
        let lost =
            LakeCommit { read: tally(&[4, 5]), segments: vec![segment(&[4])], ..LakeCommit::default() };
        let before = state.clone();
        assert!(state.commit(&lost).is_err());
        assert_eq!(state, before);
    }

    #[test]
    fn what_is_kept_raw_is_what_was_read() {
        let file = |identities: &[u128]| RawFile {
            number: 0,
            hour: "2026-11-21T07".parse().unwrap(),
            key: "r".into(),
            bytes: 1,
            tally: tally(identities),
            erased: Tally::default(),
        };
        let mut state = ShardState::new("web", "s0", vec![], None);
        let commit = |raw: Vec<RawFile>| LakeCommit {
            segments: vec![segment(&[1, 2])],
            read: tally(&[1, 2]),
            raw: Some(raw),
            ..LakeCommit::default()
        };
        for wrong in [vec![], vec![file(&[1])], vec![file(&[1, 2]), file(&[2])], vec![file(&[1, 3])]] {
            assert!(state.commit(&commit(wrong)).is_err());
        }
        state.commit(&commit(vec![file(&[2]), file(&[1])])).unwrap();
        assert_eq!((state.raw.count, state.raw.tally), (2, state.read));
        let turned = LakeCommit { paged: [1].into(), ..LakeCommit::default() };
        state.commit(&turned).unwrap();
        assert_eq!(state.raw.files.iter().map(|file| file.number).collect::<Vec<_>>(), [2]);
        assert_eq!((state.raw.count, state.raw.tally), (2, state.read), "turned over is not forgotten");
    }

    #[test]
    fn a_position_never_goes_back_to_nothing() {
        let mut state = ShardState::new("web", "s0", vec![], None);
        state.position = Some(position(7));
        state.commit(&LakeCommit { watermark: Some(Millis(5)), ..LakeCommit::default() }).unwrap();
        assert_eq!((state.position, state.watermark), (Some(position(7)), Some(Millis(5))));
    }
}
