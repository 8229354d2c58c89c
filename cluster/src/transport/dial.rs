//! Dialing: of two nodes the one with the lower name dials, again and again, for as long as the documents name the other.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::door::Door;
use super::hello::{self, Purpose, Welcome};
use super::link::{Begin, Duplex, Link};
use super::socket;
use crate::node::NodeId;

/// The first pause between two attempts; it doubles from there.
const FIRST: Duration = Duration::from_millis(100);
/// Attempts to see whether the process of a lost node that dials itself is gone.
const PROBES: u32 = 6;

/// The nodes that the documents name, and where they listen.
pub type Peers = BTreeMap<NodeId, SocketAddr>;

/// Why there is no connection.
#[derive(Debug)]
enum Missed {
    /// Nobody listens there, or another boot of the node does.
    Gone,
    /// Anything else.
    Failed(String),
}

/// Keeps dialing whom the documents name, until it is told to stop.
pub(super) async fn follow(door: Arc<Door>, mut peers: watch::Receiver<Peers>) {
    let mut tasks = JoinSet::new();
    let mut known: BTreeMap<NodeId, (SocketAddr, Option<AbortHandle>)> = BTreeMap::new();
    loop {
        let wanted = peers.borrow_and_update().clone();
        known.retain(|node, (address, dialing)| {
            let stays = wanted.get(node) == Some(address);
            if !stays {
                dialing.iter().for_each(AbortHandle::abort);
            }
            if !wanted.contains_key(node) {
                door.table.dismiss(node);
            }
            stays
        });
        for (node, address) in wanted {
            if node == door.me.node || known.contains_key(&node) {
                continue;
            }
            let dials = dials(&door.me.node, &node);
            let dialing = dials.then(|| tasks.spawn(keep(door.clone(), node.clone(), address)));
            known.insert(node, (address, dialing));
        }
        tokio::select! {
            changed = peers.changed() => if changed.is_err() { door.stop.cancelled().await; return },
            () = door.stop.cancelled() => return,
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Which of two nodes dials.
fn dials(me: &NodeId, other: &NodeId) -> bool {
    me < other
}

/// Keeps one connection to a node.
async fn keep(door: Arc<Door>, node: NodeId, address: SocketAddr) {
    let mut failures = 0;
    loop {
        match dial(&door, &node, address).await {
            Ok(link) => {
                link.gone.cancelled().await;
                failures = if link.is_ready() { 0 } else { failures + 1 };
            }
            Err(missed) => {
                failures += 1;
                match missed {
                    Missed::Gone => door.table.refused(&node),
                    Missed::Failed(reason) => {
                        tracing::debug!(%node, %address, reason, "a node was not reached")
                    }
                }
            }
        }
        // The first attempt after a loss is made at once: it tells whether the process is gone.
        if failures > 0 {
            tokio::time::sleep(pause(failures, door.limits.redial, rand::random())).await;
        }
    }
}

/// Looks whether the process of a node that is lost, and would dial itself, is gone.
pub(super) async fn probe(door: Arc<Door>, node: NodeId, address: SocketAddr) {
    for attempt in 1..=PROBES {
        if !door.table.is_lost(&node) {
            return;
        }
        match reach(&door, &node, address, Purpose::Probe).await {
            Err(Missed::Gone) => return door.table.refused(&node),
            Err(Missed::Failed(_)) | Ok(_) => {}
        }
        tokio::time::sleep(pause(attempt, door.limits.redial, rand::random())).await;
    }
}

/// How long to wait after so many failures in a row: doubling up to `longest`, of which chance (0 to 1) takes up to a half, so that
/// the nodes that lost one another do not meet again in step.
fn pause(failures: u32, longest: Duration, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

async fn dial(door: &Door, node: &NodeId, address: SocketAddr) -> Result<Arc<Link>, Missed> {
    let (stream, build, protocol) = reach(door, node, address, Purpose::Session).await?;
    let begin = Begin { node: node.clone(), address, build, protocol, dialed: true };
    Ok(door.hand_over(begin, stream, None))
}

type Reached = (Box<dyn Duplex>, String, u32);

/// A connection whose other end has said who it is, within the deadline of a handshake.
async fn reach(door: &Door, node: &NodeId, address: SocketAddr, purpose: Purpose) -> Result<Reached, Missed> {
    let greeted = tokio::time::timeout(door.limits.handshake, greet(door, node, address, purpose)).await;
    greeted.unwrap_or_else(|_| Err(Missed::Failed("it did not say hello in time".into())))
}

async fn greet(door: &Door, node: &NodeId, address: SocketAddr, purpose: Purpose) -> Result<Reached, Missed> {
    let failed = |error: std::io::Error| Missed::Failed(error.to_string());
    door.allows(address).map_err(|failure| Missed::Failed(failure.detail))?;
    let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Missed::Gone,
        _ => failed(error),
    })?;
    socket::tune(&stream).map_err(failed)?;
    let mut stream: Box<dyn Duplex> = match &door.identity {
        None => Box::new(stream),
        Some(identity) => {
            let name = identity.expected(node).map_err(Missed::Failed)?;
            Box::new(identity.connector().connect(name, stream).await.map_err(failed)?)
        }
    };
    hello::write(&mut stream, &door.me.hello(node, purpose)).await.map_err(failed)?;
    match hello::read(&mut stream).await.map_err(failed)? {
        Welcome::Yes(theirs) if theirs.node == *node => {
            door.me.judge(&theirs).map_err(Missed::Failed)?;
            Ok((stream, theirs.build, theirs.protocol))
        }
        Welcome::Yes(theirs) => Err(judge(node, &theirs.node, "it called itself otherwise".into())),
        Welcome::No { node: who, reason } => Err(judge(node, &who, reason)),
    }
}

/// What it means that `who` answered where `node` was expected. In a certificate both have the same name.
fn judge(node: &NodeId, who: &NodeId, reason: String) -> Missed {
    match who == node || super::identity::name_of(who) != super::identity::name_of(node) {
        true => Missed::Failed(reason),
        false => Missed::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_never_meet_in_step() {
        let longest = Duration::from_secs(5);
        let of = |failures, chance| pause(failures, longest, chance).as_millis();
        assert_eq!(
            [of(1, 0.0), of(2, 0.0), of(6, 0.0), of(7, 0.0), of(99, 0.0)],
            [100, 200, 3200, 5000, 5000]
        );
        assert_eq!([of(1, 1.0), of(2, 0.5), of(99, 1.0)], [50, 150, 2500]);
    }

    #[test]
    fn of_two_nodes_one_dials() {
        let (a, b): (NodeId, NodeId) = ("a-1".into(), "b-1".into());
        assert!(dials(&a, &b) && !dials(&b, &a));
    }

    #[test]
    fn another_boot_of_the_same_node_tells_that_the_first_is_gone() {
        let gone = |who: &str| matches!(judge(&"a-1".into(), &who.into(), String::new()), Missed::Gone);
        assert!(gone("a-2") && !gone("a-1") && !gone("b-1"));
    }
}
