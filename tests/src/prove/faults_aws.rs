//! `faults-aws`: a quarter of all calls to AWS fail at random, on every service and in every way that is known: an error, a reset,
//! a delay, a lost reply. The job still finishes with nothing lost and nothing doubled.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::{Options, Outcome, tell};
use crate::harness::cloud::Cloud;
use crate::harness::proxy::{Fault, Rule};
use crate::harness::receiver::Script;
use crate::harness::{Cli, Feed, Node, Receiver};

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let events = if options.short { 2_000 } else { 20_000 };
    let cloud = Cloud::start(2, options.seed).await?;
    let receiver = Receiver::start(Script { seed: options.seed, ..Script::default() }).await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = cloud.setup(folder.path(), &Webhook::new("hook", &receiver).section());
    let node = Node::start(&setup).await?;
    cloud.rules(&faults());
    let (_collector, follows) = watch::channel(node.collector.clone());
    let feed = Feed::new(events, 40, options.seed);
    let book = Feed { every: Duration::from_millis(200), ..feed }.start(follows).book().await?;
    let sent = book.values().filter(|offered| offered.acknowledged).count() as u64;
    tell(format!(
        "{sent} of {} attempts acknowledged, {} faults so far",
        book.len(),
        cloud.counts().injected()
    ));
    deliveries::settled(&node, sent).await?;
    deliveries::until(&node, "hook", PATIENCE, |state| state.is_done() && state.routed >= sent).await?;
    node.tell("compact", &json!({})).await?;
    let counts = cloud.counts();
    cloud.rules(&[]);
    node.stop().await?;
    // What was put without an answer, and again under another name, is swept when the shards have their next owner.
    let node = Node::start(&setup).await?;
    deliveries::settled(&node, sent).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let cli = Cli::new(&setup)?;
    let rows = deliveries::rows(&cli).await?;
    check::verdict(&check::rows(&book, &rows, |_| false)).map_err(|error| format!("the lake: {error}"))?;
    let record = receiver.record();
    let missing = check::missing(&book, &record, |_| false);
    check::verdict(&missing).map_err(|error| format!("the destination: {error}"))?;
    let report = cli.verify().await?;
    let calls: u64 = counts.calls.values().sum();
    if ["error", "reset", "delay", "lost"].iter().any(|kind| !counts.faults.contains_key(kind)) {
        return Err(format!("not every kind of fault was met: {:?}", counts.faults));
    }
    Ok(json!({"events": book.len(), "acknowledged": sent, "rows": rows.len(), "files_read": report["files"],
        "calls": calls, "faults": counts.faults, "hits": counts.hits, "receiver": record.figures()}))
}

/// A quarter of all calls, in four parts.
fn faults() -> Vec<Rule> {
    let each = |fault: Fault, probability: f64| Rule::new(fault).probability(probability);
    vec![
        // Each is asked only if those before have let the call pass.
        each(Fault::error(503, "SlowDown"), 0.03).service("s3"),
        each(Fault::error(409, "ConditionalRequestConflict"), 0.03).service("s3").operation("PutObject"),
        each(Fault::error(400, "ProvisionedThroughputExceededException"), 0.06).service("kinesis"),
        each(Fault::error(400, "TooManyRequestsException"), 0.06).service("athena"),
        each(Fault::error(500, "InternalFailure"), 0.03),
        each(Fault::Reset, 0.065),
        each(Fault::Delay(Duration::from_millis(300)), 0.065),
        each(Fault::Lost, 0.07),
    ]
}
