//! Tables that are de-duplicated.

use super::*;

#[tokio::test]
async fn what_was_dropped_as_duplicate_is_accounted_for() {
    let lake = with_duplicates(40..42, "name").await;
    let report = lake.verify().await;
    assert_eq!((report.findings, report.rows, report.duplicates), (vec![], 20, 2));
    lake.ports.objects.delete(&list_key()).await.unwrap();
    assert_eq!(lake.found().await, [(Kind::Missing, list_key())]);
}

#[tokio::test]
async fn a_dropped_row_that_is_there_and_an_id_with_several_rows_are_told() {
    let at = "events/2026-11-21T07".to_owned();
    let listed = with_duplicates(12..14, "name").await;
    assert_eq!(listed.found().await, [(Kind::Unbalanced, at.clone())]);
    let twice = with_duplicates(40..42, "_stream").await;
    assert_eq!(twice.found().await, [(Kind::Doubled, at)]);
}

#[tokio::test]
async fn a_generation_that_is_made_anew_stays_free_of_duplicates() {
    let lake = with_duplicates(40..42, "name").await;
    lake.damage(&generation_key(2));
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    let report = lake.verify().await;
    assert_eq!((report.findings, report.rows, report.duplicates), (vec![], 20, 2));
    let run = lake.run_of_ids().await.unwrap();
    assert!(run.contains(r#""column":"name""#), "as every generation of a table without duplicates: {run}");
}

#[tokio::test]
async fn rows_that_share_an_id_all_the_same_come_back_without_a_run_of_ids() {
    let lake = with_duplicates(40..42, "_stream").await;
    lake.damage(&generation_key(2));
    assert_eq!(outcomes(&lake.repair(false).await), [Outcome::Done]);
    let report = lake.verify().await;
    assert_eq!((report.rows, lake.run_of_ids().await), (20, None));
    // What the first try has made is gone.
    assert_eq!((report.abandoned, report.in_flight), (Vec::<String>::new(), Vec::<String>::new()));
}
