//! How fast a replay may go.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Waits shorter than this are put together: no timer is exacter.
const SHORTEST: Duration = Duration::from_millis(5);

/// Spreads records evenly over time.
#[derive(Debug)]
pub(super) struct Pace {
    /// After each record.
    gap: Duration,
    next: Instant,
}

impl Pace {
    /// So many records a second, or as many as can be.
    pub(super) fn new(rate: Option<f64>) -> Self {
        let gap = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok()).unwrap_or_default();
        Pace { gap, next: Instant::now() }
    }

    /// Waits for the turn of the next record.
    pub(super) async fn turn(&mut self) {
        if self.gap.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.next > now + SHORTEST {
            sleep_until(self.next).await;
        }
        self.next = self.next.max(now) + self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn records_come_at_their_rate() {
        for (rate, seconds) in [(Some(100.0), 10), (Some(2_000.0), 0), (None, 0), (Some(0.5), 1_998)] {
            let (began, mut pace) = (Instant::now(), Pace::new(rate));
            for _ in 0..1_000 {
                pace.turn().await;
            }
            let took = began.elapsed().as_secs_f64();
            assert!((took - f64::from(seconds)).abs() < 1.0, "{rate:?}: {took} s");
        }
    }
}
