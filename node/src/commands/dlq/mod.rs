//! `dlq`: one file for each command on dead letters, and what they share.

mod backup;
mod edit;
mod letter_file;
mod list;
mod purge;
mod redrive;

use serde_json::json;
use shardmill_actors::admin::audit;
use shardmill_actors::dead_letters::Selection;
use shardmill_actors::dead_letters::selection::Status;
use shardmill_actors::shared::Ports;
use shardmill_connectors::Millis;

use super::Error;
use super::ops_client::operator;
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
        erased: false,
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

/// Notes in the audit log who changes which letters.
async fn audited(ports: &Ports, command: &str, filter: &DlqFilter) -> Result<(), Error> {
    let DlqFilter { destination, table, class, reason, key, event, since, until, id } = filter;
    let time = |time: &Option<jiff::Timestamp>| time.map(|time| time.to_string());
    let mut arguments = json!({
        "by": operator(), "destination": destination, "table": table, "class": class, "reason": reason, "key": key,
        "event": event, "since": time(since), "until": time(until), "ids": (!id.is_empty()).then_some(id),
    });
    arguments.as_object_mut().into_iter().for_each(|all| all.retain(|_, value| !value.is_null()));
    Ok(audit::note(ports.objects.as_ref(), None, command, &arguments).await?)
}
