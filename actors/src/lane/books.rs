//! The books of a lane: what its next commit says, and the objects that the commit names.
//!
//! As everywhere, objects are uploaded first under names nobody else can write, and the shard's document names them in the
//! same write that moves the position: an event that was given up is in a dead-letter file exactly when the position has
//! passed it.

use std::time::{Duration, Instant};

use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use uuid::Uuid;

use super::parking::{self, ParkedEvent};
use super::prefix::{Advance, Prefix};
use super::window::Window;
use crate::dead_letters::letter::Range;
use crate::dead_letters::{Letter, letter};
use crate::erase::Remembered;
use crate::ledger::Change;
use crate::shard::Parts;
use crate::shard::place::Place;
use crate::state::lane::{LaneCommit, LaneState, Parked};
use crate::state::{Counts, DeadFile};

/// See the [module](self).
#[derive(Debug)]
pub struct Books {
    destination: String,
    /// The lane as it will be committed next.
    state: LaneState,
    letters: Vec<Letter>,
    /// Letters of events that are about to be trimmed by their stream: one letter will stand for all.
    expired: Vec<Letter>,
    /// Bytes that all these letters are counted with.
    cost: u64,
    /// The same of letters that are in objects by now.
    uploaded: u64,
    parked_changed: bool,
    changed: bool,
    staged_at: Instant,
    /// Parked objects that the next commit replaces.
    replaced: Vec<String>,
    /// Who has been erased, when this was last asked.
    erased: Remembered,
}

impl Books {
    /// Books that go on from a committed state.
    pub fn new(destination: &str, state: LaneState) -> Self {
        Books {
            destination: destination.to_owned(),
            state,
            letters: Vec::new(),
            expired: Vec::new(),
            cost: 0,
            uploaded: 0,
            parked_changed: false,
            changed: false,
            staged_at: Instant::now(),
            replaced: Vec::new(),
            erased: Remembered::default(),
        }
    }

    /// The lane as it will be committed next.
    pub fn state(&self) -> &LaneState {
        &self.state
    }

    /// Whether everything is staged.
    pub fn is_staged(&self) -> bool {
        !self.changed
    }

    /// Changes the lane beside its position.
    pub fn change(&mut self, change: impl FnOnce(&mut LaneState)) {
        change(&mut self.state);
        self.changed = true;
    }

    /// Enters what the prefix has passed. `idle_at` is where the lane stands when nothing is left before it.
    pub fn advance(&mut self, advance: Advance, idle_at: Option<&Place>) {
        let position = idle_at.and_then(Place::position).cloned().or(advance.position);
        if let Some(position) = position
            && self.state.position.as_ref() != Some(&position)
        {
            self.state.caution.passed(&position);
            self.state.position = Some(position);
            self.changed = true;
        }
        self.count(advance.counts);
        self.letters.extend(advance.letters);
        self.cost += advance.cost;
        if advance.parked > 0 {
            self.parked_changed();
        }
    }

    /// Counts what happened outside the prefix.
    pub fn count(&mut self, counts: Counts) {
        if counts != Counts::default() {
            self.state.counts += counts;
            self.changed = true;
        }
    }

    /// A parked event was given up.
    pub fn bury(&mut self, letter: Letter, cost: u64) {
        self.letters.push(letter);
        self.cost += cost;
        self.changed = true;
    }

    /// Events are about to be trimmed by their stream and go to an object.
    pub fn expire(&mut self, letters: Vec<Letter>, cost: u64) {
        self.cost += cost;
        self.changed |= !letters.is_empty();
        self.expired.extend(letters);
    }

    /// What is parked is no longer what the parked object says.
    pub fn parked_changed(&mut self) {
        self.parked_changed = true;
        self.changed = true;
    }

    /// Whether something is to be committed, and for `every` nothing was staged; or the letters weigh `bytes` by now.
    pub fn is_due(&self, every: Duration, bytes: u64) -> bool {
        self.changed && (self.staged_at.elapsed() >= every || self.cost >= bytes)
    }

    /// Bytes of letters that need no memory any more since this was last asked.
    pub fn uploaded(&mut self) -> u64 {
        std::mem::take(&mut self.uploaded)
    }

    /// Uploads what the commit names, and stages it; `false` when nothing has changed.
    pub async fn stage(&mut self, parts: &Parts, window: &Window, prefix: &Prefix) -> Result<bool, Failure> {
        if !self.changed {
            return Ok(false);
        }
        self.leave_out_erased(parts).await?;
        self.upload_expired(parts).await?;
        let dead_letters = self.upload_letters(parts).await?;
        if self.parked_changed {
            let parked = self.upload_parked(parts, &parking::passed(window, prefix)).await?;
            let old = std::mem::replace(&mut self.state.parked, parked);
            self.replaced.extend(old.map(|old| old.object));
        }
        crash::point("lane.before-commit");
        let commit = LaneCommit {
            destination: self.destination.clone(),
            state: Some(self.state.clone()),
            dead_letters,
        };
        parts.ledger.stage(Change::Lane(Box::new(commit))).await;
        self.letters.clear();
        self.uploaded += std::mem::take(&mut self.cost);
        (self.parked_changed, self.changed, self.staged_at) = (false, false, Instant::now());
        Ok(true)
    }

    /// What was staged is committed: the parked objects it replaced are no longer named.
    pub async fn committed(&mut self, parts: &Parts) {
        for object in std::mem::take(&mut self.replaced) {
            // One that stays is swept when the shard has its next owner.
            if let Err(failure) = parts.shared.ports.objects.delete(&object).await {
                tracing::warn!(%object, %failure, "a replaced object was not deleted");
            }
        }
    }

    /// No letters are written of people who were erased after the lake had got their events. They count as given up.
    async fn leave_out_erased(&mut self, parts: &Parts) -> Result<(), Failure> {
        if self.letters.is_empty() && self.expired.is_empty() {
            return Ok(());
        }
        self.erased.renew(parts.shared.ports.documents.as_ref()).await?;
        self.letters.retain(|letter| !self.erased.cover_letter(letter));
        self.expired.retain(|letter| !self.erased.cover_letter(letter));
        Ok(())
    }

    async fn upload_letters(&self, parts: &Parts) -> Result<Option<DeadFile>, Failure> {
        if self.letters.is_empty() {
            return Ok(None);
        }
        let random = Uuid::new_v4().simple().to_string();
        let stream = parts.stream.stream.name();
        let key = layout::dead_letters(stream, &parts.shard, parts.ledger.epoch(), &random);
        let file = letter::upload(parts.shared.ports.objects.as_ref(), &key, &self.letters).await?;
        crash::point("lane.after-letters");
        Ok(Some(file))
    }

    /// Writes the expired events to an object; the letter that stands for them joins the others.
    async fn upload_expired(&mut self, parts: &Parts) -> Result<(), Failure> {
        self.expired.sort_by_cached_key(|letter| letter.origin.position());
        let (Some(first), Some(last)) = (self.expired.first(), self.expired.last()) else { return Ok(()) };
        let random = Uuid::new_v4().simple().to_string();
        let stream = parts.stream.stream.name();
        let object = layout::range(stream, &parts.shard, parts.ledger.epoch(), &random);
        let range = Range {
            object: object.clone(),
            events: self.expired.len() as u64,
            from: first.origin.position(),
            to: last.origin.position(),
        };
        let letter = Letter::range(first, range);
        let bytes = letter::to_ndjson(&self.expired)
            .map_err(|error| Failure::crashed(format!("dead letters cannot be written as JSON: {error}")))?;
        parts.shared.ports.objects.put(&object, bytes.into()).await?;
        self.letters.push(letter);
        self.expired.clear();
        Ok(())
    }

    async fn upload_parked(&self, parts: &Parts, events: &[ParkedEvent]) -> Result<Option<Parked>, Failure> {
        let parked = parking::upload(parts, &self.destination, events).await?;
        if parked.is_some() {
            crash::point("lane.after-parked");
        }
        Ok(parked)
    }
}
