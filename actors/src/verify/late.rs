//! Manifests against the hours that have absorbed them: a source's rows are what its manifest says, in every hour.

use std::collections::BTreeMap;

use shardmill_cluster::cell;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::setsum::Tally;

use super::finding::{Finding, Kind};
use super::{Report, Scope};
use crate::shared::Ports;
use crate::state::{HourState, Manifest};
use crate::world::World;

/// Finds sources whose manifest is gone, or says something else than what was absorbed.
pub(super) async fn check(
    ports: &Ports,
    scope: &Scope,
    world: &World,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut lost: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for hour in world.hours.values().filter(|hour| scope.takes(&hour.table, hour.hour)) {
        for (source, offered) in &hour.late {
            let at = format!("{}/{}", hour.table, hour.hour);
            match manifest(ports, world, source).await? {
                None => lost.entry(source).or_default().push(at),
                Some(manifest) => report.findings.extend(differs(hour, &manifest, *offered)),
            }
        }
    }
    report.findings.extend(lost.into_iter().map(|(source, hours)| gone(source, &hours)));
    Ok(())
}

/// Manifests are read before the hours: one that is not there may have come in between.
async fn manifest(ports: &Ports, world: &World, source: &str) -> Result<Option<Manifest>, Failure> {
    match world.late.get(source) {
        Some(manifest) => Ok(Some(manifest.as_ref().clone())),
        None => cell::read(ports.documents.as_ref(), &layout::documents::late(source)).await,
    }
}

/// What `hour` has absorbed of a source, against the manifest.
fn differs(hour: &HourState, manifest: &Manifest, offered: Tally) -> Option<Finding> {
    let mine = manifest.entries.iter().filter(|entry| entry.table == hour.table && entry.hour == hour.hour);
    let named: Tally = mine.map(|entry| entry.tally).sum();
    if named == offered {
        return None;
    }
    let (at, source) = (format!("{}/{}", hour.table, hour.hour), &manifest.source);
    Some(Finding::by_hand(
        Kind::Unbalanced,
        at,
        format!("of the source {source} {offered} were absorbed; its manifest names {named}"),
        "a manifest never changes: put back what was changed by hand",
    ))
}

fn gone(source: &str, hours: &[String]) -> Finding {
    let message = format!("the manifest is gone; its rows are in {}", hours.join(", "));
    let remedy = "the rows stay where they are; put the document back from a backup, so that the source is not taken in again";
    Finding::by_hand(Kind::Missing, layout::documents::late(source), message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ManifestEntry;

    #[test]
    fn an_hour_has_absorbed_what_the_manifest_names_for_it() {
        let tally = |rows: u64| Tally { rows, ..Tally::default() };
        let entry = |hour: &str, rows| ManifestEntry {
            table: "events".into(),
            hour: hour.parse().unwrap(),
            key: "k".into(),
            bytes: 1,
            tally: tally(rows),
        };
        let entries = vec![entry("2026-11-21T07", 2), entry("2026-11-21T07", 3), entry("2026-11-21T08", 9)];
        let manifest = Manifest { source: "s".into(), entries, ..Manifest::default() };
        let hour = HourState::new("events", "2026-11-21T07".parse().unwrap());
        assert_eq!(differs(&hour, &manifest, tally(5)), None);
        assert_eq!(differs(&hour, &manifest, tally(2)).unwrap().kind, Kind::Unbalanced);
    }
}
