//! A lane: the delivery of one shard to one destination, in order per key.
//!
//! The lane owns the events ([`window`]) and lends them, a batch at a time, to attempts ([`flight`]). What comes back is
//! [judged](judge) by the one decision function with the destination's strategy. What is settled moves the position
//! ([`prefix`], [`books`]); a key that goes on failing is [parked](parking). A lane that ends by a bug starts again from its
//! last commit; nobody else notices.

pub mod books;
pub mod flight;
pub mod gauge;
pub mod inherit;
pub mod judge;
pub mod parking;
pub mod prefix;
pub mod prepare;
mod probe;
mod run;
mod settle;
mod take;
pub mod unit;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;

pub use self::gauge::{LaneGauge, LaneGauges};
use self::run::Lane;
use crate::destination::Handle;
use crate::shard::Parts;
use crate::shard::open;
use crate::shard::place::Place;
use crate::shared::StreamSettings;
use crate::state::ShardState;
use crate::state::lane::{LaneStart, LaneState};
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Worker};
use crate::tree::Kind;
use shardmill_connectors::ports::Start;

/// The name of a lane among the parts of its shard.
pub fn child(destination: &str) -> String {
    format!("lane-{destination}")
}

/// Where a lane's reading goes on.
pub fn place(lane: &LaneState, shard: &ShardState, stream: &StreamSettings) -> Place {
    match (&lane.position, lane.start) {
        (Some(position), _) => Place::After(position.clone()),
        (None, LaneStart::Lake) => open::origin(shard, stream),
        (None, LaneStart::Oldest) => Place::At(Start::Oldest),
        (None, LaneStart::At(moment)) => Place::At(Start::At(moment)),
    }
}

/// A lane as a child of its shard.
pub fn spec(parts: &Parts, handle: &Arc<Handle>) -> ChildSpec {
    let destination = handle.settings.name.clone();
    let view: View = {
        let (gauges, shard, destination) =
            (parts.shared.lanes.clone(), parts.name.clone(), destination.clone());
        Arc::new(move || gauges.read(&shard, &destination).to_json())
    };
    let (parts, handle) = (parts.clone(), handle.clone());
    let restarts = Arc::new(AtomicBool::new(false));
    let make = move || {
        // The first start was counted when the shard was taken.
        let restart = restarts.swap(true, Ordering::AcqRel);
        let lane = Lane::new(parts.clone(), handle.clone(), restart);
        async move { Ok(Box::new(lane) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec { name: child(&destination), kind: Kind::Lane, body: Body::Worker(Arc::new(make)), view }
}

#[cfg(test)]
mod tests;
