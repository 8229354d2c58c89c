//! Makes the present generation of an hour anew, from the generation before it and from what it has absorbed: these stay until
//! the delete grace is over.
//!
//! Everything that is left and sound is merged, each identity once. Whether that is the generation says its set-sum, which is
//! recorded: the same rows give the same sum, in whatever order and from whichever files they come.

use std::collections::HashSet;

use shardmill_cluster::Cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::origin::IDENTITY;
use shardmill_connectors::parquet::{
    self, Dedupe, Input, MergeRequest, Merged, MergedFile, Origins, Summary,
};
use shardmill_connectors::setsum::Tally;
use uuid::Uuid;

use super::{Tools, passed_on, point};
use crate::live::anew;
use crate::shared::Ports;
use crate::state::HourState;
use crate::state::hour::{CatalogState, GenerationFile};

/// What is left of the files an hour came from.
#[derive(Debug, Default)]
pub(in super::super) struct Left {
    /// The sound ones, in the order in which they are merged.
    sources: Vec<Input>,
    /// Their rows, each identity once.
    pub(in super::super) tally: Tally,
}

/// Where the rows of an hour may still be, when `damaged` is not one of the places: generations first, the newest before all,
/// then what was absorbed, the oldest first.
fn places<'a>(hour: &'a HourState, damaged: &str) -> Vec<&'a str> {
    let files = hour.files.iter().map(|file| file.key.as_str());
    let all = files.chain(hour.garbage.iter().map(String::as_str)).filter(|key| *key != damaged);
    let (mut generations, absorbed): (Vec<_>, Vec<_>) = all.partition(|key| generation(key).is_some());
    generations.sort_by_key(|key| std::cmp::Reverse(generation(key)));
    generations.dedup();
    generations.into_iter().chain(absorbed).collect()
}

/// The generation that a file is of; `None` for what is no file of a generation.
fn generation(key: &str) -> Option<u64> {
    let folder = key.strip_prefix("tables/")?.rsplit('/').nth(1)?;
    folder.strip_prefix('g')?.split('-').next()?.parse().ok()
}

/// Reads what is left of an hour without `damaged`.
///
/// # Errors
/// What the store raises; a file that is gone or damaged, too, is left out.
pub(in super::super) async fn left(ports: &Ports, hour: &HourState, damaged: &str) -> Result<Left, Failure> {
    let mut left = Left::default();
    // What was dropped as duplicate is in what was absorbed, and is no row.
    let mut seen = dropped(ports, hour).await?;
    for key in places(hour, damaged) {
        match identities(ports, key, &mut seen).await {
            Ok((file, new)) => {
                left.sources.push(Input { key: key.to_owned(), tally: file });
                left.tally += new;
            }
            Err(failure) if failure.class == Class::Rejected => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(left)
}

/// The identities of the rows that were dropped as duplicates; of a list that is gone or damaged, none.
async fn dropped(ports: &Ports, hour: &HourState) -> Result<HashSet<u128>, Failure> {
    let mut all = HashSet::new();
    for list in &hour.duplicate_lists {
        match identities(ports, &list.key, &mut all).await {
            Err(failure) if failure.class != Class::Rejected => return Err(failure),
            _ => {}
        }
    }
    Ok(all)
}

/// All rows of a file that is sound to its last byte, and those of them that are not in `seen` yet.
async fn identities(ports: &Ports, key: &str, seen: &mut HashSet<u128>) -> Result<(Tally, Tally), Failure> {
    let whole = parquet::deep(ports.objects.clone(), key).await?;
    let file = parquet::open(ports.objects.clone(), key).await?;
    let mut batches = file.batches(Some(&IDENTITY))?;
    let mut new = Tally::default();
    while let Some(batch) = batches.next().await? {
        let origins = Origins::of(&batch).map_err(Failure::rejected)?;
        origins
            .identities()
            .filter(|identity| seen.insert(*identity))
            .for_each(|identity| new.insert(identity));
    }
    Ok((whole, new))
}

/// Makes the generation anew, commits it, and tells the catalog.
///
/// # Errors
/// `Rejected` when the hour has an owner who lives, has moved on, or cannot be made from what is left; what the stores raise.
pub(super) async fn rebuild(
    ports: &Ports,
    tools: &Tools,
    (table, hour): (&str, Hour),
    damaged: &str,
) -> Result<(), Failure> {
    let key = layout::documents::hour(table, hour);
    let mut cell: Cell<HourState> = Cell::load(ports.documents.clone(), key).await?;
    let moved = || Failure::rejected(format!("{table}/{hour} has moved on: verify again"));
    let state = cell.state().cloned().ok_or_else(moved)?;
    if !state.files.iter().any(|file| file.key == damaged) {
        return Err(moved());
    }
    let ownership = passed_on(tools, &state.ownership).await?;
    let sources = left(ports, &state, damaged).await?.sources;
    let epoch = ownership.epoch;
    let files = write(ports, tools, (&state, epoch), sources).await?;
    commit(ports, &mut cell, succeed(HourState { ownership, ..state }, files)).await
}

/// Commits a generation that holds the rows of the one before, and tells the catalog.
///
/// # Errors
/// `Fenced` when somebody else has changed the hour: its files are removed then. What the stores raise.
pub(crate) async fn commit(
    ports: &Ports,
    cell: &mut Cell<HourState>,
    next: HourState,
) -> Result<(), Failure> {
    let HourState { table, hour, .. } = &next;
    if !next.balances() {
        return Err(Failure::crashed(format!(
            "{table}/{hour}: the books of a generation made anew do not balance"
        )));
    }
    if let Err(failure) = cell.replace(next.clone()).await {
        // Nobody names it when the write was lost to somebody else; otherwise nobody knows, and the sweeper will.
        if failure.class == Class::Fenced {
            remove(ports, &next.files).await?;
        }
        return Err(failure);
    }
    show(ports, cell, next).await
}

/// Points the catalog at the generation of `next`, has the manifest of a live table name it, and records that: the grace begins.
///
/// # Errors
/// What the stores raise.
pub(crate) async fn show(ports: &Ports, cell: &mut Cell<HourState>, next: HourState) -> Result<(), Failure> {
    point::point(ports, &next.table, next.hour).await?;
    name(ports, &next).await?;
    crash::point("erase.after-catalog");
    let catalog = CatalogState { location: next.location(), switched_at: Some(Millis::now()) };
    match cell.replace(HourState { catalog, ..next }).await {
        // A node has taken the hour, and says the same to the catalog.
        Err(failure) if failure.class == Class::Fenced => Ok(()),
        outcome => outcome,
    }
}

/// Has the manifest of a live table name a generation.
async fn name(ports: &Ports, state: &HourState) -> Result<(), Failure> {
    let Some(live) = ports.live.as_ref().filter(|_| state.live) else { return Ok(()) };
    if let Some(file) = state.files.first() {
        let reader = parquet::open(ports.objects.clone(), &file.key).await?;
        live.fit(ports.catalog.as_ref(), &state.table, reader.schema()).await?;
    }
    anew::anew(ports, live, &state.table, state.hour).await.map(drop)
}

/// Merges `sources` into files that hold exactly the rows recorded of the hour; any others are deleted again.
///
/// In a table that is de-duplicated they get their runs of ids, as a merge of the hour's owner writes them. Of one id the hour has
/// one row, so nothing is dropped for it; should that not be so, the rows count for more than the runs.
async fn write(
    ports: &Ports,
    tools: &Tools,
    of: (&HourState, u64),
    sources: Vec<Input>,
) -> Result<Vec<GenerationFile>, Failure> {
    let (hour, _) = of;
    let mut found = Tally::default();
    for dedupe in [true, false] {
        if dedupe && hour.dedupe.is_none() {
            continue;
        }
        let merged = parquet::merge(request(ports, tools, of, (&sources, dedupe))).await?;
        if merged.tally() == hour.tally && merged.list.is_none() {
            return Ok(files(merged));
        }
        found = merged.tally();
        if let Some(list) = &merged.list {
            ports.objects.delete(&list.key).await?;
        }
        remove(ports, &files(merged)).await?;
    }
    Err(Failure::rejected(format!("what is left holds {found}; {} are recorded", hour.tally)))
}

/// How the hour is made anew; with its runs of ids, or without.
fn request(
    ports: &Ports,
    tools: &Tools,
    (hour, epoch): (&HourState, u64),
    (sources, dedupe): (&[Input], bool),
) -> MergeRequest {
    let random = &Uuid::new_v4().simple().to_string()[..12];
    let (table, number) = (&hour.table, hour.generation + 1);
    let folder = layout::duplicates(table, hour.hour, number, epoch, random);
    // Rows of the newest generation stand as they are; all others count where they are not in it.
    // Where duplicates were dropped, even an older generation may hold one.
    let generations = sources.iter().take_while(|input| generation(&input.key).is_some()).count();
    let newest = if hour.duplicate_lists.is_empty() { generations.min(1) } else { 0 };
    let (base, late) = sources.split_at(newest);
    let input = |list: &GenerationFile| Input { key: list.key.clone(), tally: list.tally };
    MergeRequest {
        objects: ports.objects.clone(),
        folder: layout::generation(table, hour.hour, number, epoch, random),
        base: base.to_vec(),
        segments: Vec::new(),
        late: late.to_vec(),
        options: tools.write_of(table),
        meta: vec![
            ("shardmill.table".to_owned(), table.clone()),
            ("shardmill.hour".to_owned(), hour.hour.to_string()),
        ],
        dedupe: hour.dedupe.clone().filter(|_| dedupe).map(|column| Dedupe { column, folder }),
        listed: hour.duplicate_lists.iter().map(input).collect(),
    }
}

fn files(merged: Merged) -> Vec<GenerationFile> {
    merged.files.into_iter().map(written).collect()
}

/// A file that was written, as the hour's document names it.
pub(crate) fn written(file: MergedFile) -> GenerationFile {
    let Summary { bytes, tally, .. } = file.summary;
    GenerationFile { key: file.key, bytes, tally }
}

async fn remove(ports: &Ports, files: &[GenerationFile]) -> Result<(), Failure> {
    for file in files {
        ports.objects.delete(&file.key).await?;
    }
    Ok(())
}

/// The hour's state with `files` as its generation. Nothing new was absorbed.
pub(crate) fn succeed(state: HourState, files: Vec<GenerationFile>) -> HourState {
    let replaced = state.files.iter().map(|file| file.key.clone());
    HourState {
        generation: state.generation + 1,
        committed_at: Some(Millis::now()),
        garbage: state.garbage.iter().cloned().chain(replaced).collect(),
        files,
        catalog: CatalogState { switched_at: None, ..state.catalog.clone() },
        ..state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_generation_comes_first_and_the_damaged_file_not_at_all() {
        let mut hour = HourState::new("events", "2026-11-21T07".parse().unwrap());
        let file = |generation: u64| {
            format!("{}/part-0000.parquet", layout::generation("events", hour.hour, generation, 1, "abc"))
        };
        let (one, two, ten) = (file(1), file(2), file(10));
        let kept =
            ["segments/web/0/1-a-events-2026-11-21T07.parquet", "late/s/r/f.parquet"].map(str::to_owned);
        hour.files = vec![GenerationFile { key: ten.clone(), bytes: 1, tally: Tally::default() }];
        hour.garbage = [&[one.clone()][..], &kept, std::slice::from_ref(&two)].concat();
        assert_eq!(places(&hour, &ten), [&two, &one, &kept[0], &kept[1]]);
        assert_eq!(places(&hour, "none"), [&ten, &two, &one, &kept[0], &kept[1]]);
    }

    #[test]
    fn a_generation_made_anew_replaces_the_one_before_and_is_shown_next() {
        let mut hour = HourState::new("events", "2026-11-21T07".parse().unwrap());
        hour.files = vec![GenerationFile { key: "old".into(), bytes: 1, tally: Tally::default() }];
        (hour.generation, hour.garbage) = (3, vec!["older".into()]);
        hour.catalog.switched_at = Some(Millis(1));
        let new = GenerationFile { key: "new".into(), bytes: 1, tally: Tally::default() };
        let next = succeed(hour, vec![new]);
        assert_eq!((next.generation, &next.garbage), (4, &vec!["older".to_owned(), "old".to_owned()]));
        assert_eq!((next.files[0].key.as_str(), next.catalog.switched_at), ("new", None));
    }
}
