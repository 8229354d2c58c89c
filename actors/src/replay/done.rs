//! What earlier runs have done: the names of their portions, and through which raw backup each of them reaches.

use std::collections::BTreeSet;

use shardmill_cluster::cell;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::ports::Documents;

use super::Goal;
use super::deliver::Sent;
use super::portion::{Done, PREFIX, ShardHour};
use crate::state::Manifest;

/// Where the documents are whose names are those of portions.
fn document(goal: &Goal, source: &str) -> String {
    match goal {
        Goal::Destination(_) => layout::documents::replay(source),
        Goal::Lake | Goal::Table { .. } => layout::documents::late(source),
    }
}

/// The names of all portions that any replay has committed.
///
/// # Errors
/// What the store raises.
pub(super) async fn names(documents: &dyn Documents, goal: &Goal) -> Result<BTreeSet<String>, Failure> {
    let listed = documents.list(&document(goal, PREFIX)).await?;
    let folder = document(goal, "");
    Ok(listed.into_iter().filter_map(|(key, _)| Some(key.strip_prefix(&folder)?.to_owned())).collect())
}

/// What was done of `kept` on these terms, by `names`.
///
/// # Errors
/// What the store raises.
pub(super) async fn of(
    documents: &dyn Documents,
    goal: &Goal,
    (kept, terms): (&ShardHour, &[String]),
    names: &BTreeSet<String>,
) -> Result<Vec<Done>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut done = kept.begun_before(terms, names);
    for (first, source) in kept.begun(terms, names) {
        let key = document(goal, &source);
        let through = match goal {
            Goal::Destination(_) => cell::read::<Sent>(documents, &key).await?.map(|sent| sent.through),
            Goal::Lake | Goal::Table { .. } => {
                cell::read::<Manifest>(documents, &key).await?.map(|manifest| manifest.through)
            }
        };
        // One that is gone again was not done; one that does not say how far it reaches has its first at least.
        if let Some(through) = through {
            done.push(Done { first, through: through.unwrap_or(first).max(first), source });
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shardmill_cluster::Cell;
    use shardmill_connectors::embedded::EmbeddedDocuments;

    use super::super::portion::shard_hours;
    use super::*;
    use crate::raw::Named;
    use crate::state::RawFile;

    #[tokio::test]
    async fn what_was_committed_says_how_far_it_reaches() {
        let folder = tempfile::tempdir().unwrap();
        let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(folder.path()).unwrap());
        let hour: shardmill_connectors::Hour = "2026-11-21T07".parse().unwrap();
        let (tally, key, erased) = (Default::default(), "k".to_owned(), Default::default());
        let file = RawFile { number: 4, hour, key, bytes: 1, tally, erased };
        let named = Named { stream: "web".into(), shard: "0".into(), file };
        let kept = shard_hours(vec![named], hour.start(), hour.end()).remove(0);
        let series = kept.series(&[]);
        for (goal, first, through) in [
            (Goal::Lake, 4, Some(6)),
            // Written anew by somebody who knows nothing of how far it reaches.
            (Goal::Lake, 9, None),
            (Goal::Destination("crm".into()), 4, Some(5)),
        ] {
            let source = format!("{series}{first}");
            let key = document(&goal, &source);
            match goal {
                Goal::Destination(_) => {
                    let mut cell: Cell<Sent> = Cell::load(documents.clone(), key).await.unwrap();
                    cell.replace(Sent { through, ..Sent::default() }).await.unwrap();
                }
                _ => {
                    let mut cell: Cell<Manifest> = Cell::load(documents.clone(), key).await.unwrap();
                    cell.replace(Manifest { source, through, ..Manifest::default() }).await.unwrap();
                }
            }
        }
        let mut other: Cell<Manifest> =
            Cell::load(documents.clone(), layout::documents::late("redrive-1")).await.unwrap();
        other.replace(Manifest::default()).await.unwrap();
        for (goal, reach) in
            [(Goal::Lake, vec![(4, 6), (9, 9)]), (Goal::Destination("crm".into()), vec![(4, 5)])]
        {
            let names = names(documents.as_ref(), &goal).await.unwrap();
            assert_eq!(names.len(), reach.len(), "{names:?}");
            let done = of(documents.as_ref(), &goal, (&kept, &[]), &names).await.unwrap();
            assert_eq!(done.iter().map(|one| (one.first, one.through)).collect::<Vec<_>>(), reach);
        }
    }
}
