//! How the rate of a destination is divided among the nodes that deliver to it: the leader lends each node a share, for seconds.
//!
//! A node asks for all its shares at once, well before they end, and counts a share from when it *asked*: what the leader counts as
//! lent is never shorter. What the leaders before have lent may still be in use when another begins to lend: it lets one lease
//! pass first, unless nobody can have led before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shardmill_cluster::NodeId;
use shardmill_cluster::clock::{BootTime, Clock, Moment};
use shardmill_cluster::leader::Role;
use shardmill_cluster::share::Shares;
use shardmill_cluster::transport::{Handler, Refusal};
use shardmill_connectors::failure::Failure;

use crate::shared::Shared;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;

/// How long a share is lent.
const LEASE: Duration = Duration::from_secs(5);
/// How long the leader may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How soon a node asks again that got nothing.
const AGAIN: Duration = Duration::from_millis(250);
/// What peers ask the leader for.
const KIND: &str = "rates/share";

/// What a node asks for: of the rates of these destinations, in thousandths of an event a second, its shares.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    node: NodeId,
    budgets: BTreeMap<String, u64>,
}

/// The leader's book of what is lent.
#[derive(Debug, Default)]
struct Lender {
    term: u64,
    shares: BTreeMap<String, Shares>,
}

impl Lender {
    /// What `asked` gets at `now`, in the term that is led now. Destinations it gets nothing of are left out.
    fn lend(&mut self, term: u64, asked: &Asked, living: &[NodeId], now: Moment) -> BTreeMap<String, u64> {
        if self.term != term {
            (self.term, self.shares) = (term, BTreeMap::new());
        }
        let mut lent = BTreeMap::new();
        for (destination, budget) in &asked.budgets {
            let shares = self.shares.entry(destination.clone()).or_insert_with(|| match term {
                0 | 1 => Shares::first(*budget, LEASE, now),
                _ => Shares::new(*budget, LEASE, now),
            });
            shares.set_budget(*budget);
            lent.extend(shares.give(&asked.node, living, now).map(|share| (destination.clone(), share.rate)));
        }
        lent
    }
}

/// Has peers lent their shares, and this node borrow its own, as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let desk = Arc::new(Desk { shared: shared.clone(), lender: Mutex::default() });
    if let Some(control) = shared.cluster.control() {
        control.register(KIND, desk.clone());
    }
    let make = move || {
        let borrower = Borrower { desk: desk.clone() };
        async move { Ok(Box::new(borrower) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec {
        name: "rates".into(),
        kind: Kind::Rates,
        body: Body::Worker(Arc::new(make)),
        view: Arc::new(|| Value::Null),
    }
}

struct Desk {
    shared: Shared,
    lender: Mutex<Lender>,
}

impl Desk {
    fn lend(&self, asked: &Asked) -> Result<BTreeMap<String, u64>, Failure> {
        let cluster = &self.shared.cluster;
        let led = cluster.last().and_then(|look| match look.role {
            Role::Leading(term) => Some(term),
            Role::Following(_) => None,
        });
        let term = led.ok_or_else(|| Failure::transient("this node does not lead"))?;
        cluster.may_act()?;
        let mut living: BTreeSet<NodeId> = cluster.peers().borrow().keys().cloned().collect();
        living.extend([self.shared.me.clone(), asked.node.clone()]);
        let living: Vec<NodeId> = living.into_iter().collect();
        let mut lender = self.lender.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(lender.lend(term, asked, &living, BootTime.now()))
    }
}

#[async_trait]
impl Handler for Desk {
    async fn handle(&self, _: &str, body: Value) -> Result<Value, Refusal> {
        let unread = |error: serde_json::Error| Failure::rejected(format!("rates asked for: {error}"));
        let asked: Asked = serde_json::from_value(body).map_err(unread)?;
        Ok(serde_json::to_value(self.lend(&asked)?).map_err(unread)?)
    }
}

struct Borrower {
    desk: Arc<Desk>,
}

impl Borrower {
    async fn borrow(&self, asked: &Asked) -> Result<BTreeMap<String, u64>, Failure> {
        let cluster = &self.desk.shared.cluster;
        match cluster.last().map(|look| look.role) {
            Some(Role::Leading(_)) => self.desk.lend(asked),
            Some(Role::Following(Some(leader))) => {
                let broken = |error| Failure::crashed(format!("rates: {error}"));
                let body = serde_json::to_value(asked).map_err(broken)?;
                let answer = cluster.ask(&leader, KIND, body, ANSWER).await?;
                serde_json::from_value(answer).map_err(broken)
            }
            _ => Err(Failure::transient("nobody leads that could lend rates")),
        }
    }
}

#[async_trait]
impl Worker for Borrower {
    async fn step(&mut self) -> Result<Next, Failure> {
        let shared = &self.desk.shared;
        let handles = shared.destinations.all();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // no rate is negative or that large
        let thousandths = |rate: f64| (rate * 1e3).ceil() as u64;
        let budget = |(name, handle): (&String, &Arc<_>)| {
            let handle: &crate::destination::Handle = handle;
            Some((name.clone(), thousandths(handle.settings.budget()?)))
        };
        let budgets: BTreeMap<String, u64> = handles.iter().filter_map(budget).collect();
        if budgets.is_empty() {
            return Ok(Next::After(AGAIN));
        }
        let asked = Asked { node: shared.me.clone(), budgets };
        let until = Instant::now() + LEASE;
        let lent = match self.borrow(&asked).await {
            Ok(lent) => lent,
            Err(failure) => {
                tracing::debug!(%failure, "no shares of rates; those that are lent go on until they end");
                return Ok(Next::After(AGAIN));
            }
        };
        for (name, rate) in &lent {
            #[allow(clippy::cast_precision_loss)] // as above
            let rate = *rate as f64 / 1e3;
            handles.get(name).into_iter().for_each(|handle| handle.lend(rate, until));
        }
        let all = lent.len() == asked.budgets.len();
        Ok(Next::After(if all { LEASE / 3 } else { AGAIN }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_a_rate_and_a_new_leader_waits_for_what_was_lent_before() {
        let at = |seconds| Moment::at(Duration::from_secs(seconds));
        let asked = |node: &str| Asked { node: node.into(), budgets: [("crm".to_owned(), 1_000)].into() };
        let mut lender = Lender::default();
        let alone = ["a-1".into()];
        let both = ["a-1".into(), "b-1".into()];
        assert_eq!(lender.lend(1, &asked("a-1"), &alone, at(0))["crm"], 1_000, "nobody can have lent before");
        assert!(lender.lend(1, &asked("b-1"), &both, at(1)).is_empty(), "all of it is lent");
        assert_eq!(lender.lend(1, &asked("a-1"), &both, at(2))["crm"], 500);
        assert_eq!(lender.lend(1, &asked("b-1"), &both, at(6))["crm"], 500, "the first lease has ended");
        assert!(
            lender.lend(2, &asked("a-1"), &alone, at(7)).is_empty(),
            "another leader may have lent all of it"
        );
        assert_eq!(lender.lend(2, &asked("a-1"), &alone, at(12))["crm"], 1_000);
    }
}
