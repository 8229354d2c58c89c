//! A node's part in the coordination, put together: looks who leads, plans if it leads, and says what is planned for it.
//!
//! ```text
//! every look:  look()  -> the role and the plan
//!              lead(all work there is)  when leading: plan anew, write if it says anything new
//!              take what the plan has for this node, release what it no longer has (the work's own documents)
//! at the end:  leave() gives up leading; the membership is left last, when all work is released
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Documents;

use crate::leader::{Leadership, Role};
use crate::membership::{Activity, View};
use crate::node::NodeId;
use crate::plan::{self, Plan};

/// What a look has shown.
#[derive(Debug, Clone)]
pub struct Look {
    /// Whether this node leads.
    pub role: Role,
    /// The plan.
    pub plan: Arc<Plan>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Coordination {
    view: View,
    leadership: Leadership,
    reader: plan::Reader,
    pins: Vec<(String, Option<NodeId>)>,
    /// The plan this node has last made as a leader.
    made: Option<Plan>,
}

impl Coordination {
    /// The coordination of the node that `view` belongs to.
    pub fn new(documents: Arc<dyn Documents>, view: View) -> Self {
        let leadership = Leadership::new(documents.clone(), view.me().clone(), view.liveness());
        Coordination { view, leadership, reader: plan::Reader::new(documents), pins: Vec::new(), made: None }
    }

    /// Looks who leads, leads if nobody does and this node does not drain, and reads the plan.
    ///
    /// # Errors
    /// What the store raises, and `Transient` while the node's lease is not current: it decides nothing then.
    pub async fn look(&mut self) -> Result<Look, Failure> {
        if !self.view.hold().is_current() {
            return Err(Failure::transient("this node could not renew its lease: it is suspended"));
        }
        let draining = self.view.about().state == Activity::Draining;
        let role = self.leadership.step(!draining).await?;
        let leading = matches!(role, Role::Leading(_));
        self.view.watch_everybody(leading);
        if !leading {
            self.made = None;
            self.pins.clear();
        }
        Ok(Look { role, plan: self.reader.read().await? })
    }

    /// As the leader: plans all the `work` there is among all nodes that live, and writes the plan if it says anything new.
    /// Says whether it was written. Nothing is planned before everybody was seen once.
    ///
    /// # Errors
    /// `Fenced` when this node does not lead (any more), and what the store raises.
    pub async fn lead(&mut self, work: &BTreeSet<String>) -> Result<bool, Failure> {
        let mut plan = self.leadership.claim().await?;
        let Some(roster) = self.view.roster().borrow().clone() else { return Ok(false) };
        if let Some(made) = &self.made {
            plan.weights.clone_from(&made.weights);
        }
        for (work, node) in &self.pins {
            plan.pin(work, node.clone());
        }
        let next = plan.next(work, &roster);
        if !self.view.hold().is_current() {
            return Ok(false);
        }
        let written = self.leadership.publish(&next).await?;
        self.pins.clear();
        self.made = Some(next);
        Ok(written)
    }

    /// As the leader: wants `work` to be done by `node` as long as that lives, or wherever there is room again. Part of the
    /// next plan.
    pub fn pin(&mut self, work: &str, node: Option<NodeId>) {
        self.pins.push((work.to_owned(), node));
    }

    /// Gives up leading.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn leave(&mut self) -> Result<(), Failure> {
        self.leadership.release().await
    }
}
