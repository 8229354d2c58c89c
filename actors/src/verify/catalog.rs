//! The catalog against the documents: every hour's partition shows its present generation, and there is no other.
//!
//! A compactor commits a generation, then tells the catalog, then records that it has. So an hour whose document says that the
//! switch is under way is not judged; and a difference is believed when the document was the same before and after the catalog
//! was asked.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use shardmill_cluster::cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;

use super::finding::{Action, Finding, Kind};
use super::{Report, Scope};
use crate::shared::Ports;
use crate::state::HourState;
use crate::world::World;

/// Partitions asked for at once.
const TOGETHER: usize = 4;
/// How often an hour is looked at that moves while it is looked at.
const LOOKS: usize = 5;

/// Compares every hour in scope, and finds partitions that no document names.
pub(super) async fn check(
    ports: &Ports,
    scope: &Scope,
    world: &World,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut places: BTreeSet<(String, Hour)> = world.hours.keys().cloned().collect();
    let tables: BTreeSet<&String> = world.hours.keys().map(|(table, _)| table).collect();
    for table in tables.into_iter().filter(|table| scope.table.as_ref().is_none_or(|wanted| wanted == *table))
    {
        places.extend(registered(ports, table).await?.into_iter().map(|hour| (table.clone(), hour)));
    }
    places.retain(|(table, hour)| scope.takes(table, *hour));
    report.partitions = places.len() as u64;
    let looks = places.into_iter().map(|(table, hour)| async move {
        let known = world.hours.get(&(table.clone(), hour));
        look(ports, known.map(AsRef::as_ref), &table, hour).await
    });
    let found: Vec<Option<Finding>> = futures::stream::iter(looks).buffered(TOGETHER).try_collect().await?;
    report.findings.extend(found.into_iter().flatten());
    Ok(())
}

/// The hours that the catalog knows of a table; none when it does not know the table.
pub(super) async fn registered(ports: &Ports, table: &str) -> Result<BTreeSet<Hour>, Failure> {
    match ports.catalog.registered(table).await {
        Err(failure) if failure.class == Class::Rejected => Ok(BTreeSet::new()),
        outcome => outcome,
    }
}

/// Where the catalog says that a partition is; nowhere when it does not know the table.
pub(super) async fn shown(ports: &Ports, table: &str, hour: Hour) -> Result<Option<String>, Failure> {
    match ports.catalog.location(table, hour).await {
        Err(failure) if failure.class == Class::Rejected => Ok(None),
        outcome => outcome,
    }
}

/// The document of an hour, as it is now.
pub(super) async fn document(ports: &Ports, table: &str, hour: Hour) -> Result<Option<HourState>, Failure> {
    cell::read(ports.documents.as_ref(), &layout::documents::hour(table, hour)).await
}

async fn look(
    ports: &Ports,
    known: Option<&HourState>,
    table: &str,
    hour: Hour,
) -> Result<Option<Finding>, Failure> {
    let first = shown(ports, table, hour).await?;
    if judge((table, hour), known, first.as_deref()).is_none() {
        return Ok(None);
    }
    for _ in 0..LOOKS {
        let before = document(ports, table, hour).await?;
        let shown = shown(ports, table, hour).await?;
        let after = document(ports, table, hour).await?;
        if before == after {
            return Ok(judge((table, hour), after.as_ref(), shown.as_deref()));
        }
    }
    // Its owner is at work on it, and writes what it does: the switch comes after the generation.
    Ok(None)
}

/// What is wrong with what the catalog shows of an hour.
fn judge((table, hour): (&str, Hour), document: Option<&HourState>, shown: Option<&str>) -> Option<Finding> {
    let at = format!("{table}/{hour}");
    let wanted = document.and_then(HourState::location);
    let present = document.map_or(0, |hour| hour.generation);
    let told = shown.and_then(|shown| generation((table, hour), shown)).filter(|told| *told > present);
    match (document, shown, told) {
        (None, Some(shown), _) => {
            let message = format!("the catalog shows {shown}; there is no document of the hour");
            let remedy = "if the document was lost, put it back; if somebody else registered the partition, drop it in the catalog";
            Some(Finding::by_hand(Kind::Stray, at, message, remedy))
        }
        (Some(_), Some(shown), Some(told)) => {
            let message = format!(
                "its document is older than it can be: it says generation {present}, and the catalog shows generation {told}, {shown}"
            );
            let remedy = "stop all nodes, put the newest state of the document back, and verify again; do not let a node compact the hour";
            Some(Finding::by_hand(Kind::RolledBack, at, message, remedy))
        }
        (Some(document), Some(shown), _) if document.expired_at.is_some() => {
            document.catalog.switched_at?; // it is about to be taken out
            let message = format!(
                "the catalog shows {shown}; the hour is older than its table keeps, its files are gone"
            );
            Some(Finding::by_hand(Kind::Stray, at, message, "drop the partition in the catalog"))
        }
        (Some(document), shown, _) => {
            // The switch is under way, or there is nothing to show yet.
            let wanted = wanted.filter(|_| document.catalog.switched_at.is_some())?;
            if shown == Some(wanted.as_str()) {
                return None;
            }
            let action = Action::Point { table: table.to_owned(), hour };
            let (kind, message) = match shown {
                None => (
                    Kind::Unregistered,
                    format!("the catalog does not know the partition; the document says {wanted}"),
                ),
                Some(shown) => {
                    (Kind::Misplaced, format!("the catalog shows {shown}; the document says {wanted}"))
                }
            };
            Some(Finding::mended_by(kind, at, message, action))
        }
        (None, None, _) => None,
    }
}

/// The generation whose folder this is, when it is one of the hour.
fn generation((table, hour): (&str, Hour), folder: &str) -> Option<u64> {
    let own = folder.strip_prefix(&format!("tables/{table}/{}/g", hour.path()))?;
    own.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::clock::Millis;
    use shardmill_connectors::setsum::Tally;

    use super::*;
    use crate::state::hour::{CatalogState, GenerationFile};

    fn hour() -> Hour {
        "2026-11-21T07".parse().unwrap()
    }

    fn folder(generation: u64) -> String {
        layout::generation("events", hour(), generation, 1, "abc")
    }

    fn state(generation: u64, switched: bool) -> HourState {
        let mut state = HourState::new("events", hour());
        if generation > 0 {
            let key = format!("{}/part-0000.parquet", folder(generation));
            state.generation = generation;
            state.files = vec![GenerationFile { key, bytes: 1, tally: Tally::default() }];
        }
        state.catalog = CatalogState { location: None, switched_at: switched.then_some(Millis(1)) };
        state
    }

    fn expired(switched: bool) -> HourState {
        HourState { files: Vec::new(), expired_at: Some(Millis(1)), ..state(3, switched) }
    }

    #[test]
    fn every_difference_has_its_kind() {
        let elsewhere = "tables/events/elsewhere".to_owned();
        for (document, shown, kind) in [
            (Some(state(2, true)), Some(folder(2)), None),
            (Some(state(2, true)), None, Some(Kind::Unregistered)),
            (Some(state(2, true)), Some(folder(1)), Some(Kind::Misplaced)),
            (Some(state(2, true)), Some(elsewhere.clone()), Some(Kind::Misplaced)),
            (Some(state(2, true)), Some(folder(3)), Some(Kind::RolledBack)),
            // The switch is under way.
            (Some(state(2, false)), Some(folder(1)), None),
            (Some(state(2, false)), None, None),
            (Some(state(2, false)), Some(folder(3)), Some(Kind::RolledBack)),
            (Some(state(0, false)), None, None),
            (Some(state(0, false)), Some(folder(1)), Some(Kind::RolledBack)),
            (Some(expired(false)), Some(folder(2)), None),
            (Some(expired(true)), Some(folder(2)), Some(Kind::Stray)),
            (Some(expired(true)), None, None),
            (None, Some(folder(1)), Some(Kind::Stray)),
            (None, None, None),
        ] {
            let found = judge(("events", hour()), document.as_ref(), shown.as_deref());
            assert_eq!(found.as_ref().map(|found| found.kind), kind, "{document:?} {shown:?}");
            let mended = matches!(kind, Some(Kind::Unregistered | Kind::Misplaced));
            assert_eq!(found.is_some_and(|found| found.repairable), mended);
        }
    }

    #[test]
    fn a_folder_of_another_hour_tells_no_generation() {
        let other: Hour = "2026-11-21T08".parse().unwrap();
        assert_eq!(generation(("events", hour()), &folder(12)), Some(12));
        assert_eq!(generation(("events", other), &folder(12)), None);
        assert_eq!(generation(("orders", hour()), &folder(12)), None);
    }
}
