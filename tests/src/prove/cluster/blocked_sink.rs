//! `blocked-sink`: a destination takes connections and never answers: no lease is lost, memory is bounded, everybody else goes on,
//! and when it answers again it gets everything.

use std::time::Duration;

use serde_json::json;

use super::rig::PATIENCE;
use super::{Backend, Rig, Size};
use crate::harness::Receiver;
use crate::harness::node::resident;
use crate::harness::receiver::{Faults, Script};
use crate::prove::deliveries::{Webhook, check};
use crate::prove::memory::CONSTANT;
use crate::prove::{Options, Outcome};

/// What the configuration allows each node.
const LIMIT: u64 = 128 << 20;
/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let blocked_for = Duration::from_secs(if options.short { 60 } else { 600 });
    let silent = Faults { withheld: 1.0, ..Faults::default() };
    let script = Script { seed: options.seed, ..Script::default() };
    let sink = Receiver::start(Script { faults: silent, ..script.clone() }).await?;
    // Attempts give up after the usual time, not after a short one.
    let section = Webhook { batch: 20, ..Webhook::new("silent", &sink) }.section();
    let section = section.replace("timeout = \"2s\"", "timeout = \"30s\"");
    let more = format!("{section}\n[memory]\nlimit = \"{}MiB\"\n", LIMIT >> 20);
    let size = Size { more, padding: 1_000, ..Size::nodes(3, options.seed) };
    let mut rig = Rig::start(size, Backend::Embedded).await?;
    rig.balanced(PATIENCE).await?;
    rig.flowing().await?;
    let (epochs, began) = (rig.observer.look(|seen| seen.epochs()), rig.acknowledged());
    let healthy = rig.receiver.tally().events;
    rig.timeline.note("the destination is silent from the beginning");
    let peaks = watch(&rig, blocked_for).await?;
    let (after, sent) = (rig.observer.look(|seen| seen.epochs()), rig.acknowledged() - began);
    let arrived = rig.receiver.tally().events - healthy;
    rig.timeline.note(format!(
        "after {} s: {sent} sent, {arrived} arrived at the healthy destination, {} requests wait at the silent one, \
         at most {:?} MiB",
        blocked_for.as_secs(),
        sink.tally().under_way,
        peaks.iter().map(|peak| peak >> 20).collect::<Vec<_>>()
    ));
    let waiting = sink.tally();
    if after != epochs {
        return Err(format!("shards have changed hands: {epochs:?} {after:?}"));
    }
    if rig.observer.look(|seen| !seen.dead.is_empty()) {
        return Err("a node was declared dead".into());
    }
    if waiting.requests == 0 || arrived * 10 < sent * 9 {
        return Err(format!("{arrived} of {sent} arrived at the healthy destination; {waiting:?}"));
    }
    if let Some(most) = peaks.iter().find(|most| **most > LIMIT + CONSTANT) {
        return Err(format!("{} MiB resident, {} allowed", most >> 20, (LIMIT + CONSTANT) >> 20));
    }
    sink.change(|script| script.faults = Faults::default());
    rig.timeline.note("the destination answers");
    let run = rig.finish_with(&[("silent", &sink)]).await?;
    let record = sink.record();
    check::verdict(&check::order(&record)).map_err(|error| format!("the silent destination: {error}"))?;
    Ok(
        json!({"nodes": 3, "blocked_s": blocked_for.as_secs(), "limit_bytes": LIMIT, "constant_bytes": CONSTANT,
        "peaks_bytes": peaks, "requests_unanswered": waiting.requests, "epochs_changed": 0,
        "silent_one_afterwards": record.figures(), "run": run}),
    )
}

/// The most memory each node was seen to hold.
async fn watch(rig: &Rig, lasts: Duration) -> Result<Vec<u64>, String> {
    let since = std::time::Instant::now();
    let living = rig.cluster.living();
    let mut peaks = vec![0; living.len()];
    while since.elapsed() < lasts {
        for (place, peak) in living.iter().zip(&mut peaks) {
            let now = resident(rig.cluster.pid(*place)?);
            *peak = (*peak).max(now.ok_or_else(|| format!("a node has ended: {}", rig.last_words()))?);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(peaks)
}
