//! The one place that computes delays: exponential, with jitter from a source that is handed in.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

use super::strategy::Backoff;

/// A source of chance in `0.0..1.0`, so that tests can fix it.
pub type Chance<'a> = &'a mut dyn FnMut() -> f64;

/// Attempts beyond this one wait no longer: every realistic `max` is reached long before.
const CEILING: u32 = 48;

/// The delay before attempt `attempt` + 1, where `attempt` (from one) has just failed: exponential with factor two, between
/// half of it and the whole by chance, and never shorter than what the service asked for.
pub fn delay(backoff: &Backoff, attempt: u32, retry_after: Option<Duration>, chance: Chance<'_>) -> Duration {
    let mut series = ExponentialBackoffBuilder::new()
        .with_initial_interval(backoff.base)
        .with_max_interval(backoff.max)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_elapsed_time(None)
        .build();
    let mut whole = backoff.base;
    for _ in 0..attempt.clamp(1, CEILING) {
        whole = series.next_backoff().unwrap_or(backoff.max);
    }
    let jittered = whole.mul_f64(0.5 + 0.5 * chance());
    retry_after.map_or(jittered, |asked| asked.max(jittered))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(100),
        max: Duration::from_secs(10),
        probe: Duration::from_secs(60),
    };

    #[test]
    fn delays_double_up_to_the_limit() {
        let whole = |attempt| delay(&BACKOFF, attempt, None, &mut || 1.0).as_millis();
        assert_eq!([1, 2, 3, 4].map(whole), [100, 200, 400, 800]);
        assert_eq!([8, 9, 1000, u32::MAX].map(whole), [10_000; 4]);
        assert_eq!(delay(&BACKOFF, 1, None, &mut || 0.0).as_millis(), 50);
    }

    #[test]
    fn a_longer_retry_after_wins() {
        let asked = |seconds| delay(&BACKOFF, 1, Some(Duration::from_secs(seconds)), &mut || 1.0);
        assert_eq!(asked(30), Duration::from_secs(30));
        assert_eq!(asked(0), Duration::from_millis(100));
    }
}
