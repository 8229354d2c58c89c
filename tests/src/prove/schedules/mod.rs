//! `schedules`: the coordination's own code, in thousands of random schedules in virtual time. Several nodes share a store that
//! loses requests and replies, is slow, refuses, and lets writes land long after they were given up; nodes are stopped, killed
//! at any await, cut off, told to leave; no two clocks agree.
//!
//! Judged at every write and every send: one owner per epoch and one leader per term; work is taken from nobody who lives; no
//! position goes back, nothing is committed twice or acknowledged and not there; nobody is fenced by its own lost reply; who is
//! suspended sends nothing, nor does anybody else but the owner; nobody dies of what hits all alike, and the dead stay dead. And once nothing is broken any more, one living node leads, and all work is owned by living nodes as it is planned.

mod judge;
mod machine;
mod process;
mod schedule;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use self::judge::Figures;
use super::{Options, Outcome, tell};

/// What must have happened for the proof to show anything.
const EXERCISED: &[&str] = &[
    "lost requests",
    "lost replies",
    "409s",
    "slow calls",
    "requests that land long after they were given up",
    "kills",
    "kills of who owned work",
    "kills of the leader",
    "pauses",
    "nodes cut off",
    "nodes told to leave",
    "outages of the store",
    "schedules in which all were hit alike",
    "sleeps of all",
    "nodes that left",
    "restarts within a node",
    "owners of an older restart refused",
    "nodes declared dead",
    "nodes that learned of their death",
    "suspensions",
    "resumed without having been declared dead",
    "takes",
    "takeovers from the dead",
    "releases",
    "commits",
    "sends",
    "fenced owners",
    "terms",
    "plans",
    "commits tried without a lease",
    "writes of an older epoch refused",
    "plans of an older term refused",
];

/// Runs the proof: schedules of the seeds from `options.seed` on.
pub async fn run(options: Options) -> Outcome {
    let count = if options.short { 1_000 } else { 10_000 };
    let figures = tokio::task::spawn_blocking(move || all(options.seed, count));
    let figures = figures.await.map_err(|error| format!("a schedule panicked: {error}"))??;
    if let Some(absent) = EXERCISED.iter().find(|what| !figures.0.contains_key(*what)) {
        return Err(format!("no {absent}: nothing was shown about it"));
    }
    let exercised: serde_json::Map<String, Value> =
        figures.0.into_iter().map(|(what, count)| (what.to_owned(), json!(count))).collect();
    Ok(json!({"schedules": count, "exercised": exercised}))
}

/// Runs `count` schedules on as many threads as there are processors. The first that goes wrong ends all.
fn all(first: u64, count: u64) -> Result<Figures, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = Arc::new(AtomicU64::new(first));
    let work = |next: Arc<AtomicU64>| {
        move || {
            let mut figures = Figures::default();
            loop {
                let seed = next.fetch_add(1, Ordering::AcqRel);
                if seed >= first.saturating_add(count) {
                    return Ok(figures);
                }
                if (seed - first) % 1_000 == 999 {
                    tell(format!("{} of {count} schedules", seed - first + 1));
                }
                let (exercised, outcome) = one(seed)?;
                figures.add(&exercised);
                if let Err(why) = outcome {
                    next.store(first.saturating_add(count), Ordering::Release);
                    return Err(format!("{why}\nagain: prove schedules --seed {seed}"));
                }
            }
        }
    };
    let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(work(next.clone()))).collect();
    let mut figures = Figures::default();
    for thread in threads {
        let done: Result<Figures, String> = thread.join().map_err(|_| "a schedule panicked".to_owned())?;
        figures.add(&done?);
    }
    Ok(figures)
}

/// Runs one schedule in a time of its own.
fn one(seed: u64) -> Result<(Figures, Result<(), String>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let run = AssertUnwindSafe(|| runtime.block_on(schedule::run(seed)));
    catch_unwind(run).map_err(|_| format!("the schedule of seed {seed} panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_the_same_whenever_it_is_run() {
        let (first, outcome) = one(7).unwrap();
        assert_eq!(outcome, Ok(()));
        assert_eq!(first.0, one(7).unwrap().0.0);
    }
}
