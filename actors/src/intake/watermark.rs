//! How far an intake is: no file of an hour before its watermark is known to be missing.
//!
//! Whoever writes files (Firehose above all) collects for up to 15 minutes and then needs a moment to write and to announce
//! them. So an intake that has seen its queue empty is complete up to twenty minutes before; a file in hand holds it back
//! to its own time. A wrong guess costs one more generation of an hour, nothing is lost by it. The queue tells no time when it
//! is empty: this one clock is the node's own, and twenty minutes are more than clocks are apart.

use shardmill_connectors::clock::Millis;

/// How long after its hour a file may be announced and still count as on time.
const ANNOUNCED_WITHIN_MS: i64 = 20 * 60_000;

/// The watermark of an intake that saw its queue empty at `empty_at` and whose oldest file in hand is of the time `oldest`.
pub(super) fn watermark(empty_at: Option<Millis>, oldest: Option<Millis>) -> Option<Millis> {
    let seen = empty_at?.plus(-ANNOUNCED_WITHIN_MS);
    Some(oldest.map_or(seen, |oldest| oldest.min(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_holds_it_back() {
        const MINUTE: i64 = 60_000;
        for (empty_at, oldest, expected) in [
            (None, None, None),
            (None, Some(5), None),
            (Some(60), None, Some(40)),
            (Some(60), Some(50), Some(40)),
            (Some(60), Some(30), Some(30)),
        ] {
            let at = |minutes: Option<i64>| minutes.map(|minutes| Millis(minutes * MINUTE));
            assert_eq!(watermark(at(empty_at), at(oldest)), at(expected), "{empty_at:?} {oldest:?}");
        }
    }
}
