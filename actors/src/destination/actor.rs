//! The actor of one destination: keeps its gate and its document in agreement.
//!
//! Whichever of the two has changed since they last agreed wins: an operator's word changes the gate, refused credentials
//! and a probe that got through change the document.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use super::document::{DestinationState, Paused, PausedBy};
use super::gate::{Breaker, Pause};
use super::handle::Handle;
use crate::shared::Shared;
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;

/// The actor of a destination as a child of the register's supervisor.
pub fn spec(shared: &Shared, handle: &Arc<Handle>) -> ChildSpec {
    let view: View = {
        let handle = handle.clone();
        Arc::new(move || show(&handle))
    };
    let (shared, handle) = (shared.clone(), handle.clone());
    let name = handle.settings.name.clone();
    let make = move || {
        let actor = Actor { shared: shared.clone(), handle: handle.clone(), agreed: None };
        async move { Ok(Box::new(actor) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec { name, kind: Kind::Destination, body: Body::Worker(Arc::new(make)), view }
}

/// What is shown of a destination.
pub fn show(handle: &Handle) -> Value {
    let gate = handle.gate();
    let (under_way, allowed) = gate.concurrency();
    let breaker = match gate.breaker() {
        Breaker::Closed => json!("closed"),
        Breaker::Probing => json!("probing"),
        Breaker::Open(until) => {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            json!({"open_for_ms": u64::try_from(left).unwrap_or(u64::MAX)})
        }
    };
    json!({
        "kind": handle.settings.kind, "breaker": breaker, "under_way": under_way, "concurrency": allowed,
        "paused": gate.pause().map(|_| handle.refused().unwrap_or_else(|| "by an operator".into())),
        "quotas": handle.settings.quotas,
    })
}

/// See the [module](self).
struct Actor {
    shared: Shared,
    handle: Arc<Handle>,
    /// What the document said, and whether the gate was paused, when they last agreed.
    agreed: Option<(Option<Paused>, Option<Pause>)>,
}

impl Actor {
    /// Has the gate do what the document says.
    fn obey(&self, paused: Option<&Paused>) {
        match paused.map(|paused| paused.by) {
            None => self.handle.resume(),
            Some(PausedBy::Operator) => self.handle.pause(Pause::Operator),
            Some(PausedBy::Unauthorized) => self.handle.pause(Pause::Unauthorized),
        }
    }

    /// Has the document say what the gate has found out.
    async fn write(&self, pause: Option<Pause>) -> Result<DestinationState, Failure> {
        let name = &self.handle.settings.name;
        let reason = self.handle.refused().unwrap_or_default();
        if pause == Some(Pause::Unauthorized) {
            tracing::error!(
                destination = %name, %reason,
                "paused: it refuses our credentials or configuration; nothing is given up; mend the configuration, then `shardmill admin reload` and `shardmill admin resume {name}`"
            );
        } else {
            tracing::info!(destination = %name, "resumed: a probe got through");
        }
        let at = Millis::now();
        let change = |state: &mut DestinationState| match (&state.paused, pause) {
            // An operator's word stands.
            (Some(Paused { by: PausedBy::Operator, .. }), _) => {}
            (_, Some(Pause::Unauthorized)) => {
                state.paused = Some(Paused { by: PausedBy::Unauthorized, reason: reason.clone(), at });
            }
            (_, Some(Pause::Operator) | None) => state.paused = None,
        };
        DestinationState::change(&self.shared.ports.documents, name, change).await
    }
}

#[async_trait]
impl Worker for Actor {
    async fn step(&mut self) -> Result<Next, Failure> {
        let name = &self.handle.settings.name;
        let mut state = DestinationState::read(self.shared.ports.documents.as_ref(), name).await?;
        let pause = self.handle.gate().pause();
        match &self.agreed {
            Some((said, gate)) if *said == state.paused => {
                if *gate != pause {
                    state = self.write(pause).await?;
                }
            }
            _ => self.obey(state.paused.as_ref()),
        }
        self.agreed = Some((state.paused.clone(), self.handle.gate().pause()));
        self.shared.destinations.says(name, state);
        let _ = tokio::time::timeout(self.shared.schedule.look_seldom(), self.handle.news()).await;
        Ok(Next::Again)
    }
}
