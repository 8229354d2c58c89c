//! Sessions that come and go: nodes that end, restart, hang, and are forgotten.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::Limits;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_is_found_gone_by_whoever_dialed_and_by_whoever_was_dialed() {
    let (mut a, b) = pair(Node::secure("a").await, Node::secure("b").await).await;
    let gone = b.id.clone();
    b.transport.stop().await;
    a.loses(&gone).await;
    a.finds_gone(&gone).await;
    assert!(a.sees_nobody());
    // The other way round: the one that is left does not dial, it only looks.
    let (b, mut c) = pair(Node::secure("b").await, Node::secure("c").await).await;
    let gone = b.id.clone();
    b.transport.stop().await;
    c.loses(&gone).await;
    c.finds_gone(&gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_another_one_at_the_same_address() {
    let (mut a, b) = pair(Node::secure("a").await, Node::secure("b").await).await;
    let (before, address) = (b.id.clone(), b.transport.address());
    b.transport.stop().await;
    let settings = Settings::new(NodeId::boot("b"), address, identity(&certificates_of("b")));
    let mut b = Node::start(settings).await;
    a.loses(&before).await;
    a.finds_gone(&before).await;
    // The documents now name the new boot.
    a.peers.send_modify(|peers| _ = peers.remove(&before));
    introduce(&a, &b);
    a.connects(&b.id.clone()).await;
    b.connects(&a.id.clone()).await;
    assert_eq!(a.ask(&b.id, "echo", json!(1)).await, Ok(json!({"echo": 1})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_documents_no_longer_name_is_let_go() {
    let (mut a, mut b) = pair(Node::plain("a").await, Node::plain("b").await).await;
    a.peers.send_modify(BTreeMap::clear);
    let reason = a.loses(&b.id.clone()).await;
    assert!(reason.contains("documents"), "{reason}");
    b.loses(&a.id.clone()).await;
}

/// Carries bytes between two nodes for as long as it is told to; the connections stay open all the time.
struct Relay {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Relay {
    async fn to(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let (address, (open, opened)) = (listener.local_addr().unwrap(), watch::channel(true));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(target).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, opened.clone()));
                tokio::spawn(carry(far_in, near_out, opened.clone()));
            }
        });
        Relay { address, open }
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hangs_is_let_go_and_found_again() {
    let quick = Limits {
        heartbeat: Duration::from_millis(50),
        answer: Duration::from_millis(500),
        redial: Duration::from_millis(200),
        handshake: Duration::from_millis(500),
        ..Limits::default()
    };
    let of = |name: &str| Settings {
        limits: quick.clone(),
        ..Settings::new(NodeId::boot(name), ANY, identity(&certificates_of(name)))
    };
    let (mut a, mut b) = (Node::start(of("a")).await, Node::start(of("b")).await);
    let relay = Relay::to(b.transport.address()).await;
    a.knows(&b.id, relay.address);
    b.knows(&a.id, a.transport.address());
    a.connects(&b.id.clone()).await;
    b.connects(&a.id.clone()).await;
    relay.open.send_replace(false);
    let reason = a.loses(&b.id.clone()).await;
    assert!(reason.contains("heartbeats"), "{reason}");
    b.loses(&a.id.clone()).await;
    relay.open.send_replace(true);
    a.connects(&b.id.clone()).await;
    b.connects(&a.id.clone()).await;
    // What the relay still held belongs to connections that are over; the present one works.
    until(|| !a.sees_nobody() && !b.sees_nobody()).await;
}
