//! Time that goes on while the machine sleeps: what leases are counted on.
//!
//! A clock that stands still during a suspension would let a node that wakes after an hour believe that it has just renewed.
//! Moments of different machines are never compared.

use std::fmt;
use std::time::Duration;

/// A moment on one machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The moment this long after the clock's zero.
    pub const fn at(since_zero: Duration) -> Self {
        Moment(since_zero)
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment this much later.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Moment(self.0.saturating_add(later))
    }

    /// Whole minutes since the clock's zero.
    pub(crate) fn minute(self) -> u64 {
        self.0.as_secs() / 60
    }

    /// Nanoseconds since the clock's zero, for an atomic.
    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What tells the time. Never goes back.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Moment;
}

/// The machine's clock since it was booted, its sleep included (`CLOCK_BOOTTIME`). Asking costs no system call.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootTime;

#[cfg(target_os = "linux")]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
// Elsewhere the monotonic clock counts sleep (macOS), or there is nothing better.
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

impl Clock for BootTime {
    fn now(&self) -> Moment {
        let now = rustix::time::clock_gettime(SINCE_BOOT);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Moment(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward_and_never_below_zero() {
        let (before, now) = (BootTime.now(), BootTime.now());
        assert!(now >= before && before > Moment::default());
        assert_eq!(before.since(now.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(before.plus(Duration::from_secs(90)).since(before), Duration::from_secs(90));
    }
}
