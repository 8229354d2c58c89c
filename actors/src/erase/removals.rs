//! What an erasure replaces: announced before anything names what comes instead, and removed once nothing names it any more.
//!
//! Objects never change: one without the person is another one. Whoever names the old one is changed by a compare-and-set that
//! only puts the new one in its place. So both are announced first, in a document of the erasure. When nothing names the old
//! one, nothing ever will, nor a new one that was made for it and is not named by then, whichever attempt has made it: those go,
//! then their announcement. An erasure that was killed in between leaves no object that nobody knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout::documents as names;
use shardmill_connectors::ports::Documents;
use tokio::sync::Mutex;

use crate::dead_letters::hand_over;
use crate::shared::Ports;
use crate::sweeper;

/// Objects that go together, and those that come for them. Of each the first is what documents name, the others are named in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    pub(crate) old: Vec<String>,
    /// None when nothing is left of the old ones.
    pub(crate) new: Vec<String>,
}

/// The document of what an erasure has announced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Announced {
    removals: Vec<Removal>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Removals {
    documents: Arc<dyn Documents>,
    key: String,
    cell: Mutex<Option<Cell<Announced>>>,
}

impl Removals {
    /// Those of the erasure `id`. Nothing is read yet.
    pub(crate) fn of(documents: &Arc<dyn Documents>, id: &str) -> Self {
        Removals { documents: documents.clone(), key: names::erasing(id), cell: Mutex::default() }
    }

    /// Announces durably what will be replaced, before any of the new objects is there.
    ///
    /// # Errors
    /// What the store raises; `Transient` when somebody erases in the same words at this moment.
    pub(crate) async fn announce(&self, removals: Vec<Removal>) -> Result<(), Failure> {
        self.change(|announced| announced.removals.extend(removals)).await
    }

    async fn change(&self, change: impl FnOnce(&mut Announced)) -> Result<(), Failure> {
        let mut cell = self.cell.lock().await;
        let cell = match &mut *cell {
            Some(cell) => cell,
            empty => empty.insert(Cell::load(self.documents.clone(), self.key.clone()).await?),
        };
        let mut next = cell.state().cloned().unwrap_or_default();
        change(&mut next);
        cell.replace(next).await.map_err(|failure| match failure.class {
            Class::Fenced => {
                Failure::transient("somebody erases in the same words at this moment: run it again")
            }
            _ => failure,
        })
    }

    /// Deletes what nothing names any more of all that was announced, by this run or one before; how many objects. What is still
    /// named stays announced.
    ///
    /// # Errors
    /// What the stores raise.
    pub(crate) async fn settle(&self, ports: &Ports) -> Result<u64, Failure> {
        let Some(announced) = cell::read::<Announced>(self.documents.as_ref(), &self.key).await? else {
            return Ok(0);
        };
        if announced.removals.is_empty() {
            self.close().await?;
            return Ok(0);
        }
        let listed = sweeper::survey(ports).await?.listed;
        let mut dead = BTreeSet::new();
        let mut settled = Vec::new();
        for removal in announced.removals {
            if let Some(unnamed) = removal.unnamed(&listed) {
                dead.extend(unnamed.into_iter().cloned());
                settled.push(removal);
            }
        }
        for key in &dead {
            ports.objects.delete(key).await?;
            if let Some(heirs) = heirs(key, &settled, &dead) {
                hand_over(ports, key, &heirs).await?;
            }
        }
        self.change(|announced| announced.removals.retain(|removal| !settled.contains(removal))).await?;
        self.close().await?;
        Ok(dead.len() as u64)
    }

    /// Deletes the document when nothing is announced in it: who looks for what is announced reads every one there is.
    async fn close(&self) -> Result<(), Failure> {
        let mut cell = self.cell.lock().await;
        let Some(document) = self.documents.read(&self.key).await? else { return Ok(()) };
        let announced: Announced = cell::decode(&self.key, &document.body)?;
        if announced.removals.is_empty() {
            // Somebody who announces something at this moment has the newer state, which stays.
            self.documents.delete(&self.key, &document.tag).await?;
            *cell = None;
        }
        Ok(())
    }
}

impl Removal {
    /// One object for another.
    pub(crate) fn one(old: &str, new: &str) -> Self {
        Removal { old: vec![old.to_owned()], new: vec![new.to_owned()] }
    }

    /// The objects that nothing will ever name again; none can be told while the old ones are named.
    fn unnamed(&self, listed: &BTreeSet<String>) -> Option<Vec<&String>> {
        let is_named = |keys: &[String]| keys.first().is_some_and(|key| listed.contains(key));
        let new: &[String] = if is_named(&self.new) { &[] } else { &self.new };
        (!is_named(&self.old)).then(|| self.old.iter().chain(new).collect())
    }
}

/// What has come for a dead object and is there; `None` when nobody can say whether something has: what is settled of its letters
/// is not forgotten then.
fn heirs<'r>(key: &str, settled: &'r [Removal], dead: &BTreeSet<String>) -> Option<BTreeSet<&'r String>> {
    let replaced: Vec<&Removal> =
        settled.iter().filter(|removal| removal.old.iter().any(|old| old == key)).collect();
    let new: BTreeSet<&String> = replaced.iter().flat_map(|removal| &removal.new).collect();
    let all_is_out = !replaced.is_empty() && new.is_empty();
    let heirs: BTreeSet<&String> = new.into_iter().filter(|new| !dead.contains(*new)).collect();
    (all_is_out || !heirs.is_empty()).then_some(heirs)
}

/// Every object that an erasure has announced and not settled: nobody else removes it.
///
/// # Errors
/// What the store raises.
pub(crate) async fn announced(documents: &dyn Documents) -> Result<BTreeSet<String>, Failure> {
    let mut keys = BTreeSet::new();
    for (key, _) in documents.list(names::ERASING).await? {
        let announced: Option<Announced> = cell::read(documents, &key).await?;
        let removals = announced.into_iter().flat_map(|announced| announced.removals);
        keys.extend(removals.flat_map(|removal| removal.old.into_iter().chain(removal.new)));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_document_that_announces_nothing_goes() {
        let folder = tempfile::tempdir().unwrap();
        let ports = crate::testing::stores(folder.path());
        let removals = Removals::of(&ports.documents, "e");
        for object in ["a", "b"] {
            removals.announce(vec![Removal::one(object, "new")]).await.unwrap();
            assert!(announced(ports.documents.as_ref()).await.unwrap().contains(object));
            removals.settle(&ports).await.unwrap();
            assert!(ports.documents.list(names::ERASING).await.unwrap().is_empty());
        }
        // One of before, that has stayed empty.
        removals.change(|_| {}).await.unwrap();
        removals.settle(&ports).await.unwrap();
        assert!(ports.documents.list(names::ERASING).await.unwrap().is_empty());
    }

    #[test]
    fn what_is_named_stays_and_the_others_go_once_the_old_one_is_not_named() {
        let removal = Removal { old: vec!["o".into(), "o2".into()], new: vec!["n".into(), "n2".into()] };
        let listed = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<BTreeSet<String>>();
        let unnamed = |keys: &[&str]| {
            removal.unnamed(&listed(keys)).map(|keys| keys.into_iter().map(|key| &**key).collect::<String>())
        };
        assert_eq!(unnamed(&["o"]), None);
        assert_eq!(unnamed(&["o", "n"]), None, "something still has to name the new one");
        assert_eq!(unnamed(&["n"]).as_deref(), Some("oo2"));
        assert_eq!(unnamed(&[]).as_deref(), Some("oo2nn2"), "another attempt has won");
        let all = Removal { old: vec!["o".into()], new: Vec::new() };
        assert_eq!(all.unnamed(&listed(&["x"])).unwrap(), ["o"]);
    }

    #[test]
    fn what_is_settled_is_handed_to_what_is_there_or_kept() {
        let settled = [
            Removal::one("o", "n"),
            Removal::one("o", "m"),
            Removal { old: vec!["all".into()], new: vec![] },
        ];
        let heirs = |key: &str, dead: &[&str]| {
            let dead = dead.iter().map(|&key| key.to_owned()).collect();
            super::heirs(key, &settled, &dead)
                .map(|heirs| heirs.into_iter().map(|key| &**key).collect::<String>())
        };
        assert_eq!(heirs("o", &["o", "n"]).as_deref(), Some("m"));
        assert_eq!(heirs("all", &["all"]).as_deref(), Some(""));
        assert_eq!(heirs("o", &["o", "n", "m"]), None, "others have replaced both");
        assert_eq!(heirs("n", &["n"]), None);
    }
}
