//! Hours that are de-duplicated by message id: what was dropped is listed, nothing that is listed is a row, no id counts twice.

use futures::{StreamExt, TryStreamExt};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::parquet;

use super::catalog::document;
use super::finding::{Finding, Kind};
use super::{Report, Scope, files};
use crate::shared::Ports;
use crate::state::HourState;
use crate::world::World;

/// Hours looked at at once.
const TOGETHER: usize = 2;

/// What is said about a list that is not what was recorded of it.
const LOST_LIST: &str = "put the object back from a backup or an older version: without it late rows of the hour wait, because one of them may have been dropped";
/// What is said about rows that should not be there.
const NOT_DROPPED: &str =
    "nothing mends this by itself: keep the lake as it is, and ask those who wrote the software";

/// Checks every hour in scope that has something to do with duplicates.
pub(super) async fn check(
    ports: &Ports,
    scope: &Scope,
    world: &World,
    report: &mut Report,
) -> Result<(), Failure> {
    let concerned = |hour: &&HourState| {
        scope.takes(&hour.table, hour.hour) && (hour.dedupe.is_some() || !hour.duplicate_lists.is_empty())
    };
    let hours: Vec<&HourState> = world.hours.values().map(AsRef::as_ref).filter(concerned).collect();
    report.files += hours.iter().map(|hour| hour.duplicate_lists.len() as u64).sum::<u64>();
    let looks = hours.into_iter().map(|hour| look(ports, scope.deep, hour));
    let found: Vec<Vec<Finding>> = futures::stream::iter(looks).buffered(TOGETHER).try_collect().await?;
    report.findings.extend(found.into_iter().flatten());
    Ok(())
}

/// What is wrong with one hour. What was found counts when the hour has still that generation: one that is replaced is deleted.
async fn look(ports: &Ports, deep: bool, hour: &HourState) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    for list in &hour.duplicate_lists {
        let wrong = files::judge(ports, deep, &list.key, list.tally).await;
        found.extend(wrong.map(|(kind, message)| {
            let remedy = if kind == Kind::Unread { "verify again" } else { LOST_LIST };
            Finding::by_hand(kind, &list.key, message, remedy)
        }));
    }
    if deep && found.is_empty() {
        found.extend(rows(ports, hour).await?);
    }
    if found.is_empty() {
        return Ok(found);
    }
    let now = document(ports, &hour.table, hour.hour).await?;
    let stays = now.is_some_and(|now| now.generation == hour.generation);
    Ok(if stays { found } else { Vec::new() })
}

/// What is wrong with the rows of the present generation.
async fn rows(ports: &Ports, hour: &HourState) -> Result<Vec<Finding>, Failure> {
    let keys = hour.files.iter().map(|file| file.key.clone()).collect::<Vec<_>>();
    let lists = hour.duplicate_lists.iter().map(|list| list.key.clone()).collect::<Vec<_>>();
    let at = format!("{}/{}", hour.table, hour.hour);
    let mut found = Vec::new();
    match parquet::listed_rows(ports.objects.clone(), &lists, &keys).await {
        Ok(0) => {}
        Ok(rows) => {
            let message = format!("{rows} rows are listed as dropped duplicates, and are there");
            found.push(Finding::by_hand(Kind::Unbalanced, &at, message, NOT_DROPPED));
        }
        Err(failure) => found.extend(unread(&at, &failure)),
    }
    let Some(column) = &hour.dedupe else { return Ok(found) };
    match parquet::twice(ports.objects.clone(), &keys, column).await {
        Ok(twice) if twice.ids == 0 => {}
        Ok(twice) => {
            let example =
                twice.example.map(|hash| format!(" (one has the hash {hash:032x})")).unwrap_or_default();
            let message = format!("{} ids in `{column}` have several rows{example}", twice.ids);
            found.push(Finding::by_hand(Kind::Doubled, &at, message, NOT_DROPPED));
        }
        Err(failure) => found.extend(unread(&at, &failure)),
    }
    Ok(found)
}

/// A file that is gone or damaged is told where files are; anything else kept the hour from being judged.
fn unread(at: &str, failure: &Failure) -> Option<Finding> {
    let other = failure.class != Class::Rejected;
    other.then(|| Finding::by_hand(Kind::Unread, at, failure.to_string(), "verify again"))
}
