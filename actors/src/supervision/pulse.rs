//! A sign of life from within a step: what takes long is not what stands still.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often waiting for others counts as life.
const WAITING: Duration = Duration::from_secs(60);

/// Beats whenever a step has come further. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Pulse {
    since: Instant,
    /// Milliseconds from then to the last beat.
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse { since: Instant::now(), last: Arc::default() }
    }
}

impl Pulse {
    /// Something got done.
    pub fn beat(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// When that was; its beginning when nothing did.
    pub(crate) fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Waits for what others let go, who are watched themselves: that is no standstill of whoever waits.
    pub async fn through<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            let waited = tokio::time::timeout(WAITING, &mut wait).await;
            self.beat();
            if let Ok(outcome) = waited {
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_beat_is_heard_by_all_and_waiting_for_others_beats() {
        let pulse = Pulse::default();
        let (start, other) = (Instant::now(), pulse.clone());
        assert_eq!(other.last(), start);
        tokio::time::sleep(Duration::from_secs(7)).await;
        pulse.beat();
        assert_eq!(other.last(), start + Duration::from_secs(7));
        let waiting = other.through(tokio::time::sleep(Duration::from_secs(1_000)));
        let looking = async {
            tokio::time::sleep(Duration::from_secs(900)).await;
            Instant::now() - pulse.last()
        };
        let ((), silence) = futures::join!(waiting, looking);
        assert!(silence <= WAITING, "{silence:?}");
        assert_eq!(pulse.last(), start + Duration::from_secs(1_007));
    }
}
