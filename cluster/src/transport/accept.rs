//! Accepting: every connection says hello in a task of its own, in bounded number and time, and the loop waits for none.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};

use super::door::Door;
use super::hello::{self, Hello, Purpose, Welcome};
use super::link::{Begin, Duplex};
use super::socket;

/// The pause when a connection cannot be accepted: without descriptors the next attempt fails as well.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end of an older connection of the same node is waited for.
const REPLACED: Duration = Duration::from_secs(1);

/// Accepts until it is told to stop.
pub(super) async fn serve(door: Arc<Door>, listener: TcpListener) {
    let mut handshakes = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                door.counters.not_accepted.fetch_add(1, Ordering::Relaxed);
                if let Some(unsaid) = door.hush.say(std::time::Instant::now()) {
                    tracing::warn!(%error, unsaid, "connections of other nodes cannot be accepted");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        door.counters.accepted.fetch_add(1, Ordering::Relaxed);
        while handshakes.try_join_next().is_some() {}
        oldest.retain(|handshake| !handshake.is_finished());
        // A real node is done within milliseconds; whoever sits there longest is none.
        if oldest.len() >= door.limits.handshakes
            && let Some(handshake) = oldest.pop_front()
        {
            door.counters.refused.fetch_add(1, Ordering::Relaxed);
            handshake.abort();
        }
        oldest.push_back(handshakes.spawn(welcome(door.clone(), stream, address)));
    }
}

async fn welcome(door: Arc<Door>, stream: TcpStream, address: SocketAddr) {
    let greeted = tokio::time::timeout(door.limits.handshake, greet(&door, stream, address)).await;
    match greeted.unwrap_or_else(|_| Err("it did not say hello in time".into())) {
        Ok(Some((hello, stream, permit))) => {
            // The other side knows best that its older connection is over: it dials only then.
            for link in door.table.links_to(&hello.node) {
                link.close("the other side connected anew");
                let _ = tokio::time::timeout(REPLACED, link.gone.cancelled()).await;
            }
            let Hello { node, build, protocol, .. } = hello;
            door.hand_over(Begin { node, address, build, protocol, dialed: false }, stream, Some(permit));
        }
        Ok(None) => {}
        Err(reason) => {
            door.counters.refused.fetch_add(1, Ordering::Relaxed);
            door.murmur(address, &reason);
        }
    }
}

type Greeted = (Hello, Box<dyn Duplex>, OwnedSemaphorePermit);

/// The connection when it is to become a session; `None` when it only wanted to see who is here.
async fn greet(door: &Door, stream: TcpStream, address: SocketAddr) -> Result<Option<Greeted>, String> {
    door.allows(address).map_err(|failure| failure.detail)?;
    socket::tune(&stream).map_err(|error| error.to_string())?;
    let (mut stream, certificate): (Box<dyn Duplex>, _) = match &door.identity {
        None => (Box::new(stream), None),
        Some(identity) => {
            let stream = identity.acceptor().accept(stream).await.map_err(|error| error.to_string())?;
            let chain = stream.get_ref().1.peer_certificates();
            let first = chain.and_then(<[_]>::first).map(|certificate| certificate.clone().into_owned());
            (Box::new(stream), Some(first.ok_or("it showed no certificate")?))
        }
    };
    let hello: Hello = hello::read(&mut stream).await.map_err(|error| error.to_string())?;
    let named = match (&door.identity, &certificate) {
        (Some(identity), Some(certificate)) => identity.names(certificate, &hello.node),
        _ => true,
    };
    let judged = match named {
        true => door.me.judge(&hello),
        false => Err(format!("the certificate is not for {}", hello.node)),
    };
    let room =
        || door.room.clone().try_acquire_owned().map_err(|_| "too many nodes are connected".to_owned());
    let (welcome, greeted) = match judged.and_then(|()| match hello.purpose {
        Purpose::Probe => Ok(None),
        Purpose::Session => room().map(Some),
    }) {
        Ok(permit) => (Welcome::Yes(door.me.hello(&hello.node, hello.purpose)), Ok(permit)),
        Err(reason) => {
            let no = Welcome::No { node: door.me.node.clone(), reason: reason.clone() };
            (no, Err(format!("{}: {reason}", hello.node)))
        }
    };
    hello::write(&mut stream, &welcome).await.map_err(|error| error.to_string())?;
    Ok(greeted?.map(|permit| (hello, stream, permit)))
}
