//! The child that redrives what is asked for of one target: the lake, or a destination.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};

use super::desk::{Ask, Seen, groups, ready, window};
use super::{Parts, poller};
use crate::dead_letters::redrive::Redrive;
use crate::dead_letters::search::{Known, Search};
use crate::dead_letters::selection::{Selection, Status};
use crate::dead_letters::targets::Configured;
use crate::destination::DestinationState;
use crate::destination::gate::Breaker;
use crate::supervision::{Next, Worker, guarded};

/// Letters that are redriven together.
const TOGETHER: usize = 100;
/// How long a redrive goes on before other orders get their turn: a destination may need hours for its attempts.
const TURN: Duration = Duration::from_millis(500);
/// How long a message is left in the queue whose letter nobody takes now.
const PUT_OFF: Duration = Duration::from_secs(15 * 60);

/// See the [module](self). Dropped in the middle of it, a redrive is as one that was killed.
pub(super) struct Redriver {
    parts: Parts,
    target: String,
    /// What is being done; `true` when there may be more.
    under_way: Option<BoxFuture<'static, Result<bool, Failure>>>,
}

impl Redriver {
    pub(super) fn new(parts: Parts, target: String) -> Self {
        Redriver { parts, target, under_way: None }
    }
}

/// Redrives the next letters of a target; `false` when there are none.
async fn round(parts: Parts, target: String) -> Result<bool, Failure> {
    let asks = parts.desk.next(&target, TOGETHER);
    let any = !asks.is_empty();
    for group in groups(asks) {
        match (guarded(redrive(&parts, &group)).await, &group[..]) {
            // It is to blame, whatever it is: the others go on.
            (Err(Failure { class: Class::Rejected | Class::Crashed, detail, .. }), [ask]) => {
                tracing::warn!(letter = %ask.letter.id, reason = %detail, "cannot be redriven; its message stays in the queue");
                put_off(&parts, ask).await?;
            }
            (outcome, _) => outcome?,
        }
    }
    Ok(any)
}

/// Redrives the letters that are asked for, and settles the messages whose letters are settled.
async fn redrive(parts: &Parts, asks: &[Ask]) -> Result<(), Failure> {
    let ports = &parts.shared.ports;
    let mut selection =
        Selection { ids: asks.iter().map(|ask| ask.letter.id.clone()).collect(), ..Selection::default() };
    if let Some((since, until)) = window(asks) {
        // Not every file has to be read.
        (selection.since, selection.until) = (Some(Millis(since)), Some(Millis(until)));
    }
    let seen = look(parts, &selection).await?;
    let shut = shut(parts, &seen).await?;
    let ready = ready(&seen, &shut);
    if !ready.is_empty() {
        run(parts, &Selection { ids: ready, ..selection }).await?;
    }
    let known = Known::load(ports).await?;
    crash::point("request.before-settle");
    for ask in asks {
        match seen.get(&ask.letter.id) {
            None => unknown(parts, ask),
            Some(Seen { settled: true, .. }) => {
                settle(parts, ask).await?;
                parts.desk.count("repeated", |counts| &mut counts.repeated);
            }
            Some(_) if known.settlement(&ask.letter.id).is_some() => {
                settle(parts, ask).await?;
                parts.desk.count("redriven", |counts| &mut counts.redriven);
            }
            Some(_) => put_off(parts, ask).await?,
        }
    }
    Ok(())
}

/// Where the letters of a selection stand, by id.
async fn look(parts: &Parts, selection: &Selection) -> Result<BTreeMap<String, Seen>, Failure> {
    let all = Selection { status: Status::ALL.to_vec(), ..selection.clone() };
    let mut search = Search::open(&parts.shared.ports, &all).await?;
    let mut seen = BTreeMap::new();
    while let Some(found) = search.next().await? {
        let settled = found.settlement.is_some();
        seen.insert(found.letter.id, Seen { settled, destination: found.letter.destination });
    }
    Ok(seen)
}

/// Destinations that take nothing now: paused, or with an open breaker. Asked of the documents, because gates are paused, too,
/// before a node has read those.
async fn shut(parts: &Parts, seen: &BTreeMap<String, Seen>) -> Result<BTreeSet<String>, Failure> {
    let names: BTreeSet<&String> = seen.values().filter_map(|seen| seen.destination.as_ref()).collect();
    let mut shut = BTreeSet::new();
    for name in names {
        let said = DestinationState::read(parts.shared.ports.documents.as_ref(), name).await?;
        let gate = parts.shared.destinations.get(name).map(|handle| handle.gate());
        if said.paused.is_some() || gate.is_some_and(|gate| matches!(gate.breaker(), Breaker::Open(_))) {
            shut.insert(name.clone());
        }
    }
    Ok(shut)
}

/// Redrives, as the command does. The queue of dead letters is not gone through: what is asked for was taken from it.
async fn run(parts: &Parts, selection: &Selection) -> Result<(), Failure> {
    let shared = &parts.shared;
    let destinations = shared.destinations.all().into_values().map(|handle| handle.settings.clone());
    let redrive = Redrive {
        ports: &shared.ports,
        streams: &parts.sources(),
        write: &shared.lake.write,
        targets: &Configured::new(destinations, shared.streams.clone()),
        rate: None,
        dry_run: false,
        withdraw: false,
        progress: &|_, _| {},
    };
    for reason in redrive.run(selection).await?.failed {
        tracing::warn!(%reason, "letters that a message asks for were not redriven");
    }
    Ok(())
}

fn unknown(parts: &Parts, ask: &Ask) {
    if parts.desk.is_news(&ask.message) {
        let (message, letter) = (&ask.message, &ask.letter.id);
        tracing::warn!(%message, %letter, "a message of the redrive queue is left there: nobody knows its letter here");
        parts.desk.count("not_ours", |counts| &mut counts.not_ours);
    }
    parts.desk.put_down(&ask.message);
}

async fn settle(parts: &Parts, ask: &Ask) -> Result<(), Failure> {
    if let Some(receipt) = parts.desk.receipt(&ask.message) {
        parts.settings.queue.settle(&receipt).await?;
    }
    parts.desk.put_down(&ask.message);
    Ok(())
}

/// Leaves a message to the queue for a while. Its letter stays as it is.
async fn put_off(parts: &Parts, ask: &Ask) -> Result<(), Failure> {
    if let Some(receipt) = parts.desk.receipt(&ask.message) {
        parts.settings.queue.extend(&receipt, PUT_OFF).await?;
    }
    parts.desk.put_down(&ask.message);
    parts.desk.count("put_off", |counts| &mut counts.put_off);
    Ok(())
}

#[async_trait]
impl Worker for Redriver {
    async fn step(&mut self) -> Result<Next, Failure> {
        let (parts, target) = (self.parts.clone(), self.target.clone());
        let under_way = self.under_way.get_or_insert_with(|| round(parts, target).boxed());
        let Ok(outcome) = tokio::time::timeout(TURN, under_way).await else { return Ok(Next::Again) };
        self.under_way = None;
        if outcome? {
            self.parts.siblings.nudge(poller::NAME);
            return Ok(Next::Again);
        }
        Ok(Next::Done)
    }

    /// Letters stay letters: only the messages are let go.
    async fn dead_letter(&mut self, failure: &Failure) -> Result<(), Failure> {
        tracing::warn!(target = %self.target, %failure, "letters that messages ask for cannot be redriven now");
        for ask in self.parts.desk.next(&self.target, usize::MAX) {
            put_off(&self.parts, &ask).await?;
        }
        Ok(())
    }
}
