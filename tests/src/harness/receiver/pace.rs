//! How much a receiver takes in a second.

use std::time::Instant;

/// A bucket of events: a request is let in while something is left, whatever its size, and what it takes beyond that is paid back.
#[derive(Debug, Default)]
pub(super) struct Pace {
    left: f64,
    at: Option<Instant>,
}

impl Pace {
    /// Whether a request with so many events is let in at `now`, where `per_second` are on the average. The bucket holds what comes
    /// in a second, and is full when it is first asked.
    pub(super) fn admits(&mut self, per_second: f64, events: usize, now: Instant) -> bool {
        let passed = self.at.map_or(1.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.left = (self.left + passed * per_second).min(per_second);
        if self.left < 1.0 {
            return false;
        }
        #[allow(clippy::cast_precision_loss)] // events of a request
        let events = events as f64;
        self.left -= events;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_are_let_in_as_come_in_a_second_whatever_the_requests_are() {
        for (events, every_ms) in [(1, 1), (7, 10), (90, 50), (400, 200)] {
            let (mut pace, start, mut taken) = (Pace::default(), Instant::now(), 0);
            for turn in 0..100_000 / every_ms {
                let now = start + Duration::from_millis(turn * every_ms);
                taken += if pace.admits(40.0, events, now) { events } else { 0 };
            }
            let most = 40 * 101 + events;
            assert!((40 * 95..=most).contains(&taken), "{events} every {every_ms} ms: {taken}");
        }
    }

    #[test]
    fn what_was_not_used_does_not_pile_up() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.admits(10.0, 10, start));
        assert!(!pace.admits(10.0, 1, start + Duration::from_millis(50)));
        let later = start + Duration::from_secs(3_600);
        assert!(pace.admits(10.0, 10, later));
        assert!(!pace.admits(10.0, 1, later));
    }
}
