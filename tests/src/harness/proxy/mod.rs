//! A proxy that breaks calls on purpose: what no server offers (throttling, 409, lost replies, expired credentials), and
//! what networks do.
//!
//! It speaks HTTP/1.1 over plain TCP and passes bodies through byte by byte, so that signatures, chunks and trailers arrive
//! as they were sent. Which calls are hit is drawn from a seed; how often, of what kind, and which operations is counted.

mod answer;
mod call;
mod connection;
mod http;
mod rules;
mod spoil;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use call::Call;
pub use rules::{Fault, Rule};

/// What went through a proxy so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls by `service:Operation`, whatever became of them.
    pub calls: BTreeMap<String, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults by `service:Operation kind`.
    pub hits: BTreeMap<String, u64>,
}

impl Counts {
    /// All faults.
    pub fn injected(&self) -> u64 {
        self.faults.values().sum()
    }

    /// The calls of one operation, such as `s3:PutObject`.
    pub fn of(&self, operation: &str) -> u64 {
        self.calls.get(operation).copied().unwrap_or_default()
    }
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    random: StdRng,
    counts: Counts,
}

/// What the connections share.
#[derive(Debug, Clone)]
struct Shared {
    upstream: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A proxy on a loopback port of its own. Dropped, it and its connections end.
#[derive(Debug)]
pub struct FaultProxy {
    url: String,
    shared: Shared,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of `upstream` (`http://127.0.0.1:PORT`) without rules: everything goes through.
    ///
    /// # Errors
    /// When the upstream's URL is not of that form, or no port can be had.
    pub async fn start(upstream: &str, seed: u64) -> Result<Self, String> {
        let address = upstream.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let address = address.and_then(|rest| rest.parse().ok());
        let upstream = address.ok_or_else(|| format!("`{upstream}` is not like http://127.0.0.1:4566"))?;
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
        let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
        let state =
            State { rules: Vec::new(), random: StdRng::seed_from_u64(seed), counts: Counts::default() };
        let shared = Shared { upstream, state: Arc::new(Mutex::new(state)) };
        let accepting = tokio::spawn(connection::accept(listener, shared.clone()));
        Ok(FaultProxy { url, shared, accepting })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Replaces the rules. The first that matches a call and hits it decides.
    pub fn rules(&self, rules: impl IntoIterator<Item = Rule>) {
        self.shared.with(|state| state.rules = rules.into_iter().collect());
    }

    /// What went through so far.
    pub fn counts(&self) -> Counts {
        self.shared.with(|state| state.counts.clone())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a call and decides what becomes of it.
    fn decide(&self, call: &Call) -> Option<Fault> {
        self.with(|state| {
            *state.counts.calls.entry(call.to_string()).or_default() += 1;
            let State { rules, random, counts } = state;
            let rule =
                rules.iter_mut().find(|rule| rule.matches(call) && random.random_bool(rule.probability))?;
            if rule.spared > 0 {
                rule.spared -= 1;
                return None;
            }
            rule.left = rule.left.map(|left| left.saturating_sub(1));
            let kind = rule.fault.kind();
            *counts.faults.entry(kind).or_default() += 1;
            *counts.hits.entry(format!("{call} {kind}")).or_default() += 1;
            Some(rule.fault.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::any;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// A proxy before a server that answers with what it is sent.
    async fn echo(seed: u64) -> FaultProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(any(|body: Bytes| async move { body }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        FaultProxy::start(&upstream, seed).await.unwrap()
    }

    async fn connect(proxy: &FaultProxy) -> TcpStream {
        TcpStream::connect(proxy.url().trim_start_matches("http://")).await.unwrap()
    }

    const PUT: &[u8] = b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";

    async fn until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let mut part = [0; 1024];
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "closed after `{text}`");
            text.push_str(std::str::from_utf8(&part[..count]).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn calls_follow_each_other_on_one_connection() {
        let proxy = echo(1).await;
        let mut stream = connect(&proxy).await;
        for _ in 0..3 {
            stream.write_all(PUT).await.unwrap();
            assert!(until(&mut stream, "body").await.starts_with("HTTP/1.1 200"));
            let chunked = b"POST /b/k?uploads HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-trailer: 1\r\n\r\n";
            stream.write_all(chunked).await.unwrap();
            until(&mut stream, "abcde").await;
        }
        let counts = proxy.counts();
        assert_eq!((counts.of("s3:PutObject"), counts.of("s3:CreateMultipartUpload")), (3, 3));
        assert_eq!(counts.injected(), 0);
    }

    #[tokio::test]
    async fn a_reset_is_a_reset_and_half_an_answer_is_half() {
        let proxy = echo(2).await;
        for fault in [Fault::Reset, Fault::Lost] {
            proxy.rules([Rule::new(fault)]);
            let mut stream = connect(&proxy).await;
            stream.write_all(PUT).await.unwrap();
            let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        proxy.rules([Rule::new(Fault::Truncate)]);
        let mut stream = connect(&proxy).await;
        stream.write_all(PUT).await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        assert!(got.contains("content-length: 4") && got.ends_with("\r\n\r\nbo"), "{got}");
        assert_eq!(proxy.counts().faults, BTreeMap::from([("reset", 1), ("lost", 1), ("truncate", 1)]));
    }

    #[tokio::test]
    async fn a_body_goes_wrong_where_it_is_told_to() {
        let proxy = echo(4).await;
        let request = b"POST /b/k?uploads HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabcdefghij";
        let send = async |fault| {
            proxy.rules([Rule::new(fault)]);
            let mut stream = connect(&proxy).await;
            stream.write_all(request).await.unwrap();
            stream
        };
        let mut damaged = send(Fault::Damage(4)).await;
        let mut whole = Vec::new();
        while !whole.ends_with(b"fghij") {
            whole.push(damaged.read_u8().await.unwrap());
        }
        assert!(whole.ends_with(&[b'a', b'b', b'c', b'd', !b'e', b'f', b'g', b'h', b'i', b'j']));
        let mut cut = send(Fault::Cut(4)).await;
        until(&mut cut, "\r\n\r\nabcd").await;
        assert!(cut.read(&mut [0; 8]).await.is_err(), "a cut connection is reset");
        let mut stalled = send(Fault::Stall(4)).await;
        until(&mut stalled, "\r\n\r\nabcd").await;
        let more = tokio::time::timeout(Duration::from_millis(100), stalled.read(&mut [0; 8])).await;
        assert!(more.is_err(), "more came, or the end: {more:?}");
    }

    #[tokio::test]
    async fn rules_hit_some_calls_and_the_seed_says_which() {
        let mut hits = Vec::new();
        for _ in 0..2 {
            let proxy = echo(3).await;
            let slow = Rule::new(Fault::Delay(Duration::from_millis(50))).operation("GetObject").times(1);
            let some =
                Rule::new(Fault::error(503, "SlowDown")).operation("PutObject").after(2).probability(0.5);
            proxy.rules([slow, some]);
            let mut stream = connect(&proxy).await;
            let mut refused = Vec::new();
            for _ in 0..40 {
                stream.write_all(PUT).await.unwrap();
                let mut head = [0; 12];
                stream.read_exact(&mut head).await.unwrap();
                refused.push(&head == b"HTTP/1.1 503");
                until(&mut stream, if &head == b"HTTP/1.1 503" { "</Error>" } else { "body" }).await;
            }
            assert_eq!(proxy.counts().faults["error"], refused.iter().filter(|hit| **hit).count() as u64);
            assert!((5..35).contains(&proxy.counts().injected()), "{:?}", proxy.counts());
            let began = Instant::now();
            stream.write_all(b"GET /b/k HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            until(&mut stream, "\r\n\r\n").await;
            assert!(began.elapsed() >= Duration::from_millis(50));
            hits.push(refused);
        }
        assert_eq!(hits[0], hits[1]);
    }
}
