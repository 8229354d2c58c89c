//! One document, and the rules that make changing it safe when replies are lost.
//!
//! The stored body carries a version that grows by one and a random write id. A conditional write is never blindly
//! repeated: after a conflict or an unknown outcome the document is read back. My write id is there: it was done. The
//! version I started from is still there: the same bytes may be sent again. Anything else: the race is lost, and whoever
//! owned the document through this cell is fenced.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::{Documents, Tag, Written};
use uuid::Uuid;

/// How often the same bytes are sent within one call before the outcome is left to the caller's strategy.
const SENDS: usize = 3;

/// What is stored: the state, and what tells one write from another.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored<T> {
    version: u64,
    write: String,
    state: T,
}

#[derive(Debug, Clone)]
struct Known<T> {
    tag: Tag,
    stored: Stored<T>,
}

/// A write whose outcome is not known yet.
#[derive(Debug, Clone)]
struct Pending<T> {
    bytes: Bytes,
    stored: Stored<T>,
    /// The state it replaces: its tag and write id; `None` when it creates the document. Kept apart from what is known now,
    /// which may have been read since: the write must never land on anything else.
    base: Option<(Tag, String)>,
}

/// What [`Cell::settle`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// No write was pending.
    Nothing,
    /// The pending write had been done, or was done now.
    Done,
}

/// A document with the last state known of it. Dropping a call in the middle loses nothing: the write stays pending and
/// the next call settles it first.
pub struct Cell<T> {
    documents: Arc<dyn Documents>,
    key: String,
    known: Option<Known<T>>,
    pending: Option<Pending<T>>,
}

impl<T: fmt::Debug> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("key", &self.key).field("known", &self.known).finish_non_exhaustive()
    }
}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync> Cell<T> {
    /// Reads the document; it need not exist.
    pub async fn load(documents: Arc<dyn Documents>, key: impl Into<String>) -> Result<Self, Failure> {
        let mut cell = Cell { documents, key: key.into(), known: None, pending: None };
        cell.refresh().await?;
        Ok(cell)
    }

    /// The document's name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The last state known to be durable; `None` when the document does not exist.
    pub fn state(&self) -> Option<&T> {
        self.known.as_ref().map(|known| &known.stored.state)
    }

    /// The version of [`Cell::state`]; 0 when the document does not exist.
    pub fn version(&self) -> u64 {
        self.known.as_ref().map_or(0, |known| known.stored.version)
    }

    /// Reads the newest state, forgetting what was known. A pending write stays pending, on the state it was made from.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        self.known = self.fetch().await?;
        Ok(())
    }

    /// Replaces the known state by `next` (creates the document when it does not exist).
    ///
    /// # Errors
    /// `Fenced` when somebody else changed the document. Any other class: the outcome is unknown, the write is pending, and
    /// [`Cell::settle`] must succeed before anything else is written.
    pub async fn replace(&mut self, next: T) -> Result<(), Failure> {
        self.settle().await?;
        let stored =
            Stored { version: self.version() + 1, write: Uuid::new_v4().simple().to_string(), state: next };
        let bytes = serde_json::to_vec(&stored).map_err(|error| {
            Failure::crashed(format!("document {} cannot be written as JSON: {error}", self.key))
        })?;
        let base = self.known.as_ref().map(|known| (known.tag.clone(), known.stored.write.clone()));
        self.pending = Some(Pending { bytes: bytes.into(), stored, base });
        self.settle().await.map(|_| ())
    }

    /// Whether a write is pending, its outcome unknown.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Brings a pending write to its end: done, or lost to somebody else (`Fenced`).
    pub async fn settle(&mut self) -> Result<Settled, Failure> {
        let Some(pending) = self.pending.clone() else { return Ok(Settled::Nothing) };
        let mut last = None;
        for _ in 0..SENDS {
            let expected = pending.base.as_ref().map(|(tag, _)| tag);
            match self.documents.write(&self.key, pending.bytes.clone(), expected).await {
                Ok(Written::Done(tag)) => return Ok(self.done(tag, pending.stored)),
                Ok(Written::Conflict) => {}
                // Not done, and not to be asked again at once: the write stays pending.
                Err(failure) if matches!(failure.class, Class::Unauthorized | Class::Throttled) => {
                    return Err(failure);
                }
                Err(failure) => last = Some(failure),
            }
            let found = self.fetch().await?;
            match found {
                Some(known) if known.stored.write == pending.stored.write => {
                    return Ok(self.done(known.tag, pending.stored));
                }
                // By the write, not by the version: a document that was deleted and made again counts from one.
                found if is_at(&found, pending.base.as_ref()) => self.known = found,
                found => return Err(self.fenced(found)),
            }
        }
        Err(last.unwrap_or_else(|| {
            Failure::transient(format!("document {}: the store keeps refusing an unchanged base", self.key))
        }))
    }

    fn done(&mut self, tag: Tag, stored: Stored<T>) -> Settled {
        self.known = Some(Known { tag, stored });
        self.pending = None;
        Settled::Done
    }

    fn fenced(&mut self, found: Option<Known<T>>) -> Failure {
        let detail = format!(
            "document {} was changed by somebody else: version {} where {} was expected",
            self.key,
            version_of(&found),
            self.pending.as_ref().map_or(0, |pending| pending.stored.version - 1)
        );
        self.known = found;
        self.pending = None;
        Failure::fenced(detail)
    }

    async fn fetch(&self) -> Result<Option<Known<T>>, Failure> {
        let Some(document) = self.documents.read(&self.key).await? else { return Ok(None) };
        let stored = serde_json::from_slice(&document.body).map_err(|error| {
            Failure::unauthorized(format!(
                "document {} cannot be understood ({error}): it was written by something else or by a newer version",
                self.key
            ))
        })?;
        Ok(Some(Known { tag: document.tag, stored }))
    }
}

/// Whether what was found is still the state that a write was made from.
fn is_at<T>(found: &Option<Known<T>>, base: Option<&(Tag, String)>) -> bool {
    match (found, base) {
        (None, None) => true,
        (Some(found), Some((_, write))) => found.stored.write == *write,
        _ => false,
    }
}

fn version_of<T>(known: &Option<Known<T>>) -> u64 {
    known.as_ref().map_or(0, |known| known.stored.version)
}

/// Reads a state without keeping a cell.
pub async fn read<T>(documents: &dyn Documents, key: &str) -> Result<Option<T>, Failure>
where
    T: DeserializeOwned,
{
    let Some(document) = documents.read(key).await? else { return Ok(None) };
    decode(key, &document.body).map(Some)
}

/// The state in a stored body.
pub fn decode<T: DeserializeOwned>(key: &str, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice::<Stored<T>>(body)
        .map(|stored| stored.state)
        .map_err(|error| Failure::unauthorized(format!("document {key} cannot be understood ({error})")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use proptest::prelude::*;
    use shardmill_connectors::ports::Document;

    use super::*;

    /// What a call to the store does besides (or instead of) its work.
    #[derive(Debug, Clone, Copy)]
    enum Fault {
        None,
        LostRequest,
        LostReply,
        Spurious409,
    }

    #[derive(Debug, Default)]
    struct Faulty {
        documents: Mutex<HashMap<String, (u64, Bytes)>>,
        faults: Mutex<Vec<Fault>>,
        tags: Mutex<u64>,
    }

    #[async_trait]
    impl Documents for Faulty {
        async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
            let documents = self.documents.lock().unwrap();
            Ok(documents
                .get(key)
                .map(|(tag, body)| Document { body: body.clone(), tag: Tag(tag.to_string()) }))
        }

        async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
            let fault = self.faults.lock().unwrap().pop().unwrap_or(Fault::None);
            match fault {
                Fault::LostRequest => return Err(Failure::transient("lost request")),
                Fault::Spurious409 => return Ok(Written::Conflict),
                Fault::None | Fault::LostReply => {}
            }
            let mut documents = self.documents.lock().unwrap();
            let present = documents.get(key).map(|(tag, _)| Tag(tag.to_string()));
            if present.as_ref() != expected {
                return Ok(Written::Conflict);
            }
            let mut tags = self.tags.lock().unwrap();
            *tags += 1;
            documents.insert(key.to_owned(), (*tags, body));
            match fault {
                Fault::LostReply => Err(Failure::transient("lost reply")),
                _ => Ok(Written::Done(Tag(tags.to_string()))),
            }
        }

        async fn delete(&self, _: &str, _: &Tag) -> Result<Written, Failure> {
            Ok(Written::Conflict)
        }

        async fn list(&self, _: &str) -> Result<Vec<(String, Tag)>, Failure> {
            Ok(Vec::new())
        }
    }

    fn fault() -> impl Strategy<Value = Fault> {
        prop_oneof![
            4 => Just(Fault::None),
            1 => Just(Fault::LostRequest),
            1 => Just(Fault::LostReply),
            1 => Just(Fault::Spurious409),
        ]
    }

    proptest! {
        /// Two writers count up through a store that loses requests and replies: every success is one count, no count is
        /// taken twice, and nobody is fenced by its own lost reply.
        #[test]
        fn every_success_counts_once(faults in proptest::collection::vec(fault(), 0..60), turns in proptest::collection::vec(any::<bool>(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let store = Arc::new(Faulty::default());
                *store.faults.lock().unwrap() = faults;
                let mut cells: Vec<Cell<u64>> = Vec::new();
                for _ in 0..2 {
                    cells.push(Cell::load(store.clone() as Arc<dyn Documents>, "count").await.unwrap());
                }
                let mut successes = 0u64;
                for second in turns {
                    let cell = &mut cells[usize::from(second)];
                    loop {
                        let attempt = match cell.is_pending() {
                            true => cell.settle().await.map(|_| ()),
                            false => { let next = cell.state().copied().unwrap_or(0) + 1; cell.replace(next).await }
                        };
                        match attempt {
                            Ok(()) => { successes += 1; break; }
                            // Fenced by the other writer: the cell now knows the newer state and tries from there.
                            Err(failure) => assert!(matches!(failure.class, Class::Fenced | Class::Transient)),
                        }
                    }
                }
                let total: u64 = read(store.as_ref(), "count").await.unwrap().unwrap_or(0);
                assert_eq!(total, successes);
            });
        }

        /// Reading anew while a write is pending does not let it land on what somebody else wrote meanwhile.
        #[test]
        fn a_pending_write_lands_on_its_base_or_not_at_all(reply in any::<bool>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let store = Arc::new(Faulty::default());
                let load = || Cell::<u64>::load(store.clone() as Arc<dyn Documents>, "one");
                let (mut first, mut second) = (load().await.unwrap(), load().await.unwrap());
                *store.faults.lock().unwrap() = vec![if reply { Fault::LostReply } else { Fault::LostRequest }; SENDS];
                let outcome = first.replace(1).await;
                store.faults.lock().unwrap().clear();
                second.refresh().await.unwrap();
                second.replace(2).await.unwrap();
                first.refresh().await.unwrap();
                let settled = first.settle().await;
                assert_eq!(settled.map_err(|failure| failure.class), if reply { Ok(Settled::Nothing) } else { Err(Class::Fenced) });
                assert_eq!(outcome.is_ok(), reply);
                assert_eq!((first.state(), first.version()), (Some(&2), second.version()));
            });
        }

        /// A single writer is never fenced, whatever is lost.
        #[test]
        fn a_lost_reply_never_fences_its_own_writer(faults in proptest::collection::vec(fault(), 0..30)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let store = Arc::new(Faulty::default());
                *store.faults.lock().unwrap() = faults;
                let mut cell: Cell<u64> = Cell::load(store.clone() as Arc<dyn Documents>, "mine").await.unwrap();
                for next in 1..10u64 {
                    let mut outcome = cell.replace(next).await;
                    while let Err(failure) = outcome {
                        assert_eq!(failure.class, Class::Transient);
                        outcome = cell.settle().await.map(|_| ());
                    }
                    assert_eq!(cell.state(), Some(&next));
                    assert_eq!(cell.version(), next);
                }
            });
        }
    }
}
