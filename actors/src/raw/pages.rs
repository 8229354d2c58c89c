//! Pages of raw backups: made before the document unlists what they name, and changed by nobody but who erases a person: of a file
//! that is written anew a page then names the new one.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout::documents as names;
use shardmill_connectors::ports::Documents;

use crate::state::raw::left_by;
use crate::state::{RawFile, RawPage, ShardState};

/// Documents read at once.
const TOGETHER: usize = 16;

/// Makes the pages that are due of what `state`, the committed document of a shard, lists, or finds them made. What they name,
/// by number, the next commit may unlist.
///
/// # Errors
/// What the store raises.
pub async fn turn(documents: &Arc<dyn Documents>, state: &ShardState) -> Result<BTreeSet<u64>, Failure> {
    let numbers = make(documents, state, state.raw.due()).await?;
    if !numbers.is_empty() {
        crash::point("raw.after-page");
    }
    Ok(numbers)
}

/// Makes the pages of everything that any shard's document lists, or finds them made. Owners find them when their turn comes.
///
/// # Errors
/// What the store raises.
pub async fn turn_all(documents: &Arc<dyn Documents>) -> Result<(), Failure> {
    for (key, _) in documents.list("shards/").await? {
        if let Some(state) = cell::read::<ShardState>(documents.as_ref(), &key).await? {
            make(documents, &state, state.raw.by_hour()).await?;
        }
    }
    Ok(())
}

/// Makes pages of these files, or finds them made; the numbers that they name. Whoever did it before may have known fewer files of
/// an hour: what its page leaves gets another one.
async fn make(
    documents: &Arc<dyn Documents>,
    state: &ShardState,
    hours: Vec<(Hour, Vec<RawFile>)>,
) -> Result<BTreeSet<u64>, Failure> {
    let mut numbers = BTreeSet::new();
    for (hour, mut files) in hours {
        while let Some(first) = files.first().map(|file| file.number) {
            let key = names::raw_page(&state.stream, &state.shard, hour, first);
            let (stream, shard) = (state.stream.clone(), state.shard.clone());
            let page = RawPage { stream, shard, hour, files: files.clone() };
            let page = made(Cell::load(documents.clone(), key).await?, page).await?;
            numbers.extend(page.files.iter().map(|file| file.number));
            files = left_by(&page.files, files);
        }
    }
    Ok(numbers)
}

/// The page as it is: this one, or the one that was there.
async fn made(mut cell: Cell<RawPage>, page: RawPage) -> Result<RawPage, Failure> {
    if let Some(there) = cell.state() {
        return Ok(there.clone());
    }
    match cell.replace(page.clone()).await {
        Ok(()) => Ok(page),
        Err(failure) if failure.class == Class::Fenced => cell.state().cloned().ok_or(failure),
        Err(failure) => Err(failure),
    }
}

/// The pages of `stream`, or of all, of the hours that `wanted` takes. Others are not read.
///
/// # Errors
/// What the store raises.
pub async fn read(
    documents: &dyn Documents,
    stream: Option<&str>,
    wanted: impl Fn(Hour) -> bool,
) -> Result<Vec<RawPage>, Failure> {
    let prefix = stream.map_or_else(|| names::RAW.to_owned(), |stream| format!("{}{stream}/", names::RAW));
    let mut keys: Vec<String> = documents.list(&prefix).await?.into_iter().map(|(key, _)| key).collect();
    // One whose name is not understood is read, and judged by what it says.
    keys.retain(|key| hour_of(key).is_none_or(&wanted));
    let reads = keys.into_iter().map(|key| async move { cell::read::<RawPage>(documents, &key).await });
    let pages: Vec<Option<RawPage>> = futures::stream::iter(reads).buffered(TOGETHER).try_collect().await?;
    Ok(pages.into_iter().flatten().filter(|page| wanted(page.hour)).collect())
}

/// The names of all pages there are: they are many, and who goes through all of them reads one at a time.
///
/// # Errors
/// What the store raises.
pub async fn keys(documents: &dyn Documents) -> Result<Vec<String>, Failure> {
    Ok(documents.list(names::RAW).await?.into_iter().map(|(key, _)| key).collect())
}

/// The pages of one hour of a shard.
///
/// # Errors
/// What the store raises.
pub async fn of(
    documents: &dyn Documents,
    (stream, shard): (&str, &str),
    hour: Hour,
) -> Result<Vec<RawPage>, Failure> {
    let mut pages = Vec::new();
    for (key, _) in documents.list(&format!("{}{stream}/{shard}/{hour}/", names::RAW)).await? {
        pages.extend(cell::read::<RawPage>(documents, &key).await?);
    }
    Ok(pages)
}

/// The hour in a page's name.
fn hour_of(key: &str) -> Option<Hour> {
    key.rsplit('/').nth(1)?.parse().ok()
}
