//! What can be done about what a verification found, and the doing of it.
//!
//! Orphans and the catalog are mended directly. Documents of shards and hours belong to their owners: they are changed by
//! compare-and-set, as a take and a release in one, and only while nobody who lives owns them. What changes rows is done when
//! rows and set-sums prove that it is right, and not otherwise.

mod point;
pub(crate) mod rebuild;
mod show;
mod unlist;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use shardmill_cluster::{Liveness, Ownership};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::parquet::{Repeats, WriteOptions};

use super::finding::{Action, Finding, Kind};
use crate::shared::Ports;

/// What repairs need besides the stores.
#[derive(Debug, Clone)]
pub struct Tools {
    /// How Parquet files are written.
    pub write: WriteOptions,
    /// The columns that have Bloom filters, by table.
    pub bloom: BTreeMap<String, BTreeSet<String>>,
    /// Who knows whether an owner is gone.
    pub liveness: Arc<dyn Liveness>,
}

impl Tools {
    /// How files of `table` are written.
    pub fn write_of(&self, table: &str) -> WriteOptions {
        let bloom = self.bloom.get(table).cloned().unwrap_or_default();
        WriteOptions { bloom, repeats: Repeats::default(), ..self.write.clone() }
    }
}

/// What became of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It would be made.
    Planned,
    /// It was made.
    Done,
    /// It could not be made.
    Failed,
}

/// One repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The kind of what it mends.
    pub kind: Kind,
    /// Where.
    pub at: String,
    /// What it does.
    pub does: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a repair has to do, in this order.
fn actions(findings: &[Finding]) -> Vec<(&Finding, &Action)> {
    let mut actions: Vec<_> =
        findings.iter().filter_map(|finding| Some((finding, finding.action.as_ref()?))).collect();
    actions.sort_by_key(|(_, action)| *action);
    actions
}

fn told((finding, action): (&Finding, &Action), outcome: Outcome, reason: Option<String>) -> Repair {
    Repair { kind: finding.kind, at: finding.at.clone(), does: action.to_string(), outcome, reason }
}

/// What would be done about `findings`. Changes nothing.
pub fn plan(findings: &[Finding]) -> Vec<Repair> {
    actions(findings).into_iter().map(|one| told(one, Outcome::Planned, None)).collect()
}

/// Does what can be done about `findings`. One that fails keeps no other from being tried.
pub async fn repair(ports: &Ports, tools: &Tools, findings: &[Finding]) -> Vec<Repair> {
    let mut repairs = Vec::new();
    for (finding, action) in actions(findings) {
        let (outcome, reason) = match apply(ports, tools, action).await {
            Ok(()) => (Outcome::Done, None),
            Err(failure) => (Outcome::Failed, Some(failure.detail)),
        };
        tracing::info!(at = %finding.at, kind = %finding.kind, ?outcome, ?reason, "repair: {action}");
        repairs.push(told((finding, action), outcome, reason));
    }
    repairs
}

async fn apply(ports: &Ports, tools: &Tools, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Unlist { shard, number, key } => unlist::unlist(ports, tools, shard, (*number, key)).await,
        Action::Rebuild { table, hour, damaged } => {
            rebuild::rebuild(ports, tools, (table, *hour), damaged).await
        }
        Action::Point { table, hour } => point::point(ports, table, *hour).await,
        Action::Show { table, hour } => show::show(ports, tools, table, *hour).await,
        // Names are never used twice, and what is once beyond everybody's reach stays so.
        Action::Delete { key } => ports.objects.delete(key).await,
    }
}

/// What stands in a document that is changed here: taken and released in one write.
///
/// # Errors
/// `Rejected` while somebody owns it who is not known to be dead.
pub(crate) async fn passed_on(tools: &Tools, ownership: &Ownership) -> Result<Ownership, Failure> {
    if let Some(owner) = &ownership.owner
        && !tools.liveness.is_dead(owner).await?
    {
        return Err(Failure::rejected(format!(
            "{owner} owns it and lives: stop the nodes, then repair again before the delete grace is over"
        )));
    }
    Ok(Ownership { epoch: ownership.epoch + 1, owner: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_what_would_be_done_and_leaves_out_what_nobody_can() {
        let hour = "2026-11-21T07".parse().unwrap();
        let point = Action::Point { table: "events".into(), hour };
        let findings = [
            Finding::mended_by(Kind::Orphan, "o", "m", Action::Delete { key: "o".into() }),
            Finding::by_hand(Kind::Stray, "s", "m", "r"),
            Finding::mended_by(Kind::Misplaced, "p", "m", point),
        ];
        let planned = plan(&findings);
        assert_eq!(planned.iter().map(|repair| repair.at.as_str()).collect::<Vec<_>>(), ["p", "o"]);
        assert!(planned.iter().all(|repair| repair.outcome == Outcome::Planned && repair.reason.is_none()));
    }
}
