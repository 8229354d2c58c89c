//! How much may be on its way to a peer: what it writes to a connection that stands still is kept in memory without a limit by
//! the carrier, so we do not give it more than a little.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that may be unconfirmed.
const BUDGET: u64 = 8 << 20;

/// What a message costs besides its own bytes.
const EACH: u64 = 256;

/// What was sent to a peer, and up to where it is known to have arrived. A connection keeps its order, so an answer confirms
/// everything that was sent before its question.
#[derive(Debug, Default)]
pub(super) struct Flow {
    sent: AtomicU64,
    confirmed: AtomicU64,
}

/// A place in what was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

impl Flow {
    /// Counts a message of so many bytes; `None` when too much is on its way already.
    pub(super) fn send(&self, bytes: usize) -> Option<Mark> {
        let cost = EACH + u64::try_from(bytes).unwrap_or(u64::MAX - EACH);
        let place = self.sent.fetch_update(Ordering::AcqRel, Ordering::Acquire, |sent| {
            let next = sent.saturating_add(cost);
            // What others have sent and had confirmed meanwhile may be ahead of what this attempt knows of.
            (next.saturating_sub(self.confirmed.load(Ordering::Acquire)) <= BUDGET).then_some(next)
        });
        place.ok().map(|sent| Mark(sent + cost))
    }

    /// Where we are, without sending anything.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.sent.load(Ordering::Acquire))
    }

    /// What was sent up to here has arrived.
    pub(super) fn confirm(&self, Mark(place): Mark) {
        self.confirmed.fetch_max(place, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_makes_room_for_what_was_sent_before_its_question() {
        let (flow, mib) = (Flow::default(), 1 << 20);
        let marks: Vec<Mark> = (0..7).map(|_| flow.send(mib).unwrap()).collect();
        assert!(flow.send(mib).is_none(), "the eighth and what it costs besides are too much");
        flow.confirm(marks[1]);
        assert!(flow.send(mib).is_some() && flow.send(mib).is_some() && flow.send(mib).is_none());
        flow.confirm(marks[0]);
        assert!(flow.send(mib).is_none(), "an older answer takes nothing back and gives nothing more");
        flow.confirm(flow.mark());
        assert!((0..7).all(|_| flow.send(mib).is_some()));
    }
}
