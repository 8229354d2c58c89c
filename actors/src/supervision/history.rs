//! What a supervisor remembers of one child's failures.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Failures in a row, and restarts lately.
#[derive(Debug, Clone, Default)]
pub struct History {
    failures: u32,
    first: Option<Instant>,
    restarts: VecDeque<Instant>,
}

impl History {
    /// Failures in a row, the present one included.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes a failure at `now`.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.first.get_or_insert(now);
    }

    /// Notes that a unit succeeded: the row of failures ends.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.first = None;
    }

    /// Time from the first failure in the row to `now`.
    pub fn age(&self, now: Instant) -> Duration {
        self.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first))
    }

    /// Notes a restart at `now` and counts those within `period`, this one included.
    pub fn restarted(&mut self, now: Instant, period: Duration) -> u32 {
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|then| now.saturating_duration_since(*then) > period) {
            self.restarts.pop_front();
        }
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }
}
