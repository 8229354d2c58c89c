//! Keeping below what one shard allows: five reads and 2 MiB a second, and five iterators a second, shared by every cursor
//! that this process has on the shard. (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>)
//!
//! After a read of 10 MiB Kinesis refuses reads for five seconds; bytes at 2 MiB/s say the same for any size. Consumers outside
//! of this process have the same allowance: what they use up comes back as `Throttled`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};
use tokio::time::Instant;

use crate::record::ShardId;

/// Calls that may begin within [`WINDOW`].
const CALLS: usize = 5;
/// A second, and what the network may push two calls together.
const WINDOW: Duration = Duration::from_millis(1_050);
/// Bytes a shard gives in [`WINDOW`].
const BYTES: f64 = (2 << 20) as f64;

/// When calls were made, and when what they brought is paid for.
#[derive(Debug, Default)]
struct Meter {
    calls: VecDeque<Instant>,
    paid: Option<Instant>,
}

/// What `bytes` use up of a shard's allowance.
#[allow(clippy::cast_precision_loss)] // far below 2^52 bytes
fn price(bytes: usize) -> Duration {
    WINDOW.mul_f64(bytes as f64 / BYTES)
}

impl Meter {
    /// When the next call may begin.
    fn ready(&self) -> Option<Instant> {
        let window = match self.calls.len() < CALLS {
            true => None,
            false => self.calls.front().map(|first| *first + WINDOW),
        };
        window.max(self.paid)
    }

    /// Counts a call that begins.
    fn call(&mut self, now: Instant) {
        if self.calls.len() == CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(now);
    }

    /// Counts what the last call brought. The shard has paid it out when the call began: how long an answer was on its way uses up
    /// nothing.
    fn brought(&mut self, bytes: usize) {
        if let Some(begun) = self.calls.back().filter(|_| bytes > 0) {
            self.paid = Some(self.paid.map_or(*begun, |paid| paid.max(*begun)) + price(bytes));
        }
    }
}

/// The allowance of one shard.
#[derive(Debug, Default)]
pub(super) struct Pace {
    reads: Mutex<Meter>,
    iterators: Mutex<Meter>,
    seat: Arc<Mutex<Seat>>,
}

/// The right to the one subscription that a registered consumer has to a shard.
#[derive(Debug, Default)]
pub(super) struct Seat {
    not_before: Option<Instant>,
}

impl Seat {
    /// Whether a subscription may be asked for.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// No subscription is asked for until then.
    pub(super) fn keep_off(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }
}

/// A shard's reads, one cursor at a time and in the order of asking: only then is it known what the read before brought.
#[derive(Debug)]
pub(super) struct Turn<'a>(MutexGuard<'a, Meter>);

impl Pace {
    /// Waits for this cursor's turn to read.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn(self.reads.lock().await)
    }

    /// The seat, unless another cursor sits on it.
    pub(super) fn seat(&self) -> Option<OwnedMutexGuard<Seat>> {
        self.seat.clone().try_lock_owned().ok()
    }

    /// Whether a call of late still counts.
    fn is_counting(&self, now: Instant) -> bool {
        if self.seat.try_lock().map_or(true, |seat| !seat.is_free(now)) {
            return true;
        }
        let counts = |meter: &Meter| {
            let last = meter.calls.back().map(|last| *last + WINDOW);
            last.max(meter.paid).is_some_and(|until| until > now)
        };
        [&self.reads, &self.iterators]
            .into_iter()
            .any(|meter| meter.try_lock().map_or(true, |meter| counts(&meter)))
    }

    /// Waits until an iterator may be asked for, and counts it.
    pub(super) async fn iterator(&self) {
        begin(&mut *self.iterators.lock().await).await;
    }
}

impl Turn<'_> {
    /// Waits until a read may begin, and counts it.
    pub(super) async fn begin(&mut self) {
        begin(&mut self.0).await;
    }

    /// Counts what it brought.
    pub(super) fn brought(&mut self, bytes: usize) {
        self.0.brought(bytes);
    }
}

async fn begin(meter: &mut Meter) {
    if let Some(ready) = meter.ready() {
        tokio::time::sleep_until(ready).await;
    }
    meter.call(Instant::now());
}

/// The allowances of a stream's shards.
#[derive(Debug, Default)]
pub(super) struct Paces(std::sync::Mutex<HashMap<ShardId, Arc<Pace>>>);

impl Paces {
    /// That of one shard.
    pub(super) fn of(&self, shard: &ShardId) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Shards that nobody reads any more are forgotten when a new one comes.
        if !paces.contains_key(shard) {
            let now = Instant::now();
            paces.retain(|_, pace| Arc::strong_count(pace) > 1 || pace.is_counting(now));
        }
        paces.entry(shard.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_five_calls() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut begun: Vec<Instant> = Vec::new();
        let mut now = start;
        for _ in 0..23 {
            now = meter.ready().map_or(now, |ready| ready.max(now));
            meter.call(now);
            begun.push(now);
        }
        for calls in begun.windows(CALLS + 1) {
            assert!(calls[CALLS] - calls[0] > Duration::from_secs(1));
        }
        assert_eq!(begun[4], start, "the first five need not wait");
        assert!(begun[22] - start < Duration::from_millis(4_500), "slower than allowed");
    }

    #[test]
    fn bytes_are_paid_for_before_the_next_read() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.brought(1 << 20);
        assert_eq!(meter.ready(), None, "no call");
        meter.call(start);
        meter.brought(10 << 20);
        assert_eq!(meter.ready().unwrap() - start, WINDOW * 5, "the pause after 10 MiB");
        let later = start + Duration::from_secs(60);
        meter.call(later);
        meter.brought(1 << 20);
        assert_eq!(meter.ready().unwrap() - later, WINDOW / 2, "what was saved up does not count");
        meter.brought(0);
        assert_eq!(meter.ready().unwrap() - later, WINDOW / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_read_without_a_pause_gives_all_it_may_however_long_answers_take() {
        let (pace, start) = (Pace::default(), Instant::now());
        for _ in 0..20 {
            let mut turn = pace.turn().await;
            turn.begin().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            turn.brought(1 << 20);
        }
        pace.turn().await.begin().await;
        assert_eq!(start.elapsed(), WINDOW * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_has_one_seat_and_who_sits_down_next_minds_what_was_before() {
        let paces = Paces::default();
        let mut first = paces.of(&"a".into()).seat().unwrap();
        assert!(paces.of(&"a".into()).seat().is_none() && paces.of(&"b".into()).seat().is_some());
        let now = Instant::now();
        assert!(first.is_free(now));
        first.keep_off(now + WINDOW * 6);
        first.keep_off(now + WINDOW);
        drop(first);
        paces.of(&"c".into()); // forgets whom nobody reads, but not what was promised
        let second = paces.of(&"a".into()).seat().unwrap();
        assert!(!second.is_free(now + WINDOW) && second.is_free(now + WINDOW * 6));
    }

    #[tokio::test(start_paused = true)]
    async fn cursors_of_one_shard_share_its_allowance() {
        let paces = Paces::default();
        let (one, two) = (paces.of(&"a".into()), paces.of(&"a".into()));
        assert!(!Arc::ptr_eq(&one, &paces.of(&"b".into())));
        let start = Instant::now();
        let mut turn = one.turn().await;
        turn.begin().await;
        turn.brought(4 << 20);
        drop(turn);
        two.turn().await.begin().await;
        assert_eq!(start.elapsed(), WINDOW * 2);
        for _ in 0..5 {
            one.iterator().await;
        }
        assert_eq!(start.elapsed(), WINDOW * 2, "iterators are counted apart");
        two.iterator().await;
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
