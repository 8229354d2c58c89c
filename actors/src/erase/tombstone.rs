//! The documents of erasures: written before anything is erased, read by every door that something could come back through.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::erasure::{Erasures, Seal, Wanted};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout::documents as names;
use shardmill_connectors::ports::{Documents, Tag};
use uuid::Uuid;

use crate::dead_letters::Letter;

/// Documents read at once.
const TOGETHER: usize = 16;

/// The document of one erasure. It stays for ever: what it is about may come back from any copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Its name.
    pub id: String,
    /// Events that arrived before this moment are erased.
    pub at: Millis,
    /// Whose.
    pub seal: Seal,
}

impl Erasure {
    /// An erasure of what has arrived until now.
    pub fn new(seal: Seal) -> Self {
        Erasure { id: Uuid::new_v4().simple().to_string()[..12].to_owned(), at: Millis::now(), seal }
    }
}

/// Remembers an erasure durably, or moves the moment of the one that was asked for in the same words.
///
/// # Errors
/// What the store raises; `Fenced` when somebody else does the same at this moment.
pub(super) async fn remember(documents: &Arc<dyn Documents>, wanted: &[Wanted]) -> Result<Erasure, Failure> {
    let mut salt = None;
    for (key, _) in documents.list(names::ERASURES).await? {
        let mut cell: Cell<Erasure> = Cell::load(documents.clone(), key).await?;
        let Some(there) = cell.state().cloned() else { continue };
        if there.seal.is_of(wanted) {
            let (at, seal) = (there.at.max(Millis::now()), there.seal.renewed(wanted));
            let next = Erasure { at, seal, ..there };
            cell.replace(next.clone()).await?;
            return Ok(next);
        }
        salt.get_or_insert_with(|| there.seal.salt().to_owned());
    }
    let salt = salt.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let erasure = Erasure::new(Seal::of(&salt, wanted));
    let mut cell: Cell<Erasure> = Cell::load(documents.clone(), names::erasure(&erasure.id)).await?;
    cell.replace(erasure.clone()).await?;
    Ok(erasure)
}

/// Every erasure, as a door asks for them.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    erasures: Arc<Erasures>,
    /// The documents that were read.
    tags: Vec<(String, Tag)>,
}

/// What was read last. Names of erasures are random: those of two stores are not taken for each other.
#[derive(Default)]
struct Last {
    remembered: Remembered,
    documents: HashMap<(String, Tag), Erasure>,
}

static LAST: LazyLock<Mutex<Last>> = LazyLock::new(Mutex::default);

fn last() -> MutexGuard<'static, Last> {
    // Whoever panicked has left a whole one.
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remembered {
    /// Reads those that have not been read yet: there is one for every person, and every door asks.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn load(documents: &dyn Documents) -> Result<Self, Failure> {
        let tags = documents.list(names::ERASURES).await?;
        let mut known = {
            let last = last();
            if last.remembered.tags == tags {
                return Ok(last.remembered.clone());
            }
            let known = tags.iter().filter_map(|tag| Some((tag.clone(), last.documents.get(tag)?.clone())));
            known.collect::<HashMap<_, _>>()
        };
        let unread: Vec<_> = tags.iter().filter(|tag| !known.contains_key(*tag)).cloned().collect();
        let reads = unread.into_iter().map(|tag| async move {
            let erasure: Option<Erasure> = cell::read(documents, &tag.0).await?;
            Ok::<_, Failure>(erasure.map(|erasure| (tag, erasure)))
        });
        let mut reads = futures::stream::iter(reads).buffered(TOGETHER);
        while let Some(read) = reads.next().await {
            known.extend(read?);
        }
        let all = tags.iter().filter_map(|tag| known.get(tag));
        let erasures = Erasures::new(all.map(|erasure| (erasure.seal.clone(), erasure.at)));
        let remembered = Remembered { erasures: Arc::new(erasures), tags };
        *last() = Last { remembered: remembered.clone(), documents: known };
        Ok(remembered)
    }

    /// Reads them again if any has come since.
    ///
    /// # Errors
    /// What the store raises.
    pub(crate) async fn renew(&mut self, documents: &dyn Documents) -> Result<(), Failure> {
        if documents.list(names::ERASURES).await? != self.tags {
            *self = Remembered::load(documents).await?;
        }
        Ok(())
    }

    /// Whether an event that arrived at `arrived_at` must not come back.
    pub fn cover(&self, data: &[u8], key: &str, arrived_at: Millis) -> bool {
        self.erasures.cover(data, key, arrived_at)
    }

    /// Whether a letter must not be shown, sent or redriven. One that stands for a range says nothing of anybody.
    pub fn cover_letter(&self, letter: &Letter) -> bool {
        !self.erasures.is_empty()
            && letter.range.is_none()
            && self.cover(&letter.data().unwrap_or_default(), &letter.key, letter.origin.arrived_at)
    }

    /// Says that nothing was erased since: to be asked before what was asked about is committed.
    ///
    /// # Errors
    /// `Transient` when something was: to be done again from the beginning.
    pub async fn still(&self, documents: &dyn Documents) -> Result<(), Failure> {
        match documents.list(names::ERASURES).await? == self.tags {
            true => Ok(()),
            false => Err(Failure::transient("somebody was erased meanwhile: do it again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use shardmill_connectors::ports::{Document, Written};

    use super::*;
    use crate::testing::stores;

    /// Counts what is read.
    #[derive(Debug)]
    struct Counted(Arc<dyn Documents>, AtomicUsize);

    #[async_trait]
    impl Documents for Counted {
        async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.read(key).await
        }

        async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
            self.0.write(key, body, expected).await
        }

        async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
            self.0.delete(key, expected).await
        }

        async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
            self.0.list(prefix).await
        }
    }

    fn wanted(user: u32) -> [Wanted; 1] {
        [Wanted::parse(&format!("/userId=user-{user}")).unwrap()]
    }

    #[tokio::test]
    async fn what_was_read_is_not_read_again_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let documents = stores(folder.path()).documents;
        for user in 0..20 {
            remember(&documents, &wanted(user)).await.unwrap();
        }
        let event = |user: u32| format!(r#"{{"userId":"user-{user}"}}"#);
        let counted = Counted(documents.clone(), AtomicUsize::new(0));
        let covers =
            |remembered: &Remembered, user: u32| remembered.cover(event(user).as_bytes(), "", Millis(1));
        // Other tests read other stores meanwhile, and what they have read counts for theirs alone.
        let mut least = usize::MAX;
        for user in 20..60 {
            let before = Remembered::load(&counted).await.unwrap();
            assert!((0..user).all(|user| covers(&before, user)) && !covers(&before, user));
            remember(&documents, &wanted(user)).await.unwrap();
            let reads = counted.1.load(Ordering::SeqCst);
            let after = Remembered::load(&counted).await.unwrap();
            assert!((0..=user).all(|user| covers(&after, user)));
            least = least.min(counted.1.load(Ordering::SeqCst) - reads);
        }
        assert_eq!(least, 1, "only the new one");
    }

    #[tokio::test]
    async fn the_same_words_are_found_in_a_document_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let documents = stores(folder.path()).documents;
        let asked = wanted(1);
        // As it was written when nothing was known of columns.
        let first = remember(&documents, &asked).await.unwrap();
        let mut body = serde_json::to_value(&first).unwrap();
        body["seal"]["terms"][0].as_object_mut().unwrap().remove("readings").unwrap();
        let before: Erasure = serde_json::from_value(body).unwrap();
        let mut cell: Cell<Erasure> = Cell::load(documents.clone(), names::erasure(&first.id)).await.unwrap();
        cell.replace(before.clone()).await.unwrap();
        let loaded = Remembered::load(documents.as_ref()).await.unwrap();
        assert!(loaded.cover(br#"{"userId":"user-1"}"#, "", Millis(1)));
        let again = remember(&documents, &asked).await.unwrap();
        assert_eq!((&again.id, &again.seal), (&first.id, &first.seal), "and it is brought up to date");
        assert_eq!(documents.list(names::ERASURES).await.unwrap().len(), 1);
    }
}
