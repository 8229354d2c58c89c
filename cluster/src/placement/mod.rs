//! Placement: which node is to do which work. Pure and deterministic.
//!
//! Each kind of work is balanced by itself, by weight. A living owner keeps its work, unless the imbalance passes a threshold:
//!
//! - the fullest node has more above the emptiest than the heaviest piece of work: never kept, so that with equal weights counts
//!   differ by one at most, and the fullest node has at most the mean plus the heaviest piece;
//! - or more than a quarter of the mean above the emptiest, in pieces small enough to help: then it sheds them until an eighth is left.
//!
//! That measured loads are never twice the same is dealt with before: see [`weights`].

pub mod weights;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::membership::Activity;
use crate::node::NodeId;

/// What is to be placed, and where it can be.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The nodes that live. A draining one gets nothing, and loses what it has.
    pub nodes: &'a BTreeMap<NodeId, Activity>,
    /// The work with its weight. Its kind is what its name has before the first `/`.
    pub weights: &'a BTreeMap<String, u64>,
    /// Where work was before.
    pub previous: &'a BTreeMap<String, NodeId>,
    /// Where an operator wants work to be; nodes that cannot have it are ignored.
    pub pins: &'a BTreeMap<String, NodeId>,
}

/// The kind of a piece of work.
pub fn kind(work: &str) -> &str {
    work.split('/').next().unwrap_or_default()
}

/// Places all work; none when no node takes any.
pub fn place(situation: &Situation<'_>) -> BTreeMap<String, NodeId> {
    let active = situation.nodes.iter().filter(|(_, state)| **state == Activity::Active);
    let active: BTreeSet<&NodeId> = active.map(|(node, _)| node).collect();
    let kinds: BTreeSet<&str> = situation.weights.keys().map(|work| kind(work)).collect();
    let mut placed: BTreeMap<String, NodeId> = BTreeMap::new();
    if active.is_empty() {
        return placed;
    }
    // How many pieces of kinds placed before a node has: where a kind has fewer pieces than there are nodes, others get them.
    let mut elsewhere: BTreeMap<&NodeId, usize> = active.iter().map(|node| (*node, 0)).collect();
    for wanted in kinds {
        let mut table = Table::new(&elsewhere);
        let work = situation.weights.iter().filter(|(work, _)| kind(work) == wanted);
        table.fill(situation, work, &active);
        table.level();
        for node in &table.nodes {
            *elsewhere.entry(node.id).or_default() += node.free.len() + node.pinned;
        }
        placed.extend(table.placed());
    }
    placed
}

/// A node and what it has of one kind.
#[derive(Debug)]
struct Holder<'a> {
    id: &'a NodeId,
    /// The weight of all it has.
    weight: u64,
    /// What may be moved, by weight and name.
    free: BTreeSet<(u64, &'a str)>,
    /// How many pieces may not.
    pinned: usize,
    /// How many pieces of other kinds it has.
    elsewhere: usize,
}

/// All work of one kind.
#[derive(Debug)]
struct Table<'a> {
    nodes: Vec<Holder<'a>>,
    pinned: Vec<(&'a str, &'a NodeId)>,
    heaviest: u64,
}

impl<'a> Table<'a> {
    fn new(elsewhere: &BTreeMap<&'a NodeId, usize>) -> Self {
        let holder = |(id, elsewhere): (&&'a NodeId, &usize)| {
            let (free, elsewhere) = (BTreeSet::new(), *elsewhere);
            Holder { id, weight: 0, free, pinned: 0, elsewhere }
        };
        Table { nodes: elsewhere.iter().map(holder).collect(), pinned: Vec::new(), heaviest: 0 }
    }

    /// Leaves work where it is, puts what is pinned where it belongs, and gives the rest to the emptiest, the heaviest first.
    fn fill(
        &mut self,
        situation: &Situation<'a>,
        work: impl Iterator<Item = (&'a String, &'a u64)>,
        active: &BTreeSet<&'a NodeId>,
    ) {
        let mut orphans = BTreeSet::new();
        for (name, weight) in work {
            let weight = (*weight).max(1);
            self.heaviest = self.heaviest.max(weight);
            let pin = situation.pins.get(name).filter(|node| active.contains(node));
            let owner = situation.previous.get(name).filter(|node| active.contains(node));
            match (pin, owner) {
                (Some(node), _) => self.pin(node, name, weight),
                (None, Some(node)) => self.give(self.index(node), name, weight),
                (None, None) => _ = orphans.insert((Reverse(weight), name)),
            }
        }
        for (Reverse(weight), name) in orphans {
            self.give(self.emptiest(), name, weight);
        }
    }

    /// Moves work from the fullest to the emptiest while the threshold is passed.
    fn level(&mut self) {
        let mut shedding = false;
        while let Some((from, piece)) = self.next_move(shedding) {
            // Below the low mark only once the high mark was passed: between them nothing flaps.
            shedding = true;
            let to = self.emptiest();
            self.nodes[from].free.remove(&piece);
            self.nodes[from].weight -= piece.0;
            self.give(to, piece.1, piece.0);
        }
    }

    /// The move that helps most, if one is needed: from the fullest node that has anything to give.
    fn next_move(&self, shedding: bool) -> Option<(usize, (u64, &'a str))> {
        let least = self.nodes[self.emptiest()].weight;
        let giving = |(_, node): &(usize, &Holder<'a>)| !node.free.is_empty();
        let fullest = |(_, node): &(usize, &Holder<'a>)| (node.weight, Reverse(node.id));
        let (index, node) = self.nodes.iter().enumerate().filter(giving).max_by_key(fullest)?;
        let gap = node.weight.saturating_sub(least);
        let total: u64 = self.nodes.iter().map(|node| node.weight).sum();
        let mean = total / self.nodes.len() as u64;
        let threshold = if shedding { mean / 8 } else { mean / 4 };
        // The heaviest that does not overshoot the middle.
        let half = node.free.range(..(gap / 2 + 1, "")).next_back();
        let half = half.map(|(weight, _)| *weight).and_then(|weight| node.free.range((weight, "")..).next());
        match half {
            Some(piece) if gap > threshold || gap > self.heaviest => Some((index, *piece)),
            // Too heavy for the middle, and yet an improvement: nothing is heavier than the gap.
            None if gap > self.heaviest => node.free.first().map(|piece| (index, *piece)),
            _ => None,
        }
    }

    fn pin(&mut self, node: &'a NodeId, name: &'a str, weight: u64) {
        let index = self.index(node);
        self.nodes[index].weight += weight;
        self.nodes[index].pinned += 1;
        self.pinned.push((name, node));
    }

    fn give(&mut self, index: usize, name: &'a str, weight: u64) {
        self.nodes[index].weight += weight;
        self.nodes[index].free.insert((weight, name));
    }

    fn index(&self, node: &NodeId) -> usize {
        self.nodes.iter().position(|holder| holder.id == node).unwrap_or_default()
    }

    fn emptiest(&self) -> usize {
        let emptiness = |(_, node): &(usize, &Holder<'a>)| {
            (node.weight, node.free.len() + node.pinned + node.elsewhere, node.id)
        };
        self.nodes.iter().enumerate().min_by_key(emptiness).map_or(0, |(index, _)| index)
    }

    fn placed(&self) -> impl Iterator<Item = (String, NodeId)> {
        let free = self.nodes.iter().flat_map(|node| node.free.iter().map(|(_, name)| (*name, node.id)));
        free.chain(self.pinned.iter().copied()).map(|(name, node)| (name.to_owned(), node.clone()))
    }
}

#[cfg(test)]
mod tests;
