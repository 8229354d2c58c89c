//! What a schedule knows of files: a fixed number of documents, each with the files whose URLs fall to it.
//!
//! Whoever owned the schedule before may still write once: what it says of rows is true, so that is read and added to. Who
//! finds a newer epoch has lost the schedule.

use std::sync::Arc;

use shardmill_cluster::Cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout::documents;
use shardmill_connectors::ports::Documents;
use tokio::sync::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::desk::Totals;
use super::plan::swept;
use crate::state::SchedulePage;
use crate::state::schedule::FileRecord;

/// Documents of one schedule.
const PAGES: usize = 32;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Books {
    epoch: u64,
    pages: Mutex<Vec<Cell<SchedulePage>>>,
}

/// What tells one URL from another.
pub(super) fn number(url: &str) -> u64 {
    xxh3_64(url.as_bytes())
}

fn page_of(url: &str) -> usize {
    usize::try_from(number(url) % PAGES as u64).unwrap_or_default()
}

impl Books {
    /// Reads what is known of the files of the schedule `name`, for its owner in `epoch`.
    pub(super) async fn open(documents: Arc<dyn Documents>, name: &str, epoch: u64) -> Result<Self, Failure> {
        let mut pages = Vec::with_capacity(PAGES);
        for page in 0..PAGES {
            pages.push(Cell::load(documents.clone(), documents::scheduled(name, page)).await?);
        }
        Ok(Books { epoch, pages: Mutex::new(pages) })
    }

    /// All files counted.
    pub(super) async fn totals(&self) -> Totals {
        let pages = self.pages.lock().await;
        let mut totals = Totals::default();
        let files = pages.iter().filter_map(|page| page.state()).flat_map(|page| page.files.values());
        files.for_each(|record| totals.add(record));
        totals
    }

    /// What is known of a file.
    pub(super) async fn get(&self, url: &str) -> Option<FileRecord> {
        let pages = self.pages.lock().await;
        pages.get(page_of(url))?.state()?.files.get(url).cloned()
    }

    /// Writes down what has become of a file.
    ///
    /// # Errors
    /// `Fenced` when the schedule is another node's, and what the documents raise.
    pub(super) async fn set(&self, url: &str, record: &FileRecord) -> Result<(), Failure> {
        let mut pages = self.pages.lock().await;
        let Some(cell) = pages.get_mut(page_of(url)) else { return Ok(()) };
        self.change(cell, |page| {
            let mut next = page.clone();
            next.files.insert(url.to_owned(), record.clone());
            next
        })
        .await
    }

    /// After a whole listing: what it did not show for long is forgotten.
    ///
    /// # Errors
    /// As [`Books::set`].
    pub(super) async fn sweep(
        &self,
        shown: &(dyn Fn(&str) -> bool + Sync),
        now: Millis,
    ) -> Result<(), Failure> {
        for cell in self.pages.lock().await.iter_mut() {
            self.change(cell, |page| swept(page, shown, now)).await?;
        }
        Ok(())
    }

    async fn change(
        &self,
        cell: &mut Cell<SchedulePage>,
        change: impl Fn(&SchedulePage) -> SchedulePage,
    ) -> Result<(), Failure> {
        loop {
            // A write that was under way and lost to another's is made anew on that.
            match cell.settle().await {
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => _ = outcome?,
            }
            let known = cell.state().cloned().unwrap_or_default();
            if known.epoch > self.epoch {
                return Err(Failure::fenced("the schedule is another node's"));
            }
            let next = change(&known);
            if next == known {
                return Ok(());
            }
            match cell.replace(SchedulePage { epoch: self.epoch, ..next }).await {
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => return outcome,
            }
        }
    }
}
