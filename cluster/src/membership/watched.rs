//! What is known of other nodes: who is watched, for how long each has been silent, who is dead. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::about::{About, NodeState, Roster};
use super::watch::{self, Lease, Watch};
use crate::clock::Moment;
use crate::node::NodeId;

/// How long a node is watched after somebody last asked about it.
const INTEREST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Interest {
    /// Somebody asked about it then.
    asked_at: Option<Moment>,
    /// The last list of all nodes has it.
    listed: bool,
    watch: Watch,
    about: Option<About>,
    dead_since: Option<Moment>,
}

impl Interest {
    fn is_wanted(&self, now: Moment) -> bool {
        self.listed || self.asked_at.is_some_and(|at| now.since(at) < INTEREST)
    }
}

/// What reading a node's document has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there, and says that the node lives.
    Alive(NodeState),
    /// The node has left, or somebody has found it dead.
    Dead,
    /// Nobody knows.
    Unknown,
}

/// A node that has been silent for so long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silent {
    pub(super) node: NodeId,
    pub(super) counter: u64,
    pub(super) quiet: Duration,
}

/// The nodes that are watched.
#[derive(Debug, Default)]
pub(super) struct Watched {
    nodes: BTreeMap<NodeId, Interest>,
    /// All nodes have been listed, since they are watched all.
    listed: bool,
}

impl Watched {
    /// Somebody needs to know whether `node` is dead. Says so, and whether it is watched from now on only.
    pub(super) fn ask(&mut self, node: &NodeId, now: Moment) -> (bool, bool) {
        let fresh = !self.nodes.contains_key(node);
        let interest = self.nodes.entry(node.clone()).or_default();
        interest.asked_at = Some(now);
        (interest.dead_since.is_some(), fresh)
    }

    /// Forgets whom nobody asks about; names whom to read.
    pub(super) fn wanted(&mut self, now: Moment) -> Vec<NodeId> {
        self.nodes.retain(|_, interest| interest.is_wanted(now));
        let living = self.nodes.iter().filter(|(_, interest)| interest.dead_since.is_none());
        living.map(|(node, _)| node.clone()).collect()
    }

    /// These are all nodes that have a document.
    pub(super) fn list(&mut self, found: &BTreeSet<NodeId>) {
        self.nodes.iter_mut().for_each(|(node, interest)| interest.listed = found.contains(node));
        for node in found {
            self.nodes.entry(node.clone()).or_default().listed = true;
        }
        self.listed = true;
    }

    /// Not all nodes are watched any more.
    pub(super) fn unlist(&mut self) {
        self.nodes.values_mut().for_each(|interest| interest.listed = false);
        self.listed = false;
    }

    /// Takes in what a read has shown at `now`. `Some` when the node has been silent for its lease.
    pub(super) fn see(&mut self, node: &NodeId, seen: Seen, now: Moment, lease: &Lease) -> Option<Silent> {
        let interest = self.nodes.get_mut(node)?;
        match seen {
            Seen::Alive(state) => {
                let quiet = interest.watch.read(state.counter, now, lease);
                interest.about = Some(state.about);
                let silent = Silent { node: node.clone(), counter: state.counter, quiet };
                (quiet >= lease.length).then_some(silent)
            }
            Seen::Dead => {
                interest.dead_since.get_or_insert(now);
                None
            }
            Seen::Unknown => {
                interest.watch.failed();
                None
            }
        }
    }

    /// Those of the silent that may be declared dead: more of them at once need to be silent for longer.
    pub(super) fn to_declare(&self, silent: Vec<Silent>, lease: &Lease) -> Vec<Silent> {
        let living = self.nodes.values().filter(|interest| interest.dead_since.is_none()).count();
        let needed = watch::needed(silent.len(), living + 1, lease);
        silent.into_iter().filter(|silent| silent.quiet >= needed).collect()
    }

    /// What was seen of anybody's silence proves nothing: this node itself cannot write.
    pub(super) fn forget_silence(&mut self) {
        self.nodes.values_mut().for_each(|interest| interest.watch.failed());
    }

    /// How many deaths are known.
    pub(super) fn deaths(&self) -> usize {
        self.nodes.values().filter(|interest| interest.dead_since.is_some()).count()
    }

    /// Dead nodes whose documents are still there, `after` their death was seen.
    pub(super) fn remains(&self, now: Moment, after: Duration) -> Vec<NodeId> {
        let old = |interest: &Interest| {
            interest.dead_since.is_some_and(|dead_since| now.since(dead_since) >= after)
        };
        let remains = self.nodes.iter().filter(|(_, interest)| interest.listed && old(interest));
        remains.map(|(node, _)| node.clone()).collect()
    }

    /// All who live, with `me`; `None` while somebody who may live has not been read yet.
    pub(super) fn roster(&self, me: &NodeId, about: About) -> Option<Roster> {
        if !self.listed {
            return None;
        }
        let mut nodes = BTreeMap::from([(me.clone(), about)]);
        let living = |interest: &Interest| interest.listed && interest.dead_since.is_none();
        for (node, interest) in self.nodes.iter().filter(|(node, interest)| *node != me && living(interest)) {
            nodes.insert(node.clone(), interest.about.clone()?);
        }
        Some(Roster { nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease = Lease::S3;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn alive(node: &NodeId, counter: u64) -> Seen {
        Seen::Alive(NodeState { node: node.clone(), counter, dead: false, about: About::default() })
    }

    #[test]
    fn a_roster_is_whole_or_there_is_none() {
        let (me, other) = (NodeId::from("me"), NodeId::from("other"));
        let mut watched = Watched::default();
        assert_eq!(watched.roster(&me, About::default()), None);
        watched.list(&BTreeSet::from([me.clone(), other.clone()]));
        assert_eq!(watched.roster(&me, About::default()), None, "the other may live");
        watched.see(&other, alive(&other, 1), at(0), &LEASE);
        assert_eq!(watched.roster(&me, About::default()).unwrap().nodes.len(), 2);
        watched.see(&other, Seen::Unknown, at(2), &LEASE);
        assert_eq!(
            watched.roster(&me, About::default()).unwrap().nodes.len(),
            2,
            "one bad read changes nothing"
        );
        watched.see(&other, Seen::Dead, at(4), &LEASE);
        assert_eq!(watched.roster(&me, About::default()).unwrap().nodes.len(), 1);
        assert_eq!(watched.remains(at(5), Duration::from_secs(60)), Vec::new());
        assert_eq!(watched.remains(at(64), Duration::from_secs(60)), vec![other.clone()]);
        watched.list(&BTreeSet::from([me.clone()]));
        assert_eq!(watched.remains(at(64), Duration::from_secs(60)), Vec::new());
    }

    #[test]
    fn nobody_is_declared_dead_by_a_node_that_could_not_write_meanwhile() {
        let other = NodeId::from("other");
        let mut watched = Watched::default();
        watched.ask(&other, at(0));
        let silent = |from: u64, watched: &mut Watched| {
            let see = |second| watched.see(&other, alive(&other, 7), at(second), &LEASE);
            (from..=from + 6).step_by(2).filter_map(see).count()
        };
        assert_eq!(silent(0, &mut watched), 1);
        watched.forget_silence();
        assert_eq!(silent(8, &mut watched), 1, "a whole window later only");
    }

    #[test]
    fn who_is_not_asked_about_is_forgotten_and_the_dead_are_not_read() {
        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        let mut watched = Watched::default();
        assert_eq!(watched.ask(&a, at(0)), (false, true));
        assert_eq!(watched.ask(&a, at(30)), (false, false));
        watched.ask(&b, at(40));
        watched.see(&b, Seen::Dead, at(41), &LEASE);
        assert_eq!((watched.ask(&b, at(42)), watched.deaths()), ((true, false), 1));
        assert_eq!(watched.wanted(at(80)), vec![a]);
        assert_eq!(watched.wanted(at(90)), Vec::new());
    }
}
