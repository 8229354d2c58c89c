//! What nodes have sent of the quota of a day: a book that only grows until the day is over.
//!
//! Every node tells how much it has sent in all, and is lent a little more. Counts of one node only grow, so that books of two leaders
//! join to one by the larger count of each node (a grow-only counter: Shapiro et al., *Conflict-free Replicated Data Types*, 2011). What
//! a node was lent counts as sent until it tells better.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shardmill_cluster::NodeId;
use shardmill_cluster::clock::Moment;

/// What is kept of a day in its document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) day: String,
    pub(super) sent: BTreeMap<NodeId, u64>,
}

impl Counted {
    /// Takes in what another book says: of an earlier day nothing, of a later one everything.
    pub(super) fn join(&mut self, other: &Counted) {
        if other.day > self.day {
            *self = other.clone();
        }
        if other.day == self.day {
            for (node, sent) in &other.sent {
                let known = self.sent.entry(node.clone()).or_default();
                *known = (*sent).max(*known);
            }
        }
    }
}

/// A leader's book of one quota.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) counted: Counted,
    /// How much nodes may have sent in all, and until when they may: a lease that is not heard of does not end the one before.
    may: BTreeMap<NodeId, Vec<(u64, Moment)>>,
}

/// A node that asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) node: &'a NodeId,
    /// What it has sent on the day it knows of.
    pub(super) sent: u64,
    pub(super) day: &'a str,
    /// What it lacks for its next batch.
    pub(super) wanted: u64,
}

/// What a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    /// What it has sent, as far as anybody knows: a node may have forgotten.
    pub(super) sent: u64,
    /// As much as this beyond it.
    pub(super) more: u64,
    /// Whether that is all there is.
    pub(super) last: bool,
}

impl Book {
    /// Lends a node some of `count` until `until`. A day that is over does not come back: clocks differ.
    pub(super) fn lend(
        &mut self,
        asking: Asking<'_>,
        (today, count): (&str, u64),
        (now, until): (Moment, Moment),
    ) -> Given {
        if *self.counted.day < *today {
            let counted = Counted { day: today.to_owned(), ..Counted::default() };
            *self = Book { counted, may: BTreeMap::new() };
        }
        let told = if asking.day == self.counted.day { asking.sent } else { 0 };
        let sent = self.tells(asking.node, told, now);
        let left = count.saturating_sub(self.used_beside(asking.node));
        // Beside what it lacks a little, so that it need not ask first; little enough that idle nodes, and those which take it along
        // into their graves, do no harm.
        let little = (count / 1_000 + 1).min(left.div_ceil(4));
        let more = left.min(asking.wanted.max(little));
        self.may.entry(asking.node.clone()).or_default().push((sent + more, until));
        Given { sent, more, last: more == left }
    }

    /// Enters what a node tells; what is known of it then. What others were lent counts as sent once it is over: who has told since is
    /// believed to have used it up all the same.
    fn tells(&mut self, node: &NodeId, sent: u64, now: Moment) -> u64 {
        for (other, leases) in &mut self.may {
            let over = leases.iter().filter(|(_, until)| *until <= now).map(|(may, _)| *may).max();
            leases.retain(|(_, until)| *until > now);
            if other != node {
                let known = self.counted.sent.entry(other.clone()).or_default();
                *known = over.unwrap_or_default().max(*known);
            }
        }
        self.may.retain(|_, leases| !leases.is_empty());
        let known = self.counted.sent.entry(node.clone()).or_default();
        *known = sent.max(*known);
        *known
    }

    /// What was sent at most: nobody may be there to tell when the leases are over.
    pub(super) fn at_most(&self) -> Counted {
        let mut counted = self.counted.clone();
        for (node, leases) in &self.may {
            let may = leases.iter().map(|(may, _)| *may).max().unwrap_or_default();
            let known = counted.sent.entry(node.clone()).or_default();
            *known = may.max(*known);
        }
        counted
    }

    /// All that was sent, and what nodes other than this one may still send.
    fn used_beside(&self, node: &NodeId) -> u64 {
        let others = self.may.iter().filter(|(other, _)| *other != node);
        let open = |(other, leases): (&NodeId, &Vec<(u64, Moment)>)| {
            let may = leases.iter().map(|(may, _)| *may).max().unwrap_or_default();
            may.saturating_sub(self.counted.sent.get(other).copied().unwrap_or_default())
        };
        self.counted.sent.values().sum::<u64>() + others.map(open).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn lend(book: &mut Book, node: &str, (sent, wanted): (u64, u64), day: &str, seconds: u64) -> Given {
        let node = NodeId::from(node);
        let asking = Asking { node: &node, sent, day, wanted };
        book.lend(asking, (day, 25), (at(seconds), at(seconds + 5)))
    }

    fn given(sent: u64, more: u64, last: bool) -> Given {
        Given { sent, more, last }
    }

    #[test]
    fn a_node_that_dies_has_sent_what_it_was_lent() {
        let mut book = Book::default();
        assert_eq!(lend(&mut book, "a-1", (0, 10), "d", 0), given(0, 10, false));
        assert_eq!(lend(&mut book, "b-1", (0, 10), "d", 1), given(0, 10, false));
        assert_eq!(lend(&mut book, "b-1", (3, 10), "d", 4), given(3, 10, false));
        assert_eq!(lend(&mut book, "b-1", (12, 10), "d", 8), given(12, 3, true));
        assert_eq!(lend(&mut book, "b-1", (15, 10), "d", 12), given(15, 0, true));
        assert_eq!(lend(&mut book, "b-1", (0, 10), "e", 13), given(0, 10, false), "a new day");
        assert_eq!(lend(&mut book, "b-1", (0, 10), "d", 14).sent, 0, "the one before does not come back");
        assert_eq!(book.counted.day, "e");
    }

    #[test]
    fn idle_nodes_hold_little_back_and_one_that_forgets_is_reminded() {
        let mut book = Book::default();
        for idle in 0..12 {
            assert_eq!(lend(&mut book, &format!("idle-{idle}"), (0, 0), "d", 0), given(0, 1, false));
        }
        assert_eq!(lend(&mut book, "busy-1", (0, 9), "d", 1), given(0, 9, false));
        // Its configuration was read anew.
        assert_eq!(lend(&mut book, "busy-1", (9, 0), "d", 2), given(9, 1, false));
        assert_eq!(lend(&mut book, "busy-1", (0, 0), "d", 3), given(9, 1, false));
    }

    proptest! {
        /// Nodes ask, send some of what they have, or die; leaders change, each with what the one before has
        /// written, once what was lent before is over. Together nodes never send more than the quota.
        #[test]
        fn the_quota_is_never_exceeded(
            count in 1u64..5_000,
            steps in vec((0usize..4, 0u64..20, any::<bool>(), 0u64..4, 0u8..20), 1..300),
        ) {
            let mut book = Book::default();
            let (mut sent, mut told, mut may) = ([0u64; 4], [0u64; 4], [(0u64, at(0)); 4]);
            let mut now = 0;
            for (node, wants, arrives, pause, event) in steps {
                now += pause;
                if event == 0 {
                    // Nobody tells anything any more; the book was written, and all that was lent is over.
                    book = Book { counted: book.at_most(), ..Book::default() };
                    now += 6;
                }
                let id = NodeId::from(format!("n-{node}").as_str());
                let asking = Asking { node: &id, sent: told[node], day: "d", wanted: wants };
                let given = book.lend(asking, ("d", count), (at(now), at(now + 5)));
                if arrives {
                    told[node] = told[node].max(given.sent);
                    may[node] = (given.sent + given.more, at(now + 5));
                }
                if may[node].1 > at(now) {
                    let more = wants.min(may[node].0.saturating_sub(told[node]));
                    (sent[node], told[node]) = (sent[node] + more, told[node] + more);
                }
                prop_assert!(sent.iter().sum::<u64>() <= count, "{sent:?} of {count}");
            }
        }

        #[test]
        fn books_join_to_the_same_in_any_order(
            one in vec((0usize..4, 0u64..9), 0..8), other in vec((0usize..4, 0u64..9), 0..8), days in (0u8..3, 0u8..3),
        ) {
            let book = |day: u8, sent: &[(usize, u64)]| Counted {
                day: format!("2026-01-0{day}"),
                sent: sent.iter().map(|(node, sent)| (NodeId::from(format!("n-{node}").as_str()), *sent)).collect(),
            };
            let (one, other) = (book(days.0, &one), book(days.1, &other));
            let (mut first, mut second) = (one.clone(), other.clone());
            first.join(&other);
            second.join(&one);
            prop_assert_eq!(&first, &second);
            let mut again = first.clone();
            again.join(&one);
            prop_assert_eq!(again, first);
        }
    }
}
