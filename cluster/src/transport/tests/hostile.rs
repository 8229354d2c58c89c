//! Strangers at the port: they get nowhere, and nobody waits for them.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Limits;
use super::super::envelope::Protocol;
use super::super::hello::{self, Me, Purpose, Welcome};
use super::*;

/// Waits until the other side has closed the connection.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = [0; 1024];
    let ended = async { while let Ok(1..) = stream.read(&mut rest).await {} };
    tokio::time::timeout(LONG, ended).await.expect("the connection stays open");
}

async fn knock(node: &Node) -> TcpStream {
    TcpStream::connect(node.transport.address()).await.unwrap()
}

fn me(node: &NodeId) -> Me {
    Me { node: node.clone(), protocol: Protocol::OURS, build: "0".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_opens_nothing() {
    let b = Node::secure("b").await;
    let foreign = identity(&CERTIFICATES[1].path().join("a"));
    let stranger = Node::start(Settings::new(NodeId::boot("a"), ANY, foreign)).await;
    introduce(&stranger, &b);
    until(|| b.transport.counts().refused > 0).await;
    assert!(stranger.sees_nobody() && b.sees_nobody());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_no_tls_is_no_better_off() {
    let (b, plain) = (Node::secure("b").await, Node::plain("a").await);
    introduce(&plain, &b);
    until(|| b.transport.counts().refused > 0).await;
    assert!(plain.sees_nobody() && b.sees_nobody());
    let mut other = knock(&b).await;
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_certificate_is_refused() {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let b = Node::secure("b").await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates_of("b").join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(&[&tokio_rustls::rustls::version::TLS13]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"shardmill".to_vec()];
    let name = identity(&certificates_of("b")).unwrap().expected(&b.id).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // TLS 1.3 lets a client believe it is done before the server has looked at its certificate.
    if let Ok(mut stream) = connector.connect(name, knock(&b).await).await {
        let _ = hello::write(&mut stream, &me(&"a-1".into()).hello(&b.id, Purpose::Session)).await;
        assert!(hello::read::<_, Welcome>(&mut stream).await.is_err());
    }
    until(|| b.transport.counts().refused > 0).await;
    assert!(b.sees_nobody());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_good_for_its_own_name_only() {
    let (b, c) = (Node::secure("b").await, Node::secure("c").await);
    let wrong = Settings::new(NodeId::boot("d"), ANY, identity(&certificates_of("a")));
    let refused = Transport::start(wrong, watch::channel(BTreeMap::new()).1).await.unwrap_err();
    assert!(refused.detail.contains("not for this node, `d.node.test.shardmill`"), "{refused}");
    // c's own certificate does not let it say it is a.
    let of_c = identity(&certificates_of("c")).unwrap();
    let name = of_c.expected(&b.id).unwrap();
    let mut stream = of_c.connector().connect(name, knock(&b).await).await.unwrap();
    let liar = NodeId::boot("a");
    hello::write(&mut stream, &me(&liar).hello(&b.id, Purpose::Session)).await.unwrap();
    match hello::read::<_, Welcome>(&mut stream).await.unwrap() {
        Welcome::No { reason, .. } => assert_eq!(reason, format!("the certificate is not for {liar}")),
        yes => panic!("it was let in: {yes:?}"),
    }
    // Where a expects b, c answers: the address was taken over by another node.
    let a = Node::secure("a").await;
    a.knows(&b.id, c.transport.address());
    until(|| c.transport.counts().refused > 0).await;
    assert!(a.sees_nobody() && c.sees_nobody());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_stalled_handshakes_delay_nobody() {
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let settings = Settings::new(NodeId::boot("b"), ANY, identity(&certificates_of("b")));
    let b = Node::start(Settings { limits: limits.clone(), ..settings }).await;
    let mut stalled = Vec::new();
    for _ in 0..60 {
        stalled.push(knock(&b).await);
    }
    until(|| b.transport.counts().accepted == 60).await;
    let (a, before) = (Node::secure("a").await, Instant::now());
    let (a, b) = pair(a, b).await;
    assert!(before.elapsed() < limits.handshake, "it took {:?}", before.elapsed());
    assert_eq!(a.ask(&b.id, "echo", json!(1)).await, Ok(json!({"echo": 1})));
    for stream in &mut stalled {
        closed(stream).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_stalled_handshake_makes_room() {
    let settings = Settings::new(NodeId::boot("b"), ANY, identity(&certificates_of("b")));
    let limits = Limits { handshakes: 4, handshake: LONG * 10, ..Limits::default() };
    let b = Node::start(Settings { limits, ..settings }).await;
    let mut stalled = Vec::new();
    for number in 1..=4 {
        stalled.push(knock(&b).await);
        until(|| b.transport.counts().accepted == number).await;
    }
    let (_a, _b) = pair(Node::secure("a").await, b).await;
    closed(&mut stalled[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_huge_lengths_end_their_connection_only() {
    let (a, b) = pair(Node::plain("a").await, Node::plain("b").await).await;
    let secure = Node::secure("b").await;
    let random: Vec<u8> = (0..1000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let huge = [u64::MAX, 1 << 63, 1 << 40, 17 << 20].map(|length: u64| length.to_be_bytes().to_vec());
    for bytes in huge.iter().chain([&random]) {
        for node in [&b, &secure] {
            let mut stream = knock(node).await;
            stream.write_all(bytes).await.unwrap();
            closed(&mut stream).await;
        }
        // The same from somebody who has said hello: now the carrier reads it.
        let (mut stream, liar) = (knock(&b).await, NodeId::boot("z"));
        hello::write(&mut stream, &me(&liar).hello(&b.id, Purpose::Session)).await.unwrap();
        assert!(matches!(hello::read(&mut stream).await.unwrap(), Welcome::Yes(_)));
        stream.write_all(bytes).await.unwrap();
        closed(&mut stream).await;
    }
    assert_eq!(a.ask(&b.id, "echo", json!(1)).await, Ok(json!({"echo": 1})));
    assert!(secure.sees_nobody());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_hello_and_nothing_more_is_cut() {
    let limits = Limits { session: Duration::from_millis(200), ..Limits::default() };
    let settings = Settings::new(NodeId::boot("b"), ANY, identity(&certificates_of("b")));
    let b = Node::start(Settings { limits, ..settings }).await;
    let of_a = identity(&certificates_of("a")).unwrap();
    let name = of_a.expected(&b.id).unwrap();
    let mut stream = of_a.connector().connect(name, knock(&b).await).await.unwrap();
    hello::write(&mut stream, &me(&NodeId::boot("a")).hello(&b.id, Purpose::Session)).await.unwrap();
    assert!(matches!(hello::read(&mut stream).await.unwrap(), Welcome::Yes(_)));
    closed(&mut stream).await;
    until(|| b.transport.counts().accepted == 1 && b.sees_nobody()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_nodes_are_let_in_until_one_leaves() {
    let quick = |sessions| Limits { sessions, redial: Duration::from_millis(200), ..Limits::default() };
    let of = |name: &str, sessions| Settings {
        limits: quick(sessions),
        ..Settings::new(NodeId::boot(name), ANY, None)
    };
    let (a, c) = pair(Node::plain("a").await, Node::start(of("c", 1)).await).await;
    let mut b = Node::start(of("b", 64)).await;
    introduce(&b, &c);
    until(|| c.transport.counts().refused > 0).await;
    assert!(b.sees_nobody() && c.transport.peers().len() == 1);
    a.transport.stop().await;
    b.connects(&c.id.clone()).await;
}

#[tokio::test]
async fn without_certificates_only_loopback_is_spoken_to() {
    let off = Settings::new(NodeId::boot("a"), "0.0.0.0:0".parse().unwrap(), None);
    let refused = Transport::start(off, watch::channel(BTreeMap::new()).1).await.unwrap_err();
    assert!(refused.detail.contains("certificates"), "{refused}");
}

#[test]
fn keys_are_private_and_every_wrong_file_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let order = |nodes: &[&str]| Order {
        out: folder.path().to_owned(),
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        cluster: "test".into(),
        days: 1,
    };
    certificates::make(&order(&["a"])).unwrap();
    let made = certificates::make(&order(&["b.eu-west-1", "a"])).unwrap();
    assert_eq!(made.len(), 2, "more nodes under the same authority, and new certificates for old ones");
    let mode = |path: &str| folder.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("ca.key"), mode("cookie"), mode("a/node.key"), mode("a/cookie")], [0o600; 4]);
    assert!(!folder.path().join("a/ca.key").exists(), "the authority's key is on no node");
    let [a, b] = ["a", "b.eu-west-1"].map(|name| Identity::load(&folder.path().join(name)).unwrap());
    assert_eq!((a.cluster(), a.cookie()), ("test", b.cookie()));
    b.belongs_to(&NodeId::boot("b.EU-west-1")).unwrap();
    assert!(a.belongs_to(&NodeId::boot("b")).is_err());
    for wrong in ["", "b/c", "..", "ü"] {
        assert!(certificates::make(&order(&[wrong])).is_err(), "{wrong}");
    }
    let told = |file: &str, change: &dyn Fn(&std::path::Path)| {
        certificates::make(&order(&["a"])).unwrap();
        change(&folder.path().join("a").join(file));
        let failure = Identity::load(&folder.path().join("a")).unwrap_err();
        assert!(failure.detail.contains(&format!("a/{file}")), "{failure}");
        failure.detail
    };
    let other = CERTIFICATES[0].path().join("b");
    for file in ["ca.pem", "node.pem", "node.key", "cookie"] {
        told(file, &|path| std::fs::remove_file(path).unwrap());
        told(file, &|path| std::fs::write(path, "x").unwrap());
    }
    told("node.pem", &|path| _ = std::fs::copy(other.join("node.pem"), path).unwrap());
    told("node.key", &|path| _ = std::fs::copy(other.join("node.key"), path).unwrap());
    let open = std::fs::Permissions::from_mode(0o644);
    let detail = told("node.key", &|path| std::fs::set_permissions(path, open.clone()).unwrap());
    assert!(detail.contains("chmod 600"), "{detail}");
}
