//! A lake that is written and compacted while it is verified: nothing is found in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::kill::CONFIG;
use super::super::{Options, Outcome};
use crate::harness::{Cli, Node, Senders, Setup};

/// How long a compaction is waited for: with senders at work it may never find nothing left to do.
const COMPACTION: Duration = Duration::from_secs(1);
/// Different states of the lake that must have been seen.
const STATES: usize = 3;

/// Verifies again and again while senders write and hours are compacted, with graces of a second: files come and go.
pub(super) async fn run(folder: &Path, options: &Options) -> Outcome {
    let (events, looks) = if options.short { (8_000, 6) } else { (80_000, 40) };
    let setup = Setup::new(&folder.join("live"), Some(CONFIG));
    let node = Node::start(&setup).await?;
    let (_collector, at) = watch::channel(node.collector.clone());
    let (progress, _seen) = watch::channel(0);
    let senders = Senders {
        senders: 4,
        events: events / 4,
        together: 20,
        keys: 25,
        invalid: 0.02,
        seed: options.seed,
        pause: Duration::from_millis(100),
    };
    let sending = senders.start(at, progress);
    let cli = Cli::new(&setup)?;
    let (mut verified, mut while_sending, mut states) = (0, 0, BTreeSet::new());
    while !sending.is_finished() || verified < looks {
        let nothing = json!({});
        let compaction = tokio::time::timeout(COMPACTION, node.tell("compact", &nothing));
        let (done, _) = tokio::join!(cli.run(&["lake", "verify", "--deep", "--json"]), compaction);
        let report = done?.json()?;
        if report["findings"] != json!([]) {
            return Err(format!("a lake that is being written has findings: {report}"));
        }
        verified += 1;
        while_sending += u64::from(!sending.is_finished());
        states.insert((report["read"].as_u64(), report["rows"].as_u64()));
    }
    let sent = sending.await.map_err(|error| error.to_string())?;
    if while_sending == 0 || states.len() < STATES {
        return Err(format!(
            "{while_sending} verifications while sending saw {} states: nothing was shown",
            states.len()
        ));
    }
    node.drained(sent.acknowledged.len() as u64, Duration::from_secs(120)).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let report = cli.verify().await?;
    Ok(json!({"events": sent.acknowledged.len(), "verifications": verified, "while_sending": while_sending,
        "states_seen": states.len(), "rows": report["rows"], "findings": Value::from(0)}))
}
