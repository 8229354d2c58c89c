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
            rule.left = rule.left.map(|left| left - 1);
            let kind = rule.fault.kind();
            *counts.faults.entry(kind).or_default() += 1;
            *counts.hits.entry(format!("{call} {kind}")).or_default() += 1;
            Some(rule.fault.clone())
        })
    }
}
