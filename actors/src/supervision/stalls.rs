//! Work that did not move: found by a step that does not end, by steps that change nothing while there is something to do, or by
//! whoever looks from outside. Its strategy answers each time; what is found again soon after is remembered here, so that it is
//! shown, alarmed, and tried on another node. Pure: the clock is handed in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Stalls this many limits apart belong together.
const TOGETHER: u32 = 3;

/// Why an actor was ended: it did not move for its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled {
    /// How long it may stand still.
    pub limit: Duration,
    /// A step did not end; otherwise steps did, and changed nothing.
    pub within_a_step: bool,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what =
            if self.within_a_step { "a step does not end" } else { "there is work, and none gets done" };
        write!(f, "no progress for {} s: {what}", self.limit.as_secs())
    }
}

impl std::error::Error for Stalled {}

#[derive(Debug, Clone)]
struct Entry {
    times: u32,
    last: Instant,
    limit: Duration,
    reason: String,
}

/// An actor that did not move, as of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Its path from the root.
    pub path: String,
    /// How often in a row.
    pub times: u32,
    /// What was found.
    pub reason: String,
}

/// What did not move lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Stalls(BTreeMap<String, Entry>);

impl Stalls {
    /// The actor at `path` has not moved for `limit`.
    pub(super) fn enter(&mut self, path: &str, limit: Duration, reason: String, now: Instant) {
        self.forget(now);
        let entry = self.0.entry(path.to_owned()).or_insert(Entry {
            times: 0,
            last: now,
            limit,
            reason: String::new(),
        });
        *entry = Entry { times: entry.times + 1, last: now, limit, reason };
    }

    /// What did not move lately.
    pub(super) fn recent(&mut self, now: Instant) -> Vec<Stall> {
        self.forget(now);
        let stall = |(path, entry): (&String, &Entry)| Stall {
            path: path.clone(),
            times: entry.times,
            reason: entry.reason.clone(),
        };
        self.0.iter().map(stall).collect()
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, entry| now.duration_since(entry.last) < entry.limit * TOGETHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stalls_are_counted_in_a_row_and_forgotten_when_it_goes_on() {
        let (mut stalls, start, limit) = (Stalls::default(), Instant::now(), Duration::from_secs(100));
        let at = |seconds| start + Duration::from_secs(seconds);
        let times = |stalls: &mut Stalls, seconds| {
            stalls.recent(at(seconds)).iter().map(|stall| stall.times).collect::<Vec<_>>()
        };
        stalls.enter("a", limit, "x".into(), at(0));
        assert_eq!(times(&mut stalls, 150), [1]);
        stalls.enter("a", limit, "x".into(), at(200));
        stalls.enter("b", limit, "x".into(), at(200));
        assert_eq!(times(&mut stalls, 250), [2, 1]);
        assert_eq!(times(&mut stalls, 500), Vec::<u32>::new());
        stalls.enter("a", limit, "x".into(), at(600));
        assert_eq!(times(&mut stalls, 600), [1], "long ago does not count");
    }
}
