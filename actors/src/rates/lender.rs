//! The leader's book of what is lent of the destinations' quotas: pure, over a clock that is handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardmill_cluster::NodeId;
use shardmill_cluster::clock::Moment;
use shardmill_cluster::share::Shares;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::Quota;

use super::days::{Asking, Book, Counted, Given};

/// How long a share is lent.
pub(super) const LEASE: Duration = Duration::from_secs(5);

/// What a node asks for: its shares of these quotas, each named by its destination and its place there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) node: NodeId,
    /// Of those for any period, in billionths a second.
    pub(super) rates: BTreeMap<String, u64>,
    /// Of those for a day, with what the node has sent of it.
    pub(super) days: BTreeMap<String, Spent>,
}

/// What a node has sent of a quota for a day.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spent {
    /// The quota, as it is configured.
    pub(super) quota: String,
    /// The day it counts for; empty when it has not been told one.
    pub(super) day: String,
    /// How much.
    pub(super) sent: u64,
    /// What it lacks for its next batch.
    pub(super) wanted: u64,
}

/// What a node gets. What it gets nothing of is left out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Billionths a second.
    pub(super) rates: BTreeMap<String, u64>,
    pub(super) days: BTreeMap<String, OfDay>,
}

/// What a node may send of a quota for a day.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OfDay {
    pub(super) day: String,
    /// What it is known to have sent.
    pub(super) sent: u64,
    /// In all.
    pub(super) may: u64,
    /// Whether nothing is left beside this.
    pub(super) last: bool,
    /// Milliseconds until the day is over.
    pub(super) left_ms: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lender {
    term: u64,
    shares: BTreeMap<String, Shares>,
    /// Books of days; `None`: wanted, and what was counted before this term is not known yet.
    days: BTreeMap<String, Option<Book>>,
}

impl Lender {
    /// What `asked` gets in the term that is led now.
    pub(super) fn lend(
        &mut self,
        term: u64,
        asked: &Asked,
        living: &[NodeId],
        (now, time): (Moment, Millis),
    ) -> Answer {
        if self.term != term {
            *self = Lender { term, ..Lender::default() };
        }
        let mut answer = Answer::default();
        for (quota, budget) in &asked.rates {
            let shares = self.shares.entry(quota.clone()).or_insert_with(|| match term {
                0 | 1 => Shares::first(*budget, LEASE, now),
                _ => Shares::new(*budget, LEASE, now),
            });
            shares.set_budget(*budget);
            answer
                .rates
                .extend(shares.give(&asked.node, living, now).map(|share| (quota.clone(), share.rate)));
        }
        for (name, spent) in &asked.days {
            let lent = self.lend_of_day(name, (&asked.node, spent), (now, time));
            answer.days.extend(lent.map(|lent| (name.clone(), lent)));
        }
        answer
    }

    fn lend_of_day(
        &mut self,
        name: &str,
        (node, spent): (&NodeId, &Spent),
        (now, time): (Moment, Millis),
    ) -> Option<OfDay> {
        let book = self.days.entry(name.to_owned()).or_default().as_mut()?;
        let quota: Quota = spent.quota.parse().ok()?;
        let today = quota.day(time)?;
        let node = Asking { node, sent: spent.sent, day: &spent.day, wanted: spent.wanted };
        let given = book.lend(node, (&today.date, quota.count), (now, now.plus(LEASE)));
        let left_ms = u64::try_from(today.left.as_millis()).unwrap_or_default();
        let Given { sent, more, last } = given;
        Some(OfDay { day: book.counted.day.clone(), sent, may: sent + more, last, left_ms })
    }

    /// The books whose documents nobody has read in this term.
    pub(super) fn unread(&self) -> Vec<String> {
        let unread = self.days.iter().filter(|(_, book)| book.is_none());
        unread.map(|(name, _)| name.clone()).collect()
    }

    /// What was counted before this term, as its document says.
    pub(super) fn read(&mut self, term: u64, name: &str, counted: Counted) {
        if self.term == term {
            let book = self.days.entry(name.to_owned()).or_default().get_or_insert_default();
            book.counted.join(&counted);
        }
    }

    /// All that is counted now, and what may have been sent beside it.
    pub(super) fn counted(&self) -> BTreeMap<String, Counted> {
        let known = self.days.iter().filter_map(|(name, book)| Some((name, book.as_ref()?)));
        known.map(|(name, book)| (name.clone(), book.at_most())).collect()
    }

    /// The term that is led.
    pub(super) fn term(&self) -> u64 {
        self.term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> (Moment, Millis) {
        (Moment::at(Duration::from_secs(seconds)), Millis(1_773_480_413_589))
    }

    fn rates(node: &str) -> Asked {
        Asked { node: node.into(), rates: [("crm/0".to_owned(), 1_000)].into(), days: BTreeMap::new() }
    }

    #[test]
    fn nodes_share_a_rate_and_a_new_leader_waits_for_what_was_lent_before() {
        let mut lender = Lender::default();
        let alone = ["a-1".into()];
        let both = ["a-1".into(), "b-1".into()];
        let mut lend = |term, node: &str, living: &[NodeId], seconds| {
            lender.lend(term, &rates(node), living, at(seconds)).rates.get("crm/0").copied()
        };
        assert_eq!(lend(1, "a-1", &alone, 0), Some(1_000), "nobody can have lent before");
        assert_eq!(lend(1, "b-1", &both, 1), None, "all of it is lent");
        assert_eq!(lend(1, "a-1", &both, 2), Some(500));
        assert_eq!(lend(1, "b-1", &both, 6), Some(500), "the first lease has ended");
        assert_eq!(lend(2, "a-1", &alone, 7), None, "another leader may have lent all of it");
        assert_eq!(lend(2, "a-1", &alone, 12), Some(1_000));
    }

    #[test]
    fn of_a_day_nothing_is_lent_before_its_document_was_read_and_a_new_leader_goes_on_counting() {
        let ask = |lender: &mut Lender, term, sent| {
            let spent =
                Spent { quota: "100 requests/day".into(), day: "2026-03-14".into(), sent, wanted: 10 };
            let days = BTreeMap::from([("crm/1".to_owned(), spent)]);
            let asked = Asked { node: "a-1".into(), rates: BTreeMap::new(), days };
            lender.lend(term, &asked, &["a-1".into()], at(term)).days.remove("crm/1")
        };
        let mut lender = Lender::default();
        assert_eq!((ask(&mut lender, 1, 0), lender.unread()), (None, vec!["crm/1".to_owned()]));
        lender.read(1, "crm/1", Counted::default());
        let lent = ask(&mut lender, 1, 0).unwrap();
        assert_eq!((lent.day.as_str(), lent.may, lent.last), ("2026-03-14", 10, false));
        assert_eq!(ask(&mut lender, 1, 10).unwrap().may, 20);
        let written = lender.counted().remove("crm/1").unwrap();
        assert_eq!(ask(&mut lender, 2, 20), None, "another term");
        lender.read(1, "crm/1", Counted::default());
        assert_eq!(ask(&mut lender, 2, 20), None, "read for a term that is over");
        assert_eq!(written.sent[&NodeId::from("a-1")], 20, "ten are told of, and ten more may be sent");
        let others = Counted { sent: [("b-1".into(), 75)].into(), ..written };
        lender.read(2, "crm/1", others);
        let lent = ask(&mut lender, 2, 20).unwrap();
        assert_eq!((lent.sent, lent.may, lent.last), (20, 25, true), "another node has sent 75");
    }
}
