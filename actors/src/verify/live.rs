//! Live tables against the documents: every manifest names the hour's present generation and nothing that is in it already, and every
//! hour that has one is shown.
//!
//! A manifest may lag behind what was committed lately: its owner is about to write it, or the nodes are stopped. It is read first, then
//! the shards, the hour last: what it names was committed before, so by then it is listed, absorbed, or made up.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;

use super::catalog::{document, registered};
use super::finding::{Action, Finding, Kind};
use super::{Report, Scope};
use crate::lake;
use crate::live::{Live, Manifest, names, plan};
use crate::shared::Ports;
use crate::state::HourState;
use crate::world::{Inputs, Reader, World};

/// Manifests read at once.
const TOGETHER: usize = 16;
/// How often an hour is looked at that moves while it is looked at.
const LOOKS: usize = 5;

/// Checks the manifest and the partition of every hour in scope.
pub(super) async fn check(
    ports: &Ports,
    scope: &Scope,
    world: &World,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(live) = &ports.live else { return Ok(()) };
    let hours: BTreeMap<_, _> =
        world.hours.iter().filter(|((table, hour), _)| scope.takes(table, *hour)).collect();
    let looks = hours.values().filter(|state| state.live && state.expired_at.is_none());
    let looks = looks.map(|state| look(ports, live, world, state));
    let found: Vec<Option<Finding>> = futures::stream::iter(looks).buffered(TOGETHER).try_collect().await?;
    report.findings.extend(found.into_iter().flatten());
    let unshown = hours.values().filter(|state| is_unshown(live, state)).map(|state| {
        let at = format!("{}/{}", layout::live_table(&state.table), state.hour);
        let message = "the hour is older than its live table, which does not show it";
        Finding::mended_by(Kind::Unshown, at, message, show(&state.table, state.hour))
    });
    report.findings.extend(unshown);
    // One that is turned off may have been dropped.
    let tables = hours.values().filter(|state| state.live && live.shows(&state.table));
    let tables: BTreeSet<&str> = tables.map(|state| state.table.as_str()).collect();
    for table in tables {
        let there = registered(ports, &layout::live_table(table)).await?;
        let of_table = hours.values().filter(|state| state.table == table);
        report.findings.extend(of_table.filter_map(|state| partition(state, &there)));
    }
    Ok(())
}

fn show(table: &str, hour: Hour) -> Action {
    Action::Show { table: table.to_owned(), hour }
}

/// Whether an hour should be in a live table and never was.
fn is_unshown(live: &Live, state: &HourState) -> bool {
    live.shows(&state.table) && !state.live && state.generation > 0 && state.expired_at.is_none()
}

/// What is wrong with an hour's partition of the live table.
fn partition(state: &HourState, there: &BTreeSet<Hour>) -> Option<Finding> {
    let at = format!("{}/{}", layout::live_table(&state.table), state.hour);
    let over = state.expired_at.is_some() && state.catalog.switched_at.is_some();
    match (state.live, there.contains(&state.hour)) {
        (true, false) => {
            let message = "the catalog does not know the partition of the live table";
            Some(Finding::mended_by(Kind::Unregistered, at, message, show(&state.table, state.hour)))
        }
        (_, true) if over => {
            let message = "the catalog shows an hour that is older than its table keeps";
            Some(Finding::by_hand(Kind::Stray, at, message, "drop the partition in the catalog"))
        }
        _ => None,
    }
}

/// Looks at one manifest: what does not agree with documents that were read before it is compared, until the hour stands still
/// meanwhile, with documents that are read after it.
async fn look(
    ports: &Ports,
    live: &Live,
    world: &World,
    known: &HourState,
) -> Result<Option<Finding>, Failure> {
    let (table, hour) = (known.table.as_str(), known.hour);
    let first = live.read(table, hour).await?;
    if judge(known, &world.inputs(known), first.as_ref()).is_none() {
        return Ok(None);
    }
    for _ in 0..LOOKS {
        let there = live.read(table, hour).await?;
        let world = Reader::default().shards(ports.documents.as_ref()).await?;
        let Some(state) = document(ports, table, hour).await? else { return Ok(None) };
        let Some(wrong) = judge(&state, &world.inputs(&state), there.as_ref()) else { return Ok(None) };
        // What its owner writes in between is written in the end.
        let still = live.read(table, hour).await? == there;
        if still && document(ports, table, hour).await?.as_ref() == Some(&state) {
            let at = layout::manifest(table, hour);
            return Ok(Some(Finding::mended_by(Kind::Stale, at, wrong, show(table, hour))));
        }
    }
    Ok(None)
}

/// What is wrong with a manifest, by an hour and what it has not absorbed, both read after it.
fn judge(state: &HourState, inputs: &Inputs, there: Option<&Manifest>) -> Option<String> {
    if state.expired_at.is_some() || plan::is_urgent(state) {
        return None; // its owner is about to take it away, or to write it
    }
    let wanted = names(&lake::files(state, inputs));
    let Some(there) = there else {
        return (!wanted.is_empty()).then(|| "the manifest of the live table does not exist".to_owned());
    };
    let known: BTreeSet<&String> = wanted.iter().collect();
    let named: BTreeSet<&String> = there.files.iter().collect();
    if named.len() < there.files.len() {
        return Some("it names a file twice: its rows are doubled".to_owned());
    }
    if let Some(file) = named.difference(&known).next() {
        return Some(format!("it names {file}, which the hour has absorbed or replaced, or does not know"));
    }
    let lost = state.files.iter().find(|file| known.contains(&file.key) && !named.contains(&file.key))?;
    Some(format!("it does not name {} of the present generation", lost.key))
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::clock::Millis;
    use shardmill_connectors::ports::Tag;
    use shardmill_connectors::setsum::Tally;

    use super::*;
    use crate::live::testing::live;
    use crate::state::Segment;
    use crate::state::hour::GenerationFile;

    fn state(generation: u64, switched: bool) -> HourState {
        let mut state = HourState::new("t", "2026-11-21T07".parse().unwrap());
        (state.generation, state.live) = (generation, true);
        let file = GenerationFile { key: "g".into(), bytes: 1, tally: Tally::default() };
        state.files = vec![file].into_iter().filter(|_| generation > 0).collect();
        state.catalog.switched_at = switched.then_some(Millis(1));
        state
    }

    fn inputs(keys: &[&str]) -> Inputs {
        let segment = |key: &&str| Segment {
            number: 1,
            table: "t".into(),
            hour: "2026-11-21T07".parse().unwrap(),
            key: (*key).to_owned(),
            bytes: 1,
            tally: Tally::default(),
            schema: "t@1".into(),
        };
        Inputs { segments: keys.iter().map(|key| ("web/0".to_owned(), segment(key))).collect(), late: vec![] }
    }

    #[test]
    fn a_manifest_may_lag_behind_but_names_each_row_once() {
        let told = |state: &HourState, fresh: &[&str], there: Option<&[&str]>| {
            let files = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect();
            let there = there.map(|there| Manifest { files: files(there), tag: Tag("1".into()) });
            judge(state, &inputs(fresh), there.as_ref()).unwrap_or_default()
        };
        let present = state(2, true);
        assert_eq!(told(&present, &["s"], Some(&["g", "s"])), "");
        assert_eq!(told(&present, &["s"], Some(&["g"])), "", "what came lately comes next");
        assert!(told(&present, &[], None).contains("does not exist"));
        assert!(told(&present, &[], Some(&["g", "s"])).contains("s, which the hour has absorbed"));
        assert!(told(&present, &["s"], Some(&["s"])).contains("does not name g"));
        assert!(told(&present, &["s"], Some(&["g", "s", "s"])).contains("twice"));
        let under_way = state(2, false);
        assert_eq!(told(&under_way, &[], Some(&["old"])), "", "the generation is not shown anywhere yet");
        let first = state(0, false);
        assert_eq!(told(&first, &["s"], Some(&["s"])), "");
        assert!(told(&first, &["s"], Some(&["other"])).contains("other"));
    }

    #[test]
    fn hours_that_are_not_shown_and_partitions_that_are_not_there_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let live = live(folder.path());
        let old = HourState { live: false, ..state(2, true) };
        assert!(is_unshown(&live, &old) && !is_unshown(&live, &state(2, true)));
        assert!(!is_unshown(&live, &HourState { live: false, ..state(0, false) }), "it is about to be");
        let there = BTreeSet::from([old.hour]);
        assert_eq!(partition(&state(2, true), &there), None);
        let lost = partition(&state(2, true), &BTreeSet::new()).unwrap();
        assert_eq!((lost.kind, lost.at.as_str()), (Kind::Unregistered, "t_live/2026-11-21T07"));
        let over = HourState { live: false, expired_at: Some(Millis(1)), ..state(3, true) };
        assert_eq!(partition(&over, &there).map(|found| found.kind), Some(Kind::Stray));
    }
}
