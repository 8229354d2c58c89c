//! One shard: its document is taken, then its records are read, written to the lake, and delivered.
//!
//! The reader lends batches to the lake writer and offers them to the [lanes](crate::lane), one for each destination. Every
//! consumer's position moves only with its own commits, all of them to the one document. What reader, writer or forwarder
//! cannot mend by themselves restarts the shard as a whole, from the last commit: the stream is the buffer. A lane restarts
//! alone.

pub mod catch_up;
pub mod feed;
mod flush;
pub mod forwarder;
mod lost;
pub mod open;
pub mod place;
mod raw;
pub mod reader;
pub mod roster;
mod rows;
mod upload;
pub mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::json;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::record::{Record, ShardId};
use tokio::sync::{Mutex, mpsc};

use self::feed::Feed;
use self::place::Place;
use crate::budget::Share;
use crate::ledger::Ledger;
use crate::shared::{Gauge, Shared, StreamSettings};
use crate::supervision::registry::View;
use crate::supervision::{Body, ChildSpec, Group, SupervisorHandle, Worker};
use crate::tree::Kind;

/// Batches that may wait between reader and writer; their bytes are bounded by the node's fetch budget.
const WAITING: usize = 4;

/// Records read together, lent to the writer. The memory they take is given back when the batch is dropped.
#[derive(Debug)]
pub struct Batch {
    /// The records, in order; may be empty.
    pub records: Vec<Record>,
    /// Where the fetch that brought them began.
    pub from: Place,
    /// The fetch budget they are counted in.
    pub share: Share,
    /// Every row that arrived before this moment has been passed on.
    pub complete_until: Option<Millis>,
    /// The shard is read to its end.
    pub ended: bool,
    /// These records ended their readers too often: set them aside without looking at them.
    pub set_aside: bool,
}

/// What the parts of one shard share.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The node.
    pub shared: Shared,
    /// The stream's settings.
    pub stream: StreamSettings,
    /// The shard.
    pub shard: ShardId,
    /// `stream/shard`.
    pub name: String,
    /// The shard's document.
    pub ledger: Ledger,
    /// How batches get to the lanes.
    pub feed: Feed,
}

/// The supervisor's part of a shard.
#[derive(Debug)]
pub struct ShardGroup {
    shared: Shared,
    stream: StreamSettings,
    shard: ShardId,
    ledger: Option<Ledger>,
}

/// The child that is a whole shard.
pub fn spec(shared: &Shared, stream: &StreamSettings, shard: &ShardId) -> ChildSpec {
    let name = format!("{}/{}", stream.stream.name(), shard);
    let view: View = {
        let (shared, name) = (shared.clone(), name.clone());
        Arc::new(move || {
            let gauge = shared.read_gauge(&name);
            json!({"lag_ms": gauge.lag_ms, "records": gauge.records, "uncommitted": gauge.uncommitted})
        })
    };
    let (shared, stream, shard) = (shared.clone(), stream.clone(), shard.clone());
    let make = move || -> Box<dyn Group> {
        Box::new(ShardGroup {
            shared: shared.clone(),
            stream: stream.clone(),
            shard: shard.clone(),
            ledger: None,
        })
    };
    ChildSpec { name, kind: Kind::Shard, body: Body::Group(Arc::new(make)), view }
}

#[async_trait]
impl Group for ShardGroup {
    async fn open(&mut self, supervisor: &SupervisorHandle) -> Result<Vec<ChildSpec>, Failure> {
        let key = layout::documents::shard(self.stream.stream.name(), &self.shard);
        let ledger = Ledger::take(&self.shared.taker(), &key).await?;
        self.ledger = Some(ledger.clone());
        // What an earlier opening held is read again.
        self.shared.gauge(&format!("{}/{}", self.stream.stream.name(), self.shard), |gauge| {
            *gauge = Gauge::default()
        });
        let parts = Parts {
            shared: self.shared.clone(),
            stream: self.stream.clone(),
            shard: self.shard.clone(),
            name: format!("{}/{}", self.stream.stream.name(), self.shard),
            ledger,
            feed: Feed::default(),
        };
        let (send, receive) = mpsc::channel(WAITING);
        let reader = reader::Reader::new(parts.clone(), send);
        let writer = writer::Writer::new(parts.clone(), receive, supervisor.clone());
        let forwarder = forwarder::Forwarder::new(parts.clone());
        let (catch_up, roster) = (catch_up(&parts), roster(&parts, supervisor));
        roster::muster(&parts).await;
        Ok(vec![
            once("writer", Kind::Writer, writer),
            once("forwarder", Kind::Forwarder, forwarder),
            catch_up,
            roster,
            once("reader", Kind::Reader, reader),
        ])
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.shared.drop_gauge(&format!("{}/{}", self.stream.stream.name(), self.shard));
        match &self.ledger {
            Some(ledger) => ledger.release().await,
            None => Ok(()),
        }
    }
}

/// The catch-up: it serves lanes only, and begins anew by itself.
fn catch_up(parts: &Parts) -> ChildSpec {
    let parts = parts.clone();
    anew("catch-up", Kind::CatchUp, move || catch_up::CatchUp::new(parts.clone()))
}

/// The roster: as the catch-up.
fn roster(parts: &Parts, supervisor: &SupervisorHandle) -> ChildSpec {
    let (parts, supervisor, called) = (parts.clone(), supervisor.clone(), roster::Called::default());
    let make = move || roster::Roster::new(parts.clone(), supervisor.clone(), called.clone());
    anew("roster", Kind::Roster, make)
}

/// A child that is made anew at every start.
fn anew<W: Worker>(name: &str, kind: Kind, make: impl Fn() -> W + Send + Sync + 'static) -> ChildSpec {
    let make = move || {
        let worker = make();
        async move { Ok(Box::new(worker) as Box<dyn Worker>) }.boxed()
    };
    let view: View = Arc::new(|| serde_json::Value::Null);
    ChildSpec { name: name.to_owned(), kind, body: Body::Worker(Arc::new(make)), view }
}

/// A child that exists once per opening of the shard: its restarts are the shard's.
fn once<W: Worker>(name: &str, kind: Kind, worker: W) -> ChildSpec {
    let slot = Arc::new(Mutex::new(Some(worker)));
    let make = move || {
        let slot = slot.clone();
        async move {
            let worker = slot.lock().await.take();
            let worker = worker.ok_or_else(|| Failure::crashed("a part of a shard cannot restart alone"))?;
            Ok(Box::new(worker) as Box<dyn Worker>)
        }
        .boxed()
    };
    let view: View = Arc::new(|| serde_json::Value::Null);
    ChildSpec { name: name.to_owned(), kind, body: Body::Worker(Arc::new(make)), view }
}
