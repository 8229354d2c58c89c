//! Files of dead letters, of edits, and of events that lanes hold apart, against the documents that name them.

use std::collections::BTreeSet;

use shardmill_cluster::cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::setsum::Tally;

use super::Report;
use super::finding::{Finding, Kind};
use crate::dead_letters::edits::{self, EditIndex};
use crate::dead_letters::{letter, selection};
use crate::shared::Ports;
use crate::state::{DeadFile, ShardState};
use crate::world::World;

/// What a person can do about a lost or damaged file of these.
const REMEDY: &str = "put the object back from a backup (on S3: its version before)";

/// Reads every file of dead letters and of edits back, and looks that what lanes hold apart is there.
pub(super) async fn check(ports: &Ports, world: &World, report: &mut Report) -> Result<(), Failure> {
    letters(ports, report).await?;
    edits_of_letters(ports, report).await?;
    parked(ports, world, report).await
}

/// What is wrong with an object, if anything is.
type Wrong = Option<(Kind, String)>;

async fn letters(ports: &Ports, report: &mut Report) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for file in selection::files(ports).await? {
        report.files += 1;
        let found = judge_letters(ports, &file).await;
        wrong.extend(found.map(|found| (file.key, found)));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    // A file in which nothing waits any more may have been removed meanwhile.
    let still: BTreeSet<String> = selection::files(ports).await?.into_iter().map(|file| file.key).collect();
    report.findings.extend(wrong.into_iter().filter(|(key, _)| still.contains(key)).map(tell));
    Ok(())
}

async fn judge_letters(ports: &Ports, file: &DeadFile) -> Wrong {
    let bytes = match ports.objects.get(&file.key).await {
        Ok(bytes) => bytes,
        Err(failure) => return Some(unread(ports, &file.key, failure).await),
    };
    let letters = match letter::from_ndjson(&bytes) {
        Ok(letters) => letters,
        Err(error) => return Some((Kind::Corrupt, format!("it cannot be read: {error}"))),
    };
    let mut found = Tally::default();
    letters.iter().for_each(|letter| found.insert(letter.origin.identity()));
    let differs = || (Kind::Corrupt, format!("it holds {found}; {} were recorded", file.tally));
    (found != file.tally).then(differs)
}

async fn edits_of_letters(ports: &Ports, report: &mut Report) -> Result<(), Failure> {
    for index in EditIndex::all(ports.documents.as_ref()).await? {
        report.files += 1;
        let wrong = match ports.objects.get(&index.object).await {
            Ok(bytes) => match edits::count(&bytes) {
                Ok(found) if found == index.edits => None,
                Ok(found) => {
                    Some((Kind::Corrupt, format!("it holds {found} edits; {} were recorded", index.edits)))
                }
                Err(error) => Some((Kind::Corrupt, format!("it cannot be read: {error}"))),
            },
            Err(failure) => Some(unread(ports, &index.object, failure).await),
        };
        report.findings.extend(wrong.map(|wrong| tell((index.object, wrong))));
    }
    Ok(())
}

/// Why an object could not be read: it is gone, damaged, or the store did not answer.
async fn unread(ports: &Ports, key: &str, failure: Failure) -> (Kind, String) {
    match (failure.class, ports.objects.head(key).await) {
        (Class::Rejected, Ok(None)) => (Kind::Missing, "the object does not exist".to_owned()),
        (Class::Rejected, Ok(Some(_))) => (Kind::Corrupt, failure.detail),
        _ => (Kind::Unread, failure.to_string()),
    }
}

fn tell((key, (kind, message)): (String, (Kind, String))) -> Finding {
    let remedy = if kind == Kind::Unread { "verify again" } else { REMEDY };
    Finding::by_hand(kind, key, message, remedy)
}

/// The objects of events that lanes hold apart exist.
async fn parked(ports: &Ports, world: &World, report: &mut Report) -> Result<(), Failure> {
    for shard in world.shards.values() {
        for object in parked_of(shard) {
            if ports.objects.head(&object).await?.is_some() {
                continue;
            }
            // A lane deletes what it has replaced: look whether it is named still.
            let key = layout::documents::shard(&shard.stream, &shard.shard);
            let now = cell::read::<ShardState>(ports.documents.as_ref(), &key).await?;
            if now.is_some_and(|now| parked_of(&now).contains(&object)) {
                let message = format!("the events that a lane of {} holds apart do not exist", shard.name());
                report.findings.push(tell((object, (Kind::Missing, message))));
            }
        }
    }
    Ok(())
}

fn parked_of(shard: &ShardState) -> Vec<String> {
    let parked = shard.lanes.values().filter_map(|lane| lane.parked.as_ref());
    parked.map(|parked| parked.object.clone()).collect()
}
