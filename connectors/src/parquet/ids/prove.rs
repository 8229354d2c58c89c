//! Proving what de-duplication has done, out of the rows themselves: runs are checked, not believed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::{Entry, Ids, Run, RunReader};
use crate::failure::Failure;
use crate::parquet::IDS;
use crate::parquet::origin::IDENTITY;
use crate::parquet::read::{FileReader, open};
use crate::parquet::verify::scan_groups;
use crate::ports::Objects;
use crate::setsum::Tally;

/// Hashes, or identities, that are held at a time: about 32 MiB of them.
const HELD: u64 = if cfg!(test) { 8 } else { 1 << 19 };
/// Bytes of a run fetched together.
const PIECE: u64 = 1 << 20;

/// Compares the run of a file, if it has one, with the column that it is of.
pub(in crate::parquet) async fn prove(file: &FileReader) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::rejected(format!("corrupt file {}: {what}", file.key()));
    let Some(run) = Run::of(file) else {
        let said = file.metadata(IDS).is_some();
        return if said { Err(wrong("its footer does not account for its run of ids")) } else { Ok(()) };
    };
    let mut reader = RunReader::new(file.port().clone(), run.start, &run.packed, PIECE);
    let mut said = Tally::default();
    while let Some(entry) = reader.next().await? {
        said.insert(fingerprint(entry));
    }
    let (mut found, mut at) = (Tally::default(), 0);
    each_id(file, &run.column, |hash| {
        if let Some(hash) = hash {
            found.insert(fingerprint(Entry { hash, at }));
        }
        at += 1;
    })
    .await?;
    // The same entries in whatever order: the run's own order was checked while it was read.
    if found == said { Ok(()) } else { Err(wrong("its run of ids is not what its rows hold")) }
}

fn fingerprint(entry: Entry) -> u128 {
    let mut bytes = [0; 24];
    let (hash, at) = bytes.split_at_mut(16);
    hash.copy_from_slice(&entry.hash.to_be_bytes());
    at.copy_from_slice(&entry.at.to_be_bytes());
    xxh3_128(&bytes)
}

/// Calls `each` with the hash of every row's id, in order; nothing else is decoded.
pub(in crate::parquet) async fn each_id(
    file: &FileReader,
    column: &str,
    mut each: impl FnMut(Option<u128>),
) -> Result<(), Failure> {
    let has = file.schema().column_with_name(column).is_some();
    if !has {
        (0..file.rows()).for_each(|_| each(None));
        return Ok(());
    }
    let mut batches = file.batches(Some(&[column]))?;
    while let Some(batch) = batches.next().await? {
        let wrong = |reason| Failure::rejected(format!("corrupt file {}: {reason}", file.key()));
        let ids = Ids::of(&batch, column).map_err(wrong)?;
        (0..batch.num_rows()).for_each(|row| each(ids.hash(row)));
    }
    Ok(())
}

/// Ids that several rows have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Twice {
    /// How many ids.
    pub ids: u64,
    /// The hash of one of them: XXH3-128 of its text.
    pub example: Option<u128>,
}

/// Looks for ids that occur in more than one row of all these files, by the column itself. The files are read as often as it takes
/// to hold only a part of all hashes at a time.
pub async fn twice(objects: Arc<dyn Objects>, keys: &[String], column: &str) -> Result<Twice, Failure> {
    let mut files = Vec::with_capacity(keys.len());
    for key in keys {
        files.push(open(objects.clone(), key).await?);
    }
    let passes = files.iter().map(FileReader::rows).sum::<u64>() / HELD + 1;
    let mut found = Twice::default();
    for pass in 0..passes {
        let mut seen: HashMap<u128, bool> = HashMap::new();
        for file in &files {
            let take = |hash: Option<u128>| {
                let Some(hash) = hash.filter(|hash| hash % u128::from(passes) == u128::from(pass)) else {
                    return;
                };
                seen.entry(hash).and_modify(|again| *again = true).or_insert(false);
            };
            each_id(file, column, take).await?;
        }
        for (hash, _) in seen.into_iter().filter(|(_, again)| *again) {
            found.ids += 1;
            found.example.get_or_insert(hash);
        }
    }
    Ok(found)
}

/// How many rows of `files` are listed in `lists` as dropped.
pub async fn listed_rows(
    objects: Arc<dyn Objects>,
    lists: &[String],
    files: &[String],
) -> Result<u64, Failure> {
    let mut all = Vec::with_capacity(files.len());
    for key in files {
        all.push(open(objects.clone(), key).await?);
    }
    let (mut held, mut found) = (HashSet::new(), 0);
    for list in lists {
        let list = open(objects.clone(), list).await?;
        for group in 0..list.row_groups() {
            scan_groups(&list, vec![group], Some(&IDENTITY), |origins| held.extend(origins.identities()))
                .await?;
            if held.len() as u64 >= HELD {
                found += rows_of(&all, &held).await?;
                held.clear();
            }
        }
    }
    Ok(found + rows_of(&all, &held).await?)
}

async fn rows_of(files: &[FileReader], identities: &HashSet<u128>) -> Result<u64, Failure> {
    if identities.is_empty() {
        return Ok(0);
    }
    let mut found = 0;
    for file in files {
        let groups = (0..file.row_groups()).collect();
        let count = |origins: &crate::parquet::Origins| {
            found += origins.identities().filter(|identity| identities.contains(identity)).count() as u64;
        };
        scan_groups(file, groups, Some(&IDENTITY), count).await?;
    }
    Ok(found)
}
