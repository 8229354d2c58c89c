//! `dlq`: one file for each command on dead letters, and what they share.

mod backup;
mod edit;
mod letter_file;
mod list;
mod progress;
mod purge;
mod redrive;

use shardmill_actors::dead_letters::Selection;
use shardmill_actors::dead_letters::selection::Status;
use shardmill_connectors::Millis;

use super::Error;
use crate::cli::{DlqCommand, DlqFilter, DlqStatus};

/// Lists, shows, backs up, edits, redrives or purges dead letters.
pub async fn dlq(command: DlqCommand, json: bool) -> Result<(), Error> {
    match command {
        DlqCommand::List(args) => list::list(args, json).await,
        DlqCommand::Show(args) => list::show(args).await,
        DlqCommand::Backup(args) => backup::backup(args, json).await,
        DlqCommand::Edit(args) => edit::edit(args, json).await,
        DlqCommand::Redrive(args) => redrive::redrive(args, json).await,
        DlqCommand::Purge(args) => purge::purge(args, json).await,
    }
}

/// The selection that flags describe: pending letters.
fn pending(filter: &DlqFilter) -> Selection {
    let moment = |time: &Option<jiff::Timestamp>| time.map(|time| Millis(time.as_millisecond()));
    Selection {
        destination: filter.destination.clone(),
        table: filter.table.clone(),
        class: filter.class.clone(),
        reason: filter.reason.clone(),
        key: filter.key.clone(),
        event: filter.event.clone(),
        since: moment(&filter.since),
        until: moment(&filter.until),
        ids: filter.id.clone(),
        status: Vec::new(),
    }
}

/// The same, in the states that were asked for.
fn in_states(filter: &DlqFilter, asked: &[DlqStatus]) -> Selection {
    let states = |asked: &DlqStatus| match asked {
        DlqStatus::Pending => vec![Status::Pending],
        DlqStatus::Redriven => vec![Status::Redriven],
        DlqStatus::Purged => vec![Status::Purged],
        DlqStatus::All => Status::ALL.to_vec(),
    };
    Selection { status: asked.iter().flat_map(states).collect(), ..pending(filter) }
}
