//! How the quotas of a destination are divided among the nodes that deliver to it: the leader lends each node a share, for seconds.
//!
//! A node asks for all its shares at once, well before they end, and counts a share from when it *asked*: what the leader counts as
//! lent is never shorter. What the leaders before have lent may still be in use when another begins to lend: it lets one lease
//! pass first, unless nobody can have led before. Quotas of a day are counted by the leader, and [kept](keeper) for the next.

mod days;
mod keeper;
mod lender;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use shardmill_cluster::NodeId;
use shardmill_cluster::clock::{BootTime, Clock};
use shardmill_cluster::leader::Role;
use shardmill_cluster::transport::{Handler, Refusal};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::destinations::Quota;
use shardmill_connectors::failure::Failure;

use self::keeper::Keeper;
use self::lender::{Answer, Asked, LEASE, Lender, OfDay, Spent};
use crate::destination::Handle;
use crate::destination::gate::Lent;
use crate::shared::Shared;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;

/// How long the leader may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How soon a node asks again that got nothing.
const AGAIN: Duration = Duration::from_millis(250);
/// Rates are divided in billionths: a share of a few a day is something, too.
const SCALE: f64 = 1e9;
/// What peers ask the leader for.
const KIND: &str = "rates/share";

/// Has peers lent their shares, this node borrow its own, and the quotas of a day kept, as children of the root.
pub fn specs(shared: &Shared) -> [ChildSpec; 2] {
    let desk = Arc::new(Desk { shared: shared.clone(), lender: Mutex::default() });
    if let Some(control) = shared.cluster.control() {
        control.register(KIND, desk.clone());
    }
    let borrower = {
        let desk = desk.clone();
        child("rates", move || Box::new(Borrower { desk: desk.clone() }))
    };
    [borrower, child("quotas", move || Box::new(Keeper::new(desk.clone())))]
}

fn child(name: &str, make: impl Fn() -> Box<dyn Worker> + Send + Sync + 'static) -> ChildSpec {
    let make = move || {
        let worker = make();
        async move { Ok(worker) }.boxed()
    };
    ChildSpec {
        name: name.into(),
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
    /// The term that this node leads.
    fn term(&self) -> Option<u64> {
        self.shared.cluster.last().and_then(|look| match look.role {
            Role::Leading(term) => Some(term),
            Role::Following(_) => None,
        })
    }

    fn lend(&self, asked: &Asked) -> Result<Answer, Failure> {
        let cluster = &self.shared.cluster;
        let term = self.term().ok_or_else(|| Failure::transient("this node does not lead"))?;
        cluster.may_act()?;
        let mut living: BTreeSet<NodeId> = cluster.peers().borrow().keys().cloned().collect();
        living.extend([self.shared.me.clone(), asked.node.clone()]);
        let living: Vec<NodeId> = living.into_iter().collect();
        let mut lender = self.lender.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(lender.lend(term, asked, &living, (BootTime.now(), Millis::now())))
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

/// A quota's name among all: its destination, and its place there; or, where it counts days, what tells them from others.
fn name(destination: &str, (place, quota): (usize, &Quota)) -> String {
    match quota.day_name() {
        Some(day) => format!("{destination}/{day}"),
        None => format!("{destination}/{place}"),
    }
}

impl Borrower {
    /// All that this node wants to be lent.
    fn wants(&self, handles: &BTreeMap<String, Arc<Handle>>) -> Asked {
        let (mut rates, mut days) = (BTreeMap::new(), BTreeMap::new());
        for (destination, handle) in handles {
            let gate = handle.gate();
            for (place, quota) in handle.settings.quotas.iter().enumerate() {
                let name = name(destination, (place, quota));
                if let Some(rate) = quota.per_second() {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    // no rate is negative or that large
                    rates.insert(name, (rate * SCALE) as u64);
                } else if let Some((day, sent, wanted)) = gate.spent_of_day(place) {
                    let spent = Spent { quota: quota.to_string(), day: day.to_owned(), sent, wanted };
                    days.insert(name, spent);
                }
            }
        }
        Asked { node: self.desk.shared.me.clone(), rates, days }
    }

    async fn borrow(&self, asked: &Asked) -> Result<Answer, Failure> {
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

/// Hands what was lent to the gates.
fn hand_out(mut lent: Answer, handles: &BTreeMap<String, Arc<Handle>>, until: Instant) {
    for (destination, handle) in handles {
        for (place, quota) in handle.settings.quotas.iter().enumerate() {
            let name = name(destination, (place, quota));
            if let Some(rate) = lent.rates.get(&name) {
                #[allow(clippy::cast_precision_loss)] // billionths, of no large rate
                handle.lend(place, *rate as f64 / SCALE, until);
            }
            if let Some(OfDay { day, sent, may, last, left_ms }) = lent.days.remove(&name) {
                let left = Duration::from_millis(left_ms);
                handle.lend_of_day(place, Lent { day, sent, may, last, left }, until);
            }
        }
    }
}

#[async_trait]
impl Worker for Borrower {
    async fn step(&mut self) -> Result<Next, Failure> {
        let handles = self.desk.shared.destinations.all();
        let asked = self.wants(&handles);
        if asked.rates.is_empty() && asked.days.is_empty() {
            return Ok(Next::After(AGAIN));
        }
        let until = Instant::now() + LEASE;
        let lent = match self.borrow(&asked).await {
            Ok(lent) => lent,
            Err(failure) => {
                tracing::debug!(%failure, "no shares of rates; those that are lent go on until they end");
                return Ok(Next::After(AGAIN));
            }
        };
        let lacks =
            asked.days.values().any(|spent| spent.wanted > 0) && lent.days.values().any(|day| !day.last);
        let all = lent.rates.len() == asked.rates.len() && lent.days.len() == asked.days.len() && !lacks;
        hand_out(lent, &handles, until);
        Ok(Next::After(if all { LEASE / 3 } else { AGAIN }))
    }
}
