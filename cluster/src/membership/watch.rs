//! When a node counts as dead: its counter has not changed over successful reads that are close together and span the lease.
//! Pure: the clock is handed in.
//!
//! A read that failed, or came late, tells nothing: the reader may have been asleep itself, or the store away. The window
//! begins anew then.

use std::time::Duration;

use crate::clock::Moment;

/// How often a node renews, and how long it is believed to live without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Between two renewals.
    pub renewal: Duration,
    /// Without a renewal for this long, a node is dead.
    pub length: Duration,
}

impl Lease {
    /// For S3.
    pub const S3: Lease = Lease { renewal: Duration::from_secs(2), length: Duration::from_secs(6) };
    /// For a store on this machine.
    pub const EMBEDDED: Lease = Lease { renewal: Duration::from_secs(1), length: Duration::from_secs(3) };

    /// For how long a node holds itself to be alive after a renewal was sent: a twentieth less than others do, because no two
    /// clocks run alike.
    pub fn own(&self) -> Duration {
        self.length - self.length / 20
    }
}

/// What was seen of one node.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// The counter last read, and since when it has been that, over reads without a gap.
    seen: Option<(u64, Moment)>,
    read_at: Option<Moment>,
}

impl Watch {
    /// A read succeeded at `now`. Gives back for how long the counter has been the same.
    pub fn read(&mut self, counter: u64, now: Moment, lease: &Lease) -> Duration {
        let gapless = self.read_at.is_some_and(|before| now.since(before) <= lease.renewal * 2);
        self.read_at = Some(now);
        match self.seen {
            Some((seen, since)) if seen == counter && gapless => now.since(since),
            _ => {
                self.seen = Some((counter, now));
                Duration::ZERO
            }
        }
    }

    /// A read failed: what was seen before it proves nothing any more.
    pub fn failed(&mut self) {
        *self = Watch::default();
    }
}

/// For how long a counter must have stood still. If more than half of all nodes seem dead at once, it is more likely the
/// store: one more window then.
pub fn needed(silent: usize, nodes: usize, lease: &Lease) -> Duration {
    if silent * 2 > nodes { lease.length * 2 } else { lease.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease = Lease::S3;

    /// The longest silence that a sequence of reads proves: `None` is a read that failed.
    fn silence(reads: &[(u64, Option<u64>)]) -> u64 {
        let (start, mut watch, mut longest) = (Moment::default(), Watch::default(), 0);
        for (at, counter) in reads {
            let now = start.plus(Duration::from_secs(*at));
            match counter {
                Some(counter) => longest = longest.max(watch.read(*counter, now, &LEASE).as_secs()),
                None => watch.failed(),
            }
        }
        longest
    }

    #[test]
    fn only_close_successful_reads_of_the_same_counter_prove_silence() {
        let same = |times: &[u64]| times.iter().map(|at| (*at, Some(7))).collect::<Vec<_>>();
        assert_eq!(silence(&same(&[0, 2, 4, 6])), 6);
        assert_eq!(silence(&same(&[0, 4, 8])), 8, "two renewals apart is close enough");
        assert_eq!(silence(&same(&[0, 5, 10, 15])), 0, "who slept between the reads proves nothing");
        assert_eq!(silence(&[(0, Some(7)), (2, Some(7)), (3, None), (4, Some(7)), (6, Some(7))]), 2);
        assert_eq!(silence(&[(0, Some(7)), (2, Some(7)), (4, Some(8)), (6, Some(8))]), 2, "it lives");
        assert_eq!(silence(&[(0, Some(7)), (6, None), (12, Some(7))]), 0);
    }

    #[test]
    fn when_most_seem_dead_it_is_the_store() {
        let seconds = |silent, nodes| needed(silent, nodes, &LEASE).as_secs();
        assert_eq!([seconds(1, 2), seconds(1, 3), seconds(5, 10)], [6, 6, 6]);
        assert_eq!([seconds(2, 3), seconds(6, 10), seconds(3, 3)], [12, 12, 12]);
    }
}
