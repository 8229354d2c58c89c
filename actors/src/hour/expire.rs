//! The end of an hour that is older than its table keeps.
//!
//! Its document stays, without files: it still says which segments and late sources the hour has absorbed, so that nothing comes
//! back, and the books still balance. What comes for it later is let go the same way, and counted. The lists of what was dropped as
//! duplicate go with the rows: they keep late rows from coming back, and none does to an hour that takes nothing any more; and they
//! speak of events that the table keeps no longer. How many they listed stays in the books.

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::setsum::Tally;

use super::{Compactor, steps};
use crate::state::HourState;
use crate::state::hour::CatalogState;
use crate::world::Inputs;

/// The hour's state when it lets go what it has, and `inputs`.
pub(super) fn everything(state: &HourState, inputs: &Inputs, now: Millis) -> HourState {
    let (absorbed, late) = steps::absorb(state, inputs);
    let segments: Tally = inputs.segments.iter().map(|(_, segment)| segment.tally).sum();
    let lists = state.duplicate_lists.iter().map(|list| list.key.clone());
    let sources: Tally = inputs.late.iter().map(|(_, entry)| entry.tally).sum();
    HourState {
        generation: state.generation + 1,
        committed_at: Some(now),
        tally: Tally::default(),
        files: Vec::new(),
        absorbed,
        late,
        complete: true,
        expired_at: state.expired_at.or(Some(now)),
        expired: state.expired + state.tally + segments + sources,
        duplicate_lists: Vec::new(),
        lost_list: None,
        catalog: CatalogState { switched_at: None, ..state.catalog.clone() },
        garbage: state.garbage.iter().cloned().chain(steps::replaced(state, inputs)).chain(lists).collect(),
        ..state.clone()
    }
}

impl Compactor {
    /// Takes the partition out of the catalog, and the hour out of the live table, reads that back, and records it.
    pub(super) async fn withdraw(&mut self, state: &HourState) -> Result<(), Failure> {
        let catalog = self.shared.ports.catalog.clone();
        // What a node says that has lost the hour meanwhile would be heard all the same.
        self.shared.cluster.may_act()?;
        catalog.drop_partition(&self.table, self.hour).await?;
        if let Some(location) = self.shown().await? {
            return Err(Failure::transient(format!(
                "the catalog still shows {location} for {}/{}, which is over",
                self.table, self.hour
            )));
        }
        self.hide(state).await?;
        let catalog = CatalogState { location: None, switched_at: Some(Millis::now()) };
        self.take().await?.replace(HourState { catalog, live: false, ..state.clone() }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::hour::GenerationFile;
    use crate::state::{ManifestEntry, Segment};

    fn tally(identities: &[u128]) -> Tally {
        let mut tally = Tally::default();
        identities.iter().for_each(|identity| tally.insert(*identity));
        tally
    }

    #[test]
    fn lists_of_duplicates_go_with_the_rows_and_their_count_stays() {
        let hour = "2026-11-21T07".parse().unwrap();
        let file = |key: &str, tally| GenerationFile { key: key.to_owned(), bytes: 1, tally };
        let mut state = HourState::new("events", hour);
        state.generation = 1;
        (state.tally, state.files) = (tally(&[1]), vec![file("g1", tally(&[1]))]);
        state.late.insert("s".into(), tally(&[1, 2]));
        (state.duplicates, state.duplicate_lists) = (tally(&[2]), vec![file("list", tally(&[2]))]);
        assert!(state.balances());
        let over = everything(&state, &Inputs::default(), Millis(7));
        assert!(over.balances() && over.duplicate_lists.is_empty());
        assert_eq!((over.expired.rows, over.duplicates.rows), (1, 1));
        assert_eq!(over.garbage, ["g1", "list"]);
        assert!(!HourState { duplicates: Tally::default(), ..over.clone() }.balances());
        assert!(!HourState { expired_at: None, ..over }.balances(), "without a reason a list is missed");
    }

    #[test]
    fn what_is_let_go_is_counted_and_nothing_of_it_comes_back() {
        let hour = "2026-11-21T07".parse().unwrap();
        let segment = |number: u64, rows: &[u128]| Segment {
            number,
            table: "events".into(),
            hour,
            key: format!("s{number}"),
            bytes: 1,
            tally: tally(rows),
            schema: "events@1".into(),
        };
        let mut state = HourState::new("events", hour);
        state.generation = 3;
        state.files = vec![GenerationFile { key: "g3".into(), bytes: 1, tally: tally(&[1, 2]) }];
        state.tally = tally(&[1, 2]);
        let before = Inputs { segments: vec![("web/0".into(), segment(1, &[1, 2]))], late: vec![] };
        (state.absorbed, state.late) = steps::absorb(&state, &before);
        state.garbage = vec!["g2".into()];
        assert!(state.balances());

        let (table, key) = ("events".to_owned(), "l".to_owned());
        let entry = ManifestEntry { table, hour, key, bytes: 1, tally: tally(&[4]) };
        let inputs = Inputs {
            segments: vec![("web/0".into(), segment(2, &[3]))],
            late: vec![("replay".into(), entry)],
        };
        let over = everything(&state, &inputs, Millis(7));
        assert!(over.balances() && over.location().is_none());
        assert_eq!((over.expired, over.expired_at), (tally(&[1, 2, 3, 4]), Some(Millis(7))));
        assert_eq!(over.garbage, ["g2", "g3", "s2", "l"]);
        assert!(over.absorbed_through("web/0") == 2 && over.late.contains_key("replay"));

        let more = Inputs { segments: vec![("web/0".into(), segment(3, &[5]))], late: vec![] };
        let later = everything(&over, &more, Millis(9));
        assert!(later.balances());
        assert_eq!((later.expired.rows, later.expired_at), (5, Some(Millis(7))));
    }
}
