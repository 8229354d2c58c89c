//! What must be there at the end: every event once, and a lake that is whole.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::Outcome;
use super::super::deliveries::{self, check};
use super::super::mend_and_redrive::homes;
use super::script::{Flaw, flaw};
use crate::harness::{Book, Cli, Setup};

/// The letters that wait, by event.
pub(super) async fn letters(setup: &Setup) -> Result<BTreeMap<String, u64>, String> {
    deliveries::letters(&Cli::new(setup)?, "lake").await
}

/// Exactly the hopeless events are letters, once each; what was not acknowledged may be one.
pub(super) fn settled(book: &Book, letters: &BTreeMap<String, u64>) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (id, offered) in book {
        let there = letters.get(id).copied().unwrap_or(0);
        let most = u64::from(flaw(offered.index) == Some(Flaw::Hopeless));
        let least = if offered.acknowledged { most } else { 0 };
        if !(least..=most).contains(&there) {
            wrong.push(format!("{id}: {there} letters, {:?}", flaw(offered.index)));
        }
    }
    let strangers = letters.keys().filter(|id| !book.contains_key(*id));
    wrong.extend(strangers.map(|id| format!("a letter of {id}, never sent")));
    check::verdict(&wrong).map_err(|error| format!("dead letters: {error}"))
}

/// Every event is one row of its hour or one letter, and the lake is whole; what is in it.
pub(super) async fn whole(setup: &Setup, book: &Book) -> Outcome {
    let cli = Cli::new(setup)?;
    let left = letters(setup).await?;
    settled(book, &left)?;
    let hopeless = |id: &str| book.get(id).is_some_and(|offered| flaw(offered.index) == Some(Flaw::Hopeless));
    let rows = deliveries::rows(&cli).await?;
    check::verdict(&check::rows(book, &rows, hopeless)).map_err(|error| format!("the lake: {error}"))?;
    let placed = cli.query("SELECT message_id, year, month, day, hour FROM events").await?;
    let hours = homes(book, &placed)?;
    let report = cli.verify().await?;
    if report["raw"] != report["read"] {
        return Err(format!("{} records were read, {} are kept", report["read"], report["raw"]));
    }
    let versions = setup.data_dir.join("objects/schemas/events");
    let versions =
        std::fs::read_dir(&versions).map_err(|error| format!("{}: {error}", versions.display()))?;
    let newest = cli.count("SELECT count(channel) AS n FROM events").await?;
    Ok(json!({"rows": rows.len(), "letters": left.len(), "hours": hours, "late_rows": report["late"],
        "raw": report["raw"], "schema_versions": versions.count(), "rows_of_the_newest": newest}))
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::Millis;

    use super::*;
    use crate::harness::Offered;

    #[test]
    fn only_hopeless_events_stay_letters() {
        let offered = |index, acknowledged| Offered {
            index,
            key: "k".into(),
            number: index,
            at: Millis(0),
            sent: Millis(0),
            acknowledged,
        };
        let book = Book::from([
            ("fine".to_owned(), offered(0, true)),
            ("torn".to_owned(), offered(8, true)),
            ("hopeless".to_owned(), offered(17, true)),
            ("perhaps".to_owned(), offered(67, false)),
        ]);
        let judged = |letters: &[(&str, u64)]| {
            settled(&book, &letters.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect())
        };
        assert_eq!(judged(&[("hopeless", 1)]), Ok(()));
        assert_eq!(judged(&[("hopeless", 1), ("perhaps", 1)]), Ok(()));
        for wrong in [
            &[][..],
            &[("hopeless", 2)],
            &[("hopeless", 1), ("torn", 1)],
            &[("hopeless", 1), ("fine", 1)],
            &[("hopeless", 1), ("perhaps", 2)],
            &[("hopeless", 1), ("stranger", 1)],
        ] {
            assert!(judged(wrong).is_err(), "{wrong:?}");
        }
    }
}
