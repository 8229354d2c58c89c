//! Who leads, and what only a leader may write: the plan.
//!
//! The document `leader` is work like any other: taken by a compare-and-set when it is absent, released, or its node is dead;
//! its epoch is the term. That alone fences nobody: a leader that slept through its own death still has its plan in hand. So
//! the plan's document carries the term, a new leader rewrites it with its own before anything else, and every write of the
//! plan is a compare-and-set on what its writer last saw there: after the first write of a new term no older one can land.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::Documents;

use crate::cell::Cell;
use crate::node::{Liveness, NodeId};
use crate::ownership::{self, Owned, Ownership, Take};
use crate::plan::{self, Plan};

/// The name of the leader's document.
pub const KEY: &str = "leader";

/// How often a write of the plan that met a late one of an older term is tried again at once.
const TRIES: usize = 3;

/// The leader's document as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    term: u64,
    node: Option<NodeId>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
struct LeaderState(Ownership);

impl From<Stored> for LeaderState {
    fn from(Stored { term, node }: Stored) -> Self {
        LeaderState(Ownership { epoch: term, owner: node })
    }
}

impl From<LeaderState> for Stored {
    fn from(LeaderState(Ownership { epoch, owner }): LeaderState) -> Self {
        Stored { term: epoch, node: owner }
    }
}

impl Owned for LeaderState {
    fn ownership(&self) -> &Ownership {
        &self.0
    }

    fn ownership_mut(&mut self) -> &mut Ownership {
        &mut self.0
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The leader, in this term.
    Leading(u64),
    /// Another node leads, or nobody.
    Following(Option<NodeId>),
}

/// A node's part in who leads.
pub struct Leadership {
    documents: Arc<dyn Documents>,
    me: NodeId,
    liveness: Arc<dyn Liveness>,
    cell: Option<Cell<LeaderState>>,
    /// The term this node leads in.
    term: Option<u64>,
    plan: Option<Cell<Plan>>,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("me", &self.me).field("term", &self.term).finish_non_exhaustive()
    }
}

impl Leadership {
    /// A node that does not lead yet.
    pub fn new(documents: Arc<dyn Documents>, me: NodeId, liveness: Arc<dyn Liveness>) -> Self {
        Leadership { documents, me, liveness, cell: None, term: None, plan: None }
    }

    /// Looks who leads, and leads if nobody does and this node is `willing`; gives up leading when it is not.
    ///
    /// # Errors
    /// What the store raises. A take whose outcome is unknown is settled by the next call.
    pub async fn step(&mut self, willing: bool) -> Result<Role, Failure> {
        if !willing {
            self.release().await?;
        }
        let cell = Self::refreshed(&mut self.cell, &self.documents).await?;
        let Some(Ownership { epoch: term, owner }) = cell.state().map(|state| state.0.clone()) else {
            return match willing {
                true => self.create().await,
                false => Ok(Role::Following(None)),
            };
        };
        if owner.as_ref() == Some(&self.me) && self.term == Some(term) {
            return Ok(Role::Leading(term));
        }
        self.depose();
        if !willing {
            return Ok(Role::Following(owner));
        }
        let Some(cell) = &mut self.cell else { return Ok(Role::Following(owner)) };
        match ownership::take(cell, &self.me, self.liveness.as_ref()).await {
            Ok(Take::Taken(term)) => Ok(self.lead(term)),
            Ok(Take::HeldBy(node)) => Ok(Role::Following(Some(node))),
            // Somebody else was faster.
            Err(failure) if failure.class == Class::Fenced => {
                Ok(Role::Following(cell.state().and_then(|state| state.0.owner.clone())))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The newest plan, which is of this leader's term from now on: nobody of an older one can write it any more.
    ///
    /// # Errors
    /// `Fenced` when this node does not lead any more, and what the store raises.
    pub async fn claim(&mut self) -> Result<Plan, Failure> {
        let term = self.term()?;
        for _ in 0..TRIES {
            match self.claim_once(term).await {
                // A write of an older term was on its way; what it left is known now.
                Err(failure) if failure.class == Class::Fenced && self.is_ahead(term) => {}
                Err(failure) if failure.class == Class::Fenced => return Err(self.deposed()),
                outcome => return outcome,
            }
        }
        Err(Failure::transient("the plan is written by others again and again"))
    }

    async fn claim_once(&mut self, term: u64) -> Result<Plan, Failure> {
        let cell = match &mut self.plan {
            Some(cell) => cell,
            none => none.insert(Cell::load(self.documents.clone(), plan::KEY).await?),
        };
        cell.settle().await?;
        let known = cell.state().cloned().unwrap_or_default();
        if known.term > term {
            return Err(Failure::fenced("the plan is of a newer term"));
        }
        if known.term == term && known.leader.as_ref() == Some(&self.me) {
            return Ok(known);
        }
        let mine = Plan { term, leader: Some(self.me.clone()), ..known };
        cell.replace(mine.clone()).await?;
        Ok(mine)
    }

    /// Writes `next` as the plan of this leader's term, if it says anything new. Says whether it was written.
    ///
    /// # Errors
    /// `Fenced` when this node does not lead any more, and what the store raises: the outcome is unknown then, and found out by
    /// the next call.
    pub async fn publish(&mut self, next: &Plan) -> Result<bool, Failure> {
        let mine = self.claim().await?;
        let next = Plan { term: mine.term, leader: mine.leader.clone(), ..next.clone() };
        let Some(cell) = self.plan.as_mut().filter(|_| !next.says_the_same(&mine)) else { return Ok(false) };
        match cell.replace(next).await {
            Err(failure) if failure.class == Class::Fenced => Err(self.deposed()),
            outcome => outcome.map(|()| true),
        }
    }

    /// Gives up leading, so that another node need not wait for this one to die.
    ///
    /// # Errors
    /// What the store raises; the next call tries again.
    pub async fn release(&mut self) -> Result<(), Failure> {
        let Some(term) = self.term else { return Ok(()) };
        // From here on nothing is planned, whatever becomes of the release.
        self.plan = None;
        let Some(cell) = &mut self.cell else { return Ok(()) };
        match ownership::release(cell, &self.me, term).await {
            Ok(()) => {}
            // Another node leads already.
            Err(failure) if failure.class == Class::Fenced => {}
            Err(failure) => return Err(failure),
        }
        self.depose();
        Ok(())
    }

    async fn refreshed<'c>(
        cell: &'c mut Option<Cell<LeaderState>>,
        documents: &Arc<dyn Documents>,
    ) -> Result<&'c mut Cell<LeaderState>, Failure> {
        match cell {
            Some(cell) => {
                match cell.settle().await {
                    Err(failure) if failure.class != Class::Fenced => return Err(failure),
                    _ => cell.refresh().await?,
                }
                Ok(cell)
            }
            none => Ok(none.insert(Cell::load(documents.clone(), KEY).await?)),
        }
    }

    async fn create(&mut self) -> Result<Role, Failure> {
        let Some(cell) = &mut self.cell else { return Ok(Role::Following(None)) };
        let first = LeaderState(Ownership { epoch: 1, owner: Some(self.me.clone()) });
        match cell.replace(first).await {
            Ok(()) => Ok(self.lead(1)),
            Err(failure) if failure.class == Class::Fenced => {
                Ok(Role::Following(cell.state().and_then(|state| state.0.owner.clone())))
            }
            Err(failure) => Err(failure),
        }
    }

    fn lead(&mut self, term: u64) -> Role {
        tracing::info!(node = %self.me, term, "this node leads");
        self.term = Some(term);
        self.plan = None;
        Role::Leading(term)
    }

    fn depose(&mut self) {
        self.term = None;
        self.plan = None;
    }

    fn deposed(&mut self) -> Failure {
        self.depose();
        Failure::fenced("this node does not lead any more")
    }

    fn term(&self) -> Result<u64, Failure> {
        self.term.ok_or_else(|| Failure::fenced("this node does not lead"))
    }

    /// Whether the plan that is known is not of a newer term.
    fn is_ahead(&self, term: u64) -> bool {
        let known = self.plan.as_ref().and_then(Cell::state);
        known.is_none_or(|plan| plan.term <= term)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use shardmill_connectors::ports::{Document, Tag, Written};

    use super::*;

    type Bodies = BTreeMap<String, (u64, Bytes)>;

    #[derive(Debug, Default)]
    struct Store(Mutex<(u64, Bodies)>);

    #[async_trait]
    impl Documents for Store {
        async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
            let store = self.0.lock().unwrap();
            Ok(store.1.get(key).map(|(tag, body)| Document { body: body.clone(), tag: Tag(tag.to_string()) }))
        }

        async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
            let mut store = self.0.lock().unwrap();
            if store.1.get(key).map(|(tag, _)| Tag(tag.to_string())).as_ref() != expected {
                return Ok(Written::Conflict);
            }
            store.0 += 1;
            let tag = store.0;
            store.1.insert(key.to_owned(), (tag, body));
            Ok(Written::Done(Tag(tag.to_string())))
        }

        async fn delete(&self, _: &str, _: &Tag) -> Result<Written, Failure> {
            Ok(Written::Conflict)
        }

        async fn list(&self, _: &str) -> Result<Vec<(String, Tag)>, Failure> {
            Ok(Vec::new())
        }
    }

    #[derive(Debug, Default)]
    struct Graveyard(Mutex<BTreeSet<NodeId>>);

    #[async_trait]
    impl Liveness for Graveyard {
        async fn is_dead(&self, node: &NodeId) -> Result<bool, Failure> {
            Ok(self.0.lock().unwrap().contains(node))
        }
    }

    fn pair() -> (Arc<Store>, Arc<Graveyard>, Leadership, Leadership) {
        let (store, dead) = (Arc::new(Store::default()), Arc::new(Graveyard::default()));
        let one = |name: &str| Leadership::new(store.clone(), name.into(), dead.clone());
        let (first, second) = (one("a-1"), one("b-1"));
        (store, dead, first, second)
    }

    fn plan(shard: &str) -> Plan {
        Plan { work: BTreeMap::from([(shard.to_owned(), NodeId::from("a-1"))]), ..Plan::default() }
    }

    #[tokio::test]
    async fn one_leads_until_it_gives_up_or_dies() {
        let (store, dead, mut first, mut second) = pair();
        assert_eq!(first.step(false).await.unwrap(), Role::Following(None));
        assert_eq!(first.step(true).await.unwrap(), Role::Leading(1));
        assert_eq!(first.step(true).await.unwrap(), Role::Leading(1));
        assert_eq!(second.step(true).await.unwrap(), Role::Following(Some("a-1".into())));
        let document: serde_json::Value =
            serde_json::from_slice(&store.read(KEY).await.unwrap().unwrap().body).unwrap();
        assert_eq!(document["state"], serde_json::json!({"term": 1, "node": "a-1"}));
        assert_eq!(first.step(false).await.unwrap(), Role::Following(None));
        assert_eq!(second.step(true).await.unwrap(), Role::Leading(2));
        dead.0.lock().unwrap().insert("b-1".into());
        assert_eq!(first.step(true).await.unwrap(), Role::Leading(3));
        assert_eq!(second.step(false).await.unwrap(), Role::Following(Some("a-1".into())));
    }

    #[tokio::test]
    async fn a_leader_of_an_older_term_can_plan_nothing() {
        let (store, dead, mut first, mut second) = pair();
        first.step(true).await.unwrap();
        assert!(first.publish(&plan("one")).await.unwrap());
        assert!(!first.publish(&plan("one")).await.unwrap(), "what says nothing new is not written");
        dead.0.lock().unwrap().insert("a-1".into());
        assert_eq!(second.step(true).await.unwrap(), Role::Leading(2));
        // The new one has not written yet: the old one's plan is still one like any other.
        assert!(first.publish(&plan("two")).await.unwrap());
        let claimed = second.claim().await.unwrap();
        assert_eq!((claimed.term, claimed.work.contains_key("two")), (2, true));
        let failure = first.publish(&plan("three")).await.unwrap_err();
        assert_eq!(failure.class, Class::Fenced);
        assert_eq!(first.claim().await.unwrap_err().class, Class::Fenced);
        assert!(second.publish(&plan("four")).await.unwrap());
        let mut reader = plan::Reader::new(store.clone());
        let read = reader.read().await.unwrap();
        assert_eq!(
            (read.term, read.leader.clone(), read.work.contains_key("four")),
            (2, Some("b-1".into()), true)
        );
        assert!(
            Arc::ptr_eq(&read, &reader.read().await.unwrap()),
            "what has not changed is not decoded again"
        );
    }
}
