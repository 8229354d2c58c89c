//! Says the same thing only so often: what strangers can cause must not fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets a few through in each stretch of time, and counts the others.
#[derive(Debug)]
pub struct Hush {
    every: Duration,
    few: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Option<Instant>,
    said: u32,
    kept: u64,
}

impl Hush {
    /// Lets `few` through in each stretch of `every`.
    pub const fn new(few: u32, every: Duration) -> Self {
        Hush { every, few, state: Mutex::new(State { began: None, said: 0, kept: 0 }) }
    }

    /// Whether to say it now, and if so how often it was not said since the last time.
    pub fn say(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= self.every) {
            (state.began, state.said) = (Some(now), 0);
        }
        if state.said == self.few {
            state.kept += 1;
            return None;
        }
        state.said += 1;
        Some(std::mem::take(&mut state.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_said_and_the_others_counted() {
        let (hush, start) = (Hush::new(2, Duration::from_secs(10)), Instant::now());
        let at = |seconds| hush.say(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(9)], [Some(0), Some(0), None, None]);
        assert_eq!([at(10), at(11), at(12), at(30)], [Some(2), Some(0), None, Some(1)]);
    }
}
