//! `dlq purge`: letters are settled for good. Their files stay until nothing in them waits.

use std::collections::BTreeSet;

use serde_json::json;
use shardmill_actors::dead_letters::{Search, Selection, Settlement, record, withdraw};

use super::{audited, pending};
use crate::cli::DlqPurge;
use crate::commands::Error;
use crate::commands::progress::Progress;
use crate::commands::reach::Reached;
use crate::output;

/// Letters settled at once.
pub(super) const TOGETHER: usize = 1_000;

/// Purges the letters selected.
pub(super) async fn purge(args: DlqPurge, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.which.reach).await?;
    let ports = &reached.stores.ports;
    if !args.dry_run {
        audited(ports, "dlq purge", &args.which.filter).await?;
    }
    // Whoever has the id of a letter may purge it, shown or not.
    let selection = pending(&args.which.filter);
    let selection = Selection { erased: !selection.ids.is_empty(), ..selection };
    let mut search = Search::open(ports, &selection).await?;
    let (progress, all) = (Progress::new(json, "letters"), search.at_most());
    let (mut purged, mut some) = (BTreeSet::new(), Vec::new());
    loop {
        let found = search.next().await?;
        let ended = found.is_none();
        some.extend(found);
        if ended || some.len() >= TOGETHER {
            if !args.dry_run {
                record(ports, &some, Settlement::Purged).await?;
            }
            progress.advance(some.len() as u64, all);
            purged.extend(some.drain(..).map(|found| found.letter.id));
        }
        if ended {
            break;
        }
    }
    let count = purged.len();
    if !args.dry_run {
        withdraw(ports, purged).await?;
    }
    progress.finish();
    Ok(output::show(json, &json!({"purged": count, "dry_run": args.dry_run}), &[])?)
}
