//! `hostile`: whatever strangers do at the port for nodes, the nodes talk on, and nothing that none of them said is done.

mod strangers;
mod victim;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardmill_cluster::transport::certificates::{self, Order};
use shardmill_cluster::transport::{ControlPlane, Identity, Peers, Settings};
use shardmill_cluster::{NodeId, Transport};
use tokio::sync::watch;

use self::strangers::{Mischief, Relay};
use self::victim::Victim;
pub use self::victim::be;
use super::{Options, Outcome, tell};
use crate::harness::node::resident;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may take while strangers are at the port.
const DEADLINE: Duration = Duration::from_secs(5);
/// What the victim may hold in memory more than before the attacks, in bytes.
const MEMORY: u64 = 64 << 20;
/// What it may have logged, in bytes.
const LOG: u64 = 64 << 10;

/// A node of the cluster that talks to the victim all the time.
struct Friend {
    transport: Arc<Transport>,
    peers: watch::Sender<Peers>,
    victim: NodeId,
    asked: AtomicU64,
    slowest_us: AtomicU64,
}

impl Friend {
    async fn start(folder: &Path, name: &str, victim: &Victim, at: SocketAddr) -> Result<Friend, String> {
        let identity = Identity::load(&folder.join(name)).map_err(|failure| failure.to_string())?;
        let (peers, watched) = watch::channel([(victim.node.clone(), at)].into());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let settings = Settings::new(NodeId::boot(name), any, Some(identity));
        let transport = Transport::start(settings, watched).await.map_err(|failure| failure.to_string())?;
        let (asked, slowest_us) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Friend { transport: Arc::new(transport), peers, victim: victim.node.clone(), asked, slowest_us })
    }

    /// How long it takes from here to a session.
    async fn connected(&self) -> Result<Duration, String> {
        let since = Instant::now();
        while self.transport.peers().is_empty() {
            if since.elapsed() > PATIENCE {
                return Err("a node of the cluster does not get in".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(since.elapsed())
    }

    /// Sends one note.
    async fn note(&self) -> Result<(), String> {
        let body = json!(self.asked.fetch_add(1, Ordering::Relaxed));
        let since = Instant::now();
        let outcome = self.transport.request(&self.victim, "note", body, DEADLINE).await;
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.slowest_us.fetch_max(took, Ordering::Relaxed);
        outcome.map(|_| ()).map_err(|refusal| refusal.to_string())
    }

    async fn look(&self) -> Result<Value, String> {
        let looked = self.transport.request(&self.victim, "look", Value::Null, DEADLINE).await;
        looked.map_err(|refusal| refusal.to_string())
    }

    /// Does `attack` while notes are sent, every one of which must be answered; says how many were.
    async fn during(&self, attack: impl Future<Output = Result<(), String>>) -> Result<u64, String> {
        let before = self.asked.load(Ordering::Relaxed);
        let notes = async {
            loop {
                if let Err(error) = self.note().await {
                    return Err::<(), _>(format!(
                        "a note was not answered while strangers were there: {error}"
                    ));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            failed = notes => failed?,
            attacked = attack => attacked?,
        }
        Ok(self.asked.load(Ordering::Relaxed) - before)
    }
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (ours, foreign) = (folder.path().join("ours"), folder.path().join("foreign"));
    for out in [&ours, &foreign] {
        let nodes = ["a", "b", "v"].map(str::to_owned).to_vec();
        let order = Order { out: out.clone(), nodes, cluster: "proof".into(), days: 1 };
        certificates::make(&order).map_err(|failure| failure.to_string())?;
    }
    let victim = Victim::start(&ours.join("v"), folder.path().join("victim.log")).await?;
    let friend = Friend::start(&ours, "a", &victim, victim.address).await?;
    friend.connected().await?;
    let pause = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    };
    friend.during(pause).await?;
    let memory_before = resident(victim.pid).ok_or("the victim has ended")?;

    let mut figures = attacks(&victim, &friend, (&ours, &foreign), &options).await?;
    let relayed = relay(&victim, &ours).await?;

    let seen = friend.look().await?;
    let notes: Vec<u64> = seen["notes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let distinct: BTreeSet<u64> = notes.iter().copied().collect();
    let asked = friend.asked.load(Ordering::Relaxed);
    let foreign_notes = seen["notes"].as_array().map_or(0, Vec::len) - notes.len();
    // The relay's node numbers its notes in words; each must be there once at most.
    if distinct.len() != notes.len()
        || distinct.iter().any(|note| *note >= asked)
        || foreign_notes as u64 > relayed.asked
    {
        return Err(format!("{} notes were done, {asked} were asked for", notes.len()));
    }
    let memory = resident(victim.pid).ok_or("the victim has ended")?;
    let log = std::fs::metadata(&victim.log).map_err(|error| error.to_string())?.len();
    if memory > memory_before + MEMORY || log > LOG {
        return Err(format!(
            "the victim holds {memory} bytes ({memory_before} before) and has logged {log} bytes"
        ));
    }
    let own = json!({
        "notes": asked, "slowest_note_ms": friend.slowest_us.load(Ordering::Relaxed) / 1_000,
        "pieces_meddled_with": relayed.meddled, "sessions_through_the_relay": relayed.sessions,
        "notes_through_the_relay": foreign_notes, "connections_refused": seen["refused"],
        "accepting_failed": seen["not_accepted"], "memory_mib": [memory_before >> 20, memory >> 20],
        "log_bytes": log,
    });
    if let (Some(figures), Some(own)) = (figures.as_object_mut(), own.as_object()) {
        figures.extend(own.clone());
    }
    Ok(figures)
}

/// Every attack in turn, with the friend talking on.
async fn attacks(
    victim: &Victim,
    friend: &Friend,
    (ours, foreign): (&Path, &Path),
    options: &Options,
) -> Outcome {
    let (at, seed) = (victim.address, options.seed);
    let (garbage, tries) = if options.short { (300, 20) } else { (2_000, 100) };
    let answered =
        friend.during(strangers::knock(at, garbage, |number| strangers::garbage(seed, number))).await?;
    tell(format!("{garbage} connections of garbage, {answered} notes meanwhile"));
    let huge = [u64::MAX, 1 << 63, 1 << 40, 17 << 20].map(u64::to_be_bytes);
    let lengths = |number: u64| huge[usize::try_from(number % 4).unwrap_or(0)].to_vec();
    friend.during(strangers::knock(at, tries, lengths)).await?;
    tell(format!("{tries} huge length prefixes"));
    let other = foreign.join("a");
    friend
        .during(async {
            for _ in 0..tries {
                strangers::with_certificate(at, ours, None).await?;
                strangers::with_certificate(at, ours, Some(&other)).await?;
            }
            Ok(())
        })
        .await?;
    tell(format!("{tries} handshakes without a certificate, {tries} with another authority's"));

    let stalled = strangers::silent(at, 60).await;
    let late = Friend::start(ours, "b", victim, at).await?;
    let joined = late.connected().await?;
    friend.note().await?;
    drop((stalled, late));
    if joined > Duration::from_secs(2) {
        return Err(format!("60 stalled handshakes delayed a node by {joined:?}"));
    }
    tell(format!("60 stalled handshakes: a node got in within {joined:?}"));

    let before = friend.look().await?["not_accepted"].as_u64().unwrap_or(0);
    let mut exhausted = 0;
    friend
        .during(async {
            let held = strangers::silent(at, victim::DESCRIPTORS * 2).await;
            exhausted = held.len();
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
        .await?;
    let failed = friend.look().await?["not_accepted"].as_u64().unwrap_or(0) - before;
    if failed == 0 {
        return Err(format!("{exhausted} connections did not exhaust {} descriptors", victim::DESCRIPTORS));
    }
    let late = Friend::start(ours, "b", victim, at).await?;
    let joined_after = late.connected().await?;
    tell(format!(
        "{exhausted} silent connections: accepting failed {failed} times; a node got in {joined_after:?} later"
    ));
    Ok(json!({
        "garbage": garbage, "huge_lengths": tries, "wrong_certificates": 2 * tries,
        "joined_beside_60_stalled_ms": joined.as_millis(), "silent": exhausted,
        "joined_after_exhaustion_ms": joined_after.as_millis(),
    }))
}

struct Relayed {
    asked: u64,
    meddled: u64,
    sessions: usize,
}

/// A node whose connection passes through a relay that repeats and changes what it carries: sessions end, and come again.
async fn relay(victim: &Victim, ours: &Path) -> Result<Relayed, String> {
    let relay = Relay::to(victim.address).await.map_err(|error| error.to_string())?;
    let node = Friend::start(ours, "b", victim, relay.address).await?;
    let (mut asked, mut sessions) = (0, 0);
    for mischief in [Mischief::Repeat, Mischief::Change, Mischief::Repeat] {
        node.connected().await?;
        sessions += 1;
        let note = |asked: u64| json!(format!("relayed {asked}"));
        node.transport
            .request(&node.victim, "note", note(asked), DEADLINE)
            .await
            .map_err(|refusal| format!("a relay that only carries: {refusal}"))?;
        asked += 1;
        relay.set(mischief);
        let meddled = node.transport.request(&node.victim, "note", note(asked), DEADLINE).await;
        asked += 1;
        let since = Instant::now();
        while !node.transport.peers().is_empty() {
            if since.elapsed() > PATIENCE {
                return Err(format!("a session outlives {mischief:?}; its note: {meddled:?}"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        relay.set(Mischief::Carry);
    }
    node.connected().await?;
    let _ = node.peers.send(Default::default());
    tell(format!("a relay meddled with {} pieces: every time the session ended", relay.meddled()));
    Ok(Relayed { asked, meddled: relay.meddled(), sessions })
}
