//! What accepting and dialing share: who we are, what we allow, and how a connection becomes a link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use shardmill_connectors::failure::Failure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::hello::Me;
use super::hush::Hush;
use super::identity::Identity;
use super::link::{Begin, Duplex, Link};
use super::table::Table;

/// How much of everything there may be, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are saying hello; for a further one the oldest goes. Default 256.
    pub handshakes: usize,
    /// Connections accepted from others that have said hello. Default 64.
    pub sessions: usize,
    /// How long TLS and hello may take together. Default 3 s.
    pub handshake: Duration,
    /// How long it may take from there to a session. Default 5 s.
    pub session: Duration,
    /// The time between two heartbeats. Default 2 s.
    pub heartbeat: Duration,
    /// How long a heartbeat is waited for. Default 1 s.
    pub answer: Duration,
    /// Heartbeats missed in a row that end a session. Default 3.
    pub misses: u32,
    /// The longest pause between two attempts to reach a node. Default 5 s.
    pub redial: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshakes: 256,
            sessions: 64,
            handshake: Duration::from_secs(3),
            session: Duration::from_secs(5),
            heartbeat: Duration::from_secs(2),
            answer: Duration::from_secs(1),
            misses: 3,
            redial: Duration::from_secs(5),
        }
    }
}

/// What has happened at the door since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that were accepted by the operating system.
    pub accepted: u64,
    /// Those of them that did not get as far as a hello that we answered with yes.
    pub refused: u64,
    /// Times that accepting failed, for want of descriptors as a rule.
    pub not_accepted: u64,
    /// Requests answered with "unsupported".
    pub unsupported: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) not_accepted: AtomicU64,
    pub(super) unsupported: Arc<AtomicU64>,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            not_accepted: read(&self.not_accepted),
            unsupported: read(&self.unsupported),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Door {
    pub(super) me: Me,
    /// `None`: without TLS, on loopback.
    pub(super) identity: Option<Identity>,
    pub(super) limits: Limits,
    pub(super) table: Arc<Table>,
    pub(super) carrier: ActorRef<NodeServerMessage>,
    pub(super) room: Arc<Semaphore>,
    pub(super) counters: Counters,
    pub(super) hush: Hush,
    pub(super) stop: CancellationToken,
}

impl Door {
    /// Without certificates only this machine is talked to.
    ///
    /// # Errors
    /// `Unauthorized` for an address of another machine.
    pub(super) fn allows(&self, address: SocketAddr) -> Result<(), Failure> {
        allows(self.identity.as_ref(), address)
    }

    /// Logs what a stranger can cause, now and then.
    pub(super) fn murmur(&self, address: SocketAddr, reason: &str) {
        if let Some(unsaid) = self.hush.say(Instant::now()) {
            tracing::warn!(%address, reason, unsaid, "a connection was refused");
        }
    }

    /// Gives a connection that has said hello to the carrier.
    pub(super) fn hand_over(
        &self,
        begin: Begin,
        stream: Box<dyn Duplex>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Arc<Link> {
        let is_server = !begin.dialed;
        let link = self.table.enter(begin);
        let stream = Box::new(link.stream(stream, permit));
        let opened = NodeServerMessage::ConnectionOpenedExternal { stream, is_server };
        if self.carrier.cast(opened).is_err() {
            self.table.forget(link.number);
            return link;
        }
        let (patience, table, watched) = (self.limits.session, self.table.clone(), link.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(patience, watched.gone.cancelled()).await;
            if watched.is_ready() || watched.gone.is_cancelled() {
                return;
            }
            watched.close("it did not become a session in time");
            // The carrier reports its end as a rule; not when it never began one.
            let _ = tokio::time::timeout(patience, watched.gone.cancelled()).await;
            table.forget(watched.number);
        });
        link
    }
}

/// See [`Door::allows`].
pub(super) fn allows(identity: Option<&Identity>, address: SocketAddr) -> Result<(), Failure> {
    match identity.is_some() || address.ip().to_canonical().is_loopback() {
        true => Ok(()),
        false => Err(Failure::unauthorized(format!(
            "{address} is not on loopback: between machines nodes need `[cluster] certificates`"
        ))),
    }
}
