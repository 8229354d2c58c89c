//! How the nodes that deliver to one destination share its rate: shares are leased, and what one may still use no other gets.
//!
//! A share that grows waits for the ends of the leases that it grows at the cost of. So the sum of what all nodes may use never
//! exceeds the budget, whoever dies, sleeps, or never hears that its share has shrunk. Pure: one clock, the divider's, is
//! handed in; a node counts its lease from when it *asked* for it, which is before it was given.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::node::NodeId;

/// A share that was given: as much as this, in billionths of one a second, until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Billionths of one a second.
    pub rate: u64,
    /// By the divider's clock.
    pub until: Moment,
}

/// The shares of one destination's rate. A new divider must first let a whole lease pass, because it does not know what the
/// last one has given: see [`Shares::new`].
#[derive(Debug, Clone)]
pub struct Shares {
    budget: u64,
    lease: Duration,
    /// Nothing is given before this moment.
    from: Moment,
    given: BTreeMap<NodeId, Vec<Share>>,
}

impl Shares {
    /// Divides `budget` (billionths of one a second) in leases of this length. At `now` another divider's leases may all
    /// still run.
    pub fn new(budget: u64, lease: Duration, now: Moment) -> Self {
        Shares { budget, lease, from: now.plus(lease), given: BTreeMap::new() }
    }

    /// The same for a divider before whom there was none.
    pub fn first(budget: u64, lease: Duration, now: Moment) -> Self {
        Shares { from: now, ..Self::new(budget, lease, now) }
    }

    /// Changes the budget. A smaller one holds for all when the leases that run now have ended.
    pub fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// Gives `node` its share at `now`, for one lease: an equal part for each of the `living`, or what is left of the budget while
    /// others may still use more than theirs. `None` when there is nothing to give yet.
    pub fn give(&mut self, node: &NodeId, living: &[NodeId], now: Moment) -> Option<Share> {
        self.given.retain(|_, shares| {
            shares.retain(|share| share.until > now);
            !shares.is_empty()
        });
        if now < self.from || !living.contains(node) {
            return None;
        }
        let others = self.given.iter().filter(|(other, _)| *other != node);
        let taken: u64 = others.map(|(_, shares)| in_use(shares)).sum();
        let rate = part(self.budget, node, living).min(self.budget.saturating_sub(taken));
        if rate == 0 {
            return None;
        }
        let share = Share { rate, until: now.plus(self.lease) };
        let shares = self.given.entry(node.clone()).or_default();
        // What an older lease allows beyond this one counts until it ends: this one may never arrive.
        shares.retain(|older| older.rate > rate);
        shares.push(share);
        Some(share)
    }

    /// What all nodes together may use at `now`, in billionths of one a second.
    pub fn in_use(&self, now: Moment) -> u64 {
        let running = |shares: &Vec<Share>| {
            shares.iter().filter(|share| share.until > now).map(|share| share.rate).max().unwrap_or_default()
        };
        self.given.values().map(running).sum()
    }
}

/// The most that any of a node's running leases allows.
fn in_use(shares: &[Share]) -> u64 {
    shares.iter().map(|share| share.rate).max().unwrap_or_default()
}

/// An equal part of the budget; what does not divide goes to the first by name.
fn part(budget: u64, node: &NodeId, living: &[NodeId]) -> u64 {
    let count = living.len().max(1) as u64;
    let before = living.iter().filter(|other| *other < node).count() as u64;
    budget / count + u64::from(before < budget % count)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn node(index: usize) -> NodeId {
        NodeId::from(format!("n{index}-1").as_str())
    }

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    proptest! {
        /// Whoever comes and goes, and whether or not shares arrive: what nodes may use together never exceeds the budget. Once
        /// the same nodes live for two leases, each has an equal part and nothing is left over.
        #[test]
        fn the_budget_is_never_exceeded_and_soon_used(
            budget in 1u64..1_000_000,
            steps in vec((vec(any::<bool>(), 5), vec((0usize..5, any::<bool>()), 0..8), 1u64..8), 1..30),
        ) {
            let mut now = 0;
            let mut shares = Shares::new(budget, LEASE, at(now));
            // What each node believes: only shares that arrived.
            let mut believed: BTreeMap<NodeId, Share> = BTreeMap::new();
            let mut round = |shares: &mut Shares, living: &[NodeId], asks: &[(usize, bool)], now: u64| {
                for (index, arrives) in asks {
                    if let Some(share) = shares.give(&node(*index), living, at(now)).filter(|_| *arrives) {
                        believed.insert(node(*index), share);
                    }
                    let used: u64 = believed.values().filter(|share| share.until > at(now)).map(|share| share.rate).sum();
                    assert!(used <= shares.in_use(at(now)) && shares.in_use(at(now)) <= budget, "{used} of {budget}");
                }
            };
            let mut last = vec![node(0)];
            for (there, asks, pause) in steps {
                now += pause;
                let living: Vec<NodeId> = (0..5).filter(|index| there[*index]).map(node).collect();
                round(&mut shares, &living, &asks, now);
                if !living.is_empty() {
                    last = living;
                }
            }
            let all: Vec<(usize, bool)> = (0..5).map(|index| (index, true)).collect();
            for _ in 0..30 {
                now += 1;
                round(&mut shares, &last, &all, now);
            }
            prop_assert_eq!(shares.in_use(at(now)), budget);
            let parts: Vec<u64> = last.iter().map(|node| part(budget, node, &last)).collect();
            prop_assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_newcomer_waits_for_the_leases_it_takes_from() {
        let mut shares = Shares::new(1_000, LEASE, at(0));
        let (one, both) = (vec![node(0)], vec![node(0), node(1)]);
        assert_eq!(shares.give(&node(0), &one, at(9)), None, "an earlier leader's leases may still run");
        assert_eq!(shares.give(&node(0), &one, at(10)).unwrap().rate, 1_000);
        assert_eq!(shares.give(&node(1), &both, at(11)), None);
        assert_eq!(shares.give(&node(0), &both, at(12)).unwrap().rate, 500);
        assert_eq!(shares.give(&node(1), &both, at(13)), None, "the whole is leased until 20");
        assert_eq!(shares.give(&node(1), &both, at(20)).unwrap().rate, 500);
    }
}
