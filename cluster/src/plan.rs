//! The plan: which node is to do which work. A wish, not a right: the right is in the work's own document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Documents, Tag};

use crate::cell;
use crate::membership::{Activity, Load, Roster};
use crate::node::NodeId;
use crate::placement::{self, Situation, weights};

/// The name of the plan's document.
pub const KEY: &str = "plan";

/// The plan's document. Work is named by its document, so that the name begins with its kind: `shards/events/0`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The term of the leader that wrote it. Only grows: a leader of an older term has nothing to say.
    pub term: u64,
    /// The leader of that term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeId>,
    /// Who is to do what. Work that nobody can do is left out.
    pub work: BTreeMap<String, NodeId>,
    /// Where an operator wants work to be, as long as that node lives.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, NodeId>,
    /// How heavy work was held to be, where it is not of the typical weight; see [`weights`]. Kept, so that the next leader does
    /// not move work for having measured a little differently.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u64>,
}

impl Plan {
    /// The work planned for `node`.
    pub fn of(&self, node: &NodeId) -> BTreeSet<String> {
        self.work.iter().filter(|(_, owner)| *owner == node).map(|(work, _)| work.clone()).collect()
    }

    /// Wants `work` to be done by `node`, or wherever there is room again.
    pub fn pin(&mut self, work: &str, node: Option<NodeId>) {
        match node {
            Some(node) => _ = self.pins.insert(work.to_owned(), node),
            None => _ = self.pins.remove(work),
        }
    }

    /// The plan that follows: all of `work`, among the nodes of `roster`. Pure.
    #[must_use]
    pub fn next(&self, work: &BTreeSet<String>, roster: &Roster) -> Plan {
        let nodes: BTreeMap<NodeId, Activity> =
            roster.nodes.iter().map(|(node, about)| (node.clone(), about.state)).collect();
        let mut pins = self.pins.clone();
        pins.retain(|pinned, node| work.contains(pinned) && nodes.contains_key(node));
        let mut measured: BTreeMap<&str, Load> = BTreeMap::new();
        for (name, load) in roster.nodes.values().flat_map(|about| &about.loads) {
            // Where work is handed over, two may report it.
            let known = measured.entry(name).or_insert(*load);
            *known = if load.bytes_per_s > known.bytes_per_s { *load } else { *known };
        }
        let weights = weights::weigh(work, &measured, &self.weights);
        let situation = Situation { nodes: &nodes, weights: &weights, previous: &self.work, pins: &pins };
        let placed = placement::place(&situation);
        let untypical = weights.into_iter().filter(|(_, weight)| *weight != weights::TYPICAL).collect();
        Plan { term: self.term, leader: self.leader.clone(), work: placed, pins, weights: untypical }
    }

    /// Whether it says the same to those who work by it.
    pub(crate) fn says_the_same(&self, other: &Plan) -> bool {
        (self.term, &self.work, &self.pins) == (other.term, &other.work, &other.pins)
    }
}

/// Reads the plan, and decodes it only when it was written anew.
#[derive(Debug)]
pub struct Reader {
    documents: Arc<dyn Documents>,
    known: Option<(Tag, Arc<Plan>)>,
}

impl Reader {
    /// Nothing read yet.
    pub fn new(documents: Arc<dyn Documents>) -> Self {
        Reader { documents, known: None }
    }

    /// The plan as it is now; an empty one when there is none.
    ///
    /// # Errors
    /// What the store raises, and `Unauthorized` when the document cannot be understood.
    pub async fn read(&mut self) -> Result<Arc<Plan>, Failure> {
        let Some(document) = self.documents.read(KEY).await? else { return Ok(Arc::default()) };
        match &self.known {
            Some((tag, plan)) if *tag == document.tag => Ok(plan.clone()),
            _ => {
                let plan: Arc<Plan> = Arc::new(cell::decode(KEY, &document.body)?);
                self.known = Some((document.tag, plan.clone()));
                Ok(plan)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::About;

    fn roster(nodes: &[(&str, Activity)]) -> Roster {
        let about = |state| About { state, ..About::default() };
        Roster { nodes: nodes.iter().map(|(node, state)| (NodeId::from(*node), about(*state))).collect() }
    }

    #[test]
    fn pins_last_as_long_as_their_node_and_their_work() {
        let work: BTreeSet<String> = (0..4).map(|shard| format!("shards/events/{shard}")).collect();
        let both = roster(&[("a-1", Activity::Active), ("b-1", Activity::Active)]);
        let mut plan = Plan::default().next(&work, &both);
        assert_eq!((plan.of(&"a-1".into()).len(), plan.of(&"b-1".into()).len()), (2, 2));
        for shard in &work {
            plan.pin(shard, Some("b-1".into()));
        }
        plan.pin("shards/events/9", Some("b-1".into()));
        let pinned = plan.next(&work, &both);
        assert_eq!((pinned.of(&"b-1".into()).len(), pinned.pins.len()), (4, 4));
        let after = pinned.next(&work, &roster(&[("a-1", Activity::Active)]));
        assert_eq!((after.of(&"a-1".into()).len(), after.pins.len()), (4, 0));
        let drained = pinned.next(&work, &roster(&[("a-1", Activity::Active), ("b-1", Activity::Draining)]));
        assert_eq!(drained.of(&"a-1".into()).len(), 4, "who leaves gets nothing, whatever an operator wants");
        let mut free = pinned.clone();
        work.iter().for_each(|shard| free.pin(shard, None));
        assert_eq!(free.next(&work, &both).of(&"a-1".into()).len(), 2);
    }

    #[test]
    fn other_versions_are_understood() {
        let plan: Plan =
            serde_json::from_str(r#"{"term":3,"work":{"shards/events/0":"a-1"},"colour":"red"}"#).unwrap();
        assert_eq!((plan.term, plan.of(&"a-1".into()).len(), plan.leader), (3, 1, None));
    }
}
