//! The same lake with a live table.

use shardmill_connectors::layout;

use super::*;
use crate::live::testing::live;

const AT: &str = "live/events/year=2026/month=11/day=21/hour=07/manifest";

/// What should be shown: the present generation, and the segment that it has not absorbed.
fn wanted() -> Vec<String> {
    vec![generation_key(2), segment_key(3)]
}

async fn lake() -> Lake {
    let mut lake = Lake::new().await;
    lake.ports.live = Some(live(lake.folder.path()));
    lake
}

async fn shown(lake: &Lake) -> Option<Vec<String>> {
    let there = lake.ports.live.as_ref().unwrap().read("events", hour()).await.unwrap();
    there.map(|there| there.files)
}

async fn overwrite(lake: &Lake, files: &[String]) {
    let live = lake.ports.live.as_ref().unwrap();
    let there = live.read("events", hour()).await.unwrap();
    assert!(live.write(("events", hour()), files.to_vec(), there.as_ref()).await.unwrap().is_some());
}

#[tokio::test]
async fn an_hour_that_is_older_than_its_live_table_does_no_harm_and_is_shown_by_a_repair() {
    let lake = lake().await;
    let report = lake.verify().await;
    assert!(report.ok, "{report:?}");
    let at = "events_live/2026-11-21T07".to_owned();
    assert_eq!(lake.found().await, [(Kind::Unshown, at)]);
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    assert_eq!((shown(&lake).await, lake.found().await), (Some(wanted()), vec![]));
    let place = lake.ports.catalog.location("events_live", hour()).await.unwrap();
    assert_eq!(place, Some(layout::live("events", hour())));
    assert!(lake.hour().await.state().unwrap().live);
}

#[tokio::test]
async fn a_manifest_that_does_not_agree_is_told_and_written_anew() {
    let lake = lake().await;
    lake.repair(false).await;
    let doubled = [wanted(), vec![segment_key(1)]].concat();
    let old = vec![generation_key(1), segment_key(2), segment_key(3)];
    for wrong in [doubled, old, Vec::new()] {
        overwrite(&lake, &wrong).await;
        assert_eq!(lake.found().await, [(Kind::Stale, AT.to_owned())], "{wrong:?}");
        assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
        assert_eq!((shown(&lake).await, lake.found().await), (Some(wanted()), vec![]));
    }
    overwrite(&lake, &wanted()[..1]).await;
    assert_eq!(lake.found().await, [], "what came lately is shown when a node is there to show it");
    lake.ports.catalog.drop_partition("events_live", hour()).await.unwrap();
    assert_eq!(lake.found().await, [(Kind::Unregistered, "events_live/2026-11-21T07".to_owned())]);
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    assert_eq!((shown(&lake).await, lake.found().await), (Some(wanted()), vec![]));
}

#[tokio::test]
async fn a_generation_that_is_made_anew_is_named_before_its_grace_begins() {
    let lake = lake().await;
    lake.repair(false).await;
    lake.damage(&generation_key(2));
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    let now = lake.hour().await.state().cloned().unwrap();
    assert_eq!((now.generation, now.catalog.switched_at.is_some()), (3, true));
    assert_eq!(shown(&lake).await, Some(vec![now.files[0].key.clone(), segment_key(3)]));
    assert_eq!(lake.found().await, []);
}
