//! Runs in pairs: in one all are well, in the other somebody is in trouble, and nobody else must notice.
//!
//! A machine that stands still for a second shows in one run; what one destination does to another shows in each. So when the first
//! pair differs, others are measured until two of them say the same.

use std::future::Future;

use serde_json::{Value, json};

use super::lag::{Lags, percentile};
use crate::prove::memory::CONSTANT;
use crate::prove::{Outcome, tell};

/// What a node's configuration allows it in such runs, in bytes.
pub const LIMIT: u64 = 128 << 20;
/// What trouble may cost, in bytes: the part of the limit that all lanes may hold, and as much again for the allocator.
const TROUBLE: u64 = LIMIT / 4;
/// Differences of lag below this are the machine's, not ours: a few turns of the scheduler on a machine that also runs the sender
/// and the receivers.
const FLOOR_MS: i64 = 30;
/// The same for the lake, whose lag is known no better than the time between two looks.
const LAKE_FLOOR_MS: i64 = FLOOR_MS + 25;

/// What was measured in one run.
#[derive(Debug)]
pub struct Measured {
    /// How far those were behind who must not notice anything.
    pub lags: Lags,
    /// The most memory the node held, in bytes.
    pub peak: u64,
    /// What else there is to tell.
    pub figures: Value,
}

/// Measures pairs until they tell. `run` measures one run: by a seed, and whether somebody is in trouble.
///
/// # Errors
/// Somebody has noticed, the node held too much memory, or a run failed.
pub async fn compare<F: Future<Output = Result<Measured, String>>>(
    seed: u64,
    run: impl Fn(u64, bool) -> F,
) -> Outcome {
    let (mut pairs, mut peaks, mut seed) = (Pairs::default(), [0, 0], seed);
    loop {
        tell("all are well");
        let well = run(seed, false).await.map_err(|error| format!("all well: {error}"))?;
        tell("somebody is in trouble");
        let trouble = run(seed, true).await?;
        held(well.peak, trouble.peak)?;
        peaks = [peaks[0].max(well.peak), peaks[1].max(trouble.peak)];
        let again = pairs.add(&well.lags, &trouble.lags);
        tell(format!("lag: {}", pairs.figures()));
        if !again {
            pairs.alike()?;
            return Ok(
                json!({"lag": pairs.figures(), "all_well": well.figures, "in_trouble": trouble.figures,
                "resident_bytes": {"all_well": peaks[0], "in_trouble": peaks[1], "limit": LIMIT, "constant": CONSTANT,
                    "trouble_may_cost": TROUBLE}}),
            );
        }
        seed = seed.wrapping_add(1);
    }
}

/// Memory stays within the limit and its constant, and trouble costs no more than it may.
fn held(well: u64, trouble: u64) -> Result<(), String> {
    let told =
        format!("{} MiB resident at most when all are well, {} MiB in trouble", well >> 20, trouble >> 20);
    tell(&told);
    if well.max(trouble) > LIMIT + CONSTANT {
        return Err(format!("{told}: {} MiB are allowed", (LIMIT + CONSTANT) >> 20));
    }
    if trouble > well + TROUBLE {
        return Err(format!("{told}: {} MiB more are allowed", TROUBLE >> 20));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Pairs(Vec<Pair>);

/// 95th percentiles in milliseconds, each when all were well and beside trouble.
#[derive(Debug, Clone, Copy)]
struct Pair {
    healthy: [i64; 2],
    lake: [i64; 2],
}

impl Pair {
    /// Who has noticed something.
    fn differs(&self) -> Option<&'static str> {
        let differs = |[alone, beside]: [i64; 2], floor: i64| !is_alike(beside, alone, floor);
        match () {
            () if differs(self.healthy, FLOOR_MS) => Some("healthy"),
            () if differs(self.lake, LAKE_FLOOR_MS) => Some("lake"),
            () => None,
        }
    }

    fn figures(&self) -> Value {
        let lags = |[alone, beside]: [i64; 2]| json!({"alone": alone, "beside": beside});
        json!({"healthy": lags(self.healthy), "lake": lags(self.lake)})
    }
}

impl Pairs {
    /// Takes in a pair: whether another is to be measured.
    fn add(&mut self, alone: &Lags, beside: &Lags) -> bool {
        let both = |lags: fn(&Lags) -> &[i64]| [alone, beside].map(|run| percentile(lags(run), 0.95));
        self.0.push(Pair { healthy: both(|run| &run.healthy), lake: both(|run| &run.lake) });
        let differing = self.differing();
        let alike = self.0.len() - differing;
        differing == 1 && alike < 2
    }

    fn differing(&self) -> usize {
        self.0.iter().filter(|pair| pair.differs().is_some()).count()
    }

    /// The figures: of every pair, and what is allowed beside half as much again.
    fn figures(&self) -> Value {
        let pairs: Vec<Value> = self.0.iter().map(Pair::figures).collect();
        json!({"p95_ms": pairs, "floor_ms": {"healthy": FLOOR_MS, "lake": LAKE_FLOOR_MS}})
    }

    /// Neither the healthy destination nor the lake has noticed what they were beside of, in all pairs but one.
    fn alike(&self) -> Result<(), String> {
        match (self.0.iter().find_map(Pair::differs), self.differing()) {
            (Some(who), 2..) => Err(format!(
                "{who}: p95 lag is longer beside trouble, in two pairs of runs: {}",
                self.figures()
            )),
            _ => Ok(()),
        }
    }
}

/// Whether the lag of a run is at most one and a half times that of its pair, and `floor_ms`.
fn is_alike(run: i64, pair: i64, floor_ms: i64) -> bool {
    run <= pair.saturating_mul(3) / 2 + floor_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_is_at_most_half_as_much_again() {
        assert!(is_alike(150, 100, 0) && !is_alike(151, 100, 0));
        assert!(is_alike(23, 2, 20) && !is_alike(24, 2, 20));
        assert!(!is_alike(i64::MAX, 100, 20));
    }

    #[test]
    fn both_lags_are_compared() {
        for (healthy, lake, differs) in
            [(150, 600, None), (181, 400, Some("healthy")), (100, 656, Some("lake"))]
        {
            let pair = Pair { healthy: [100, healthy], lake: [400, lake] };
            assert_eq!(pair.differs(), differs);
        }
    }

    #[test]
    fn memory_is_limited_and_trouble_may_cost_a_part_of_it() {
        let most = LIMIT + CONSTANT;
        assert!(held(most, most).is_ok() && held(0, TROUBLE).is_ok());
        assert!(held(most + 1, most).is_err() && held(most, most + 1).is_err());
        assert!(held(0, TROUBLE + 1).unwrap_err().contains("more"));
    }

    /// Alone and beside; whether another pair follows.
    type Measured = (i64, i64, bool);

    #[test]
    fn a_pair_that_differs_is_measured_again_until_two_say_the_same() {
        let lags = |healthy: i64| Lags { healthy: vec![healthy], lake: vec![400] };
        // In the end, whether they are alike.
        let cases: [(&[Measured], bool); 5] = [
            (&[(100, 150, false)], true),
            (&[(100, 181, true), (300, 900, false)], false),
            (&[(100, 181, true), (100, 150, true), (100, 150, false)], true),
            (&[(100, 181, true), (300, 450, true), (300, 900, false)], false),
            (&[(100, 500, true), (1_000, 120, true), (100, 500, false)], false),
        ];
        for (measured, alike) in cases {
            let mut pairs = Pairs::default();
            for (alone, beside, again) in measured {
                assert_eq!(pairs.add(&lags(*alone), &lags(*beside)), *again, "{measured:?}");
            }
            assert_eq!(pairs.alike().is_ok(), alike, "{measured:?}");
            assert_eq!(pairs.figures()["p95_ms"].as_array().map(Vec::len), Some(measured.len()));
        }
    }
}
