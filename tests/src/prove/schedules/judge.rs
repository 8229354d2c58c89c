//! What must never happen, checked at every write as the store takes it in, and at every send to a third party.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shardmill_cluster::membership::{self, NodeState};
use shardmill_cluster::{NodeId, Owned, Ownership, Plan, cell, leader, plan};

use super::store::Version;

/// The documents of work begin with this.
pub(super) const WORK: &str = "shards/";

/// The document of a piece of work: as a shard's, with batches in place of records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) ownership: Ownership,
    /// Everything before this is committed.
    pub(super) position: u64,
    /// The last commit.
    pub(super) last: Option<Commit>,
}

/// A commit: where it began, and a name that no other has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) from: u64,
    pub(super) name: String,
}

impl Owned for Work {
    fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.ownership
    }
}

/// What was exercised, and how often.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures(pub(super) BTreeMap<&'static str, u64>);

impl Figures {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Figures) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }
}

/// The leader's document, as anybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Leader {
    pub(super) term: u64,
    pub(super) node: Option<NodeId>,
}

/// Judges one schedule.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) figures: Figures,
    /// The first thing that must not happen.
    pub(super) violation: Option<String>,
    /// Whatever goes wrong hits all alike: no reason to declare anybody dead.
    pub(super) nobody_dies: bool,
    /// Who has owned a piece of work in an epoch.
    owners: BTreeMap<(String, u64), NodeId>,
    /// All commits of a piece of work.
    commits: BTreeMap<String, BTreeSet<Commit>>,
    /// Who has led in a term.
    leaders: BTreeMap<u64, NodeId>,
    /// Nodes whose documents were removed: one that appears again is an old write that has landed late.
    removed: BTreeSet<NodeId>,
}

type Documents = BTreeMap<String, Version>;

fn state<T: serde::de::DeserializeOwned>(documents: &Documents, key: &str) -> Option<T> {
    cell::decode(key, &documents.get(key)?.body).ok()
}

impl Judge {
    pub(super) fn wrong(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong(what());
        }
    }

    /// Whether a node has left, or was declared dead.
    fn is_dead(&self, documents: &Documents, node: &NodeId) -> bool {
        let state = state::<NodeState>(documents, &membership::key(node));
        self.removed.contains(node) || state.is_none_or(|state| state.dead)
    }

    /// A document is about to be deleted.
    pub(super) fn deleted(&mut self, documents: &Documents, key: &str, by: &NodeId) {
        let node = key.strip_prefix(membership::PREFIX).map(NodeId::from);
        let may = node.as_ref().is_some_and(|node| node == by || self.is_dead(documents, node));
        self.must(may, || format!("{by} deleted {key}"));
        if node.as_ref() == Some(by) {
            self.figures.count("nodes that left");
        }
        self.removed.extend(node);
    }

    /// A write is about to be done.
    pub(super) fn written(&mut self, documents: &Documents, key: &str, version: &Version) {
        if key.starts_with(WORK) {
            self.work_written(documents, key, version);
        } else if key.starts_with(membership::PREFIX) {
            self.node_written(documents, key, version);
        } else if key == leader::KEY {
            self.leader_written(documents, version);
        } else if key == plan::KEY {
            self.plan_written(documents, version);
        }
    }

    /// A write is refused.
    pub(super) fn refused(&mut self, documents: &Documents, key: &str, body: &[u8]) {
        let older_plan =
            || Some(cell::decode::<Plan>(key, body).ok()?.term < state::<Plan>(documents, key)?.term);
        let epoch = |work: Work| work.ownership.epoch;
        let older_work = || Some(epoch(cell::decode(key, body).ok()?) < epoch(state(documents, key)?));
        if key == plan::KEY && older_plan() == Some(true) {
            self.figures.count("plans of an older term refused");
        }
        if key.starts_with(WORK) && older_work() == Some(true) {
            self.figures.count("writes of an older epoch refused");
        }
    }

    fn node_written(&mut self, documents: &Documents, key: &str, version: &Version) {
        let by = &version.by;
        let Ok(new) = cell::decode::<NodeState>(key, &version.body) else {
            return self.wrong(format!("{key} is not what it was"));
        };
        let old = state::<NodeState>(documents, key);
        let (node, was_dead) = (&new.node, old.as_ref().is_some_and(|old| old.dead));
        if node == by {
            return self.must(!new.dead && !was_dead, || format!("{by} renewed, and it was dead"));
        }
        self.must(new.dead && !was_dead, || format!("{by} wrote {key} for another reason than death"));
        let same = old.is_some_and(|old| old.counter == new.counter);
        self.must(same, || format!("{by} declared {node} dead, which has renewed"));
        self.must(!self.nobody_dies, || format!("{by} declared {node} dead, and all were hit alike"));
        self.figures.count("nodes declared dead");
    }

    fn work_written(&mut self, documents: &Documents, key: &str, version: &Version) {
        let by = &version.by;
        let (Some(old), Ok(new)) = (state::<Work>(documents, key), cell::decode::<Work>(key, &version.body))
        else {
            return self.wrong(format!("{key} is not what it was"));
        };
        let (was, is) = (&old.ownership, &new.ownership);
        let told = || format!("{key} by {by}: {old:?} became {new:?}");
        if is.epoch == was.epoch {
            self.must(was.owner.as_ref() == Some(by), || {
                format!("written by who does not own it: {}", told())
            });
            self.must(is.owner.is_none() || is.owner == was.owner, || {
                format!("owner without epoch: {}", told())
            });
        } else {
            let free = was.owner.as_ref().is_none_or(|owner| owner == by || self.is_dead(documents, owner));
            self.must(is.epoch == was.epoch + 1 && is.owner.as_ref() == Some(by), || {
                format!("epoch: {}", told())
            });
            self.must(free, || format!("taken from a living node: {}", told()));
            let before = self.owners.insert((key.to_owned(), is.epoch), by.clone());
            self.must(before.is_none(), || format!("a second owner of an epoch: {}", told()));
            self.must(new.position == old.position && new.last == old.last, || format!("a take: {}", told()));
            self.figures.count("takes");
            if was.owner.as_ref().is_some_and(|owner| owner != by) {
                self.figures.count("takeovers from the dead");
            }
        }
        if is.owner.is_none() {
            self.figures.count("releases");
        }
        if new.last != old.last {
            let Some(commit) = new.last.clone() else { return self.wrong(format!("forgotten: {}", told())) };
            self.must(commit.from == old.position && new.position > old.position, || {
                format!("a commit from elsewhere: {}", told())
            });
            let fresh = self.commits.entry(key.to_owned()).or_default().insert(commit);
            self.must(fresh, || format!("committed twice: {}", told()));
            self.figures.count("commits");
        }
        self.must(new.position >= old.position, || format!("a position went back: {}", told()));
    }

    fn leader_written(&mut self, documents: &Documents, version: &Version) {
        let old = state::<Leader>(documents, leader::KEY).unwrap_or_default();
        let Ok(new) = cell::decode::<Leader>(leader::KEY, &version.body) else {
            return self.wrong("the leader's document is not what it was".into());
        };
        let by = &version.by;
        let told = || format!("leader by {by}: {old:?} became {new:?}");
        if new.term == old.term {
            self.must(new.node.is_none() && old.node.as_ref() == Some(by), || format!("release: {}", told()));
            return;
        }
        let free = old.node.as_ref().is_none_or(|node| node == by || self.is_dead(documents, node));
        self.must(free && new.term == old.term + 1 && new.node.as_ref() == Some(by), told);
        let before = self.leaders.insert(new.term, by.clone());
        self.must(before.is_none(), || format!("a second leader of term {}", new.term));
        self.figures.count("terms");
    }

    fn plan_written(&mut self, documents: &Documents, version: &Version) {
        let old = state::<Plan>(documents, plan::KEY).unwrap_or_default();
        let Ok(new) = cell::decode::<Plan>(plan::KEY, &version.body) else {
            return self.wrong("the plan is not what it was".into());
        };
        let leads = self.leaders.get(&new.term) == Some(&version.by);
        self.must(leads && new.leader.as_ref() == Some(&version.by), || {
            format!("{} planned in term {}, which is not its own", version.by, new.term)
        });
        self.must(new.term >= old.term, || {
            format!("the plan went back from term {} to {}", old.term, new.term)
        });
        self.figures.count("plans");
    }

    /// `node` begins a request to a third party, as the owner of `key` in `epoch`.
    pub(super) fn sent(&mut self, documents: &Documents, key: &str, node: &NodeId, epoch: u64) {
        let now = state::<Work>(documents, key).unwrap_or_default().ownership;
        self.must(now.epoch == epoch && now.owner.as_ref() == Some(node), || {
            format!("{node} sent as the owner of {key} in epoch {epoch}, and it was {now:?}")
        });
        self.must(!self.is_dead(documents, node), || {
            format!("{node} sent as the owner of {key} in epoch {epoch}, and it was dead")
        });
        self.figures.count("sends");
    }

    /// `node` was told that `commit` is done.
    pub(super) fn acknowledged(&mut self, key: &str, commit: &Commit) {
        let there = self.commits.get(key).is_some_and(|commits| commits.contains(commit));
        self.must(there, || format!("{commit:?} of {key} was acknowledged and is not there"));
    }

    /// `node` was fenced at `key`, which it owned in `epoch`.
    pub(super) fn fenced(&mut self, documents: &Documents, key: &str, node: &NodeId, epoch: u64) {
        let now = state::<Work>(documents, key).unwrap_or_default().ownership;
        self.must(now.epoch > epoch, || {
            format!("{node} was fenced at {key} in epoch {epoch} by nobody: {now:?}")
        });
        self.figures.count("fenced owners");
    }

    /// `node`, which led in `term`, was told that it does not any more.
    pub(super) fn deposed(&mut self, documents: &Documents, node: &NodeId, term: u64) {
        let now = state::<Leader>(documents, leader::KEY).unwrap_or_default();
        self.must(now.term > term, || format!("{node} was deposed in term {term} by nobody: {now:?}"));
        self.figures.count("leaders deposed");
    }

    /// `node` has learned that it is dead.
    pub(super) fn buried(&mut self, documents: &Documents, node: &NodeId) {
        self.must(self.is_dead(documents, node), || {
            format!("{node} believes to be dead, and nobody has said so")
        });
        self.figures.count("nodes that learned of their death");
    }
}
