//! A third party on loopback that misbehaves as told: it refuses, throttles, resets, forgets to answer, or is not there, and it
//! remembers every request it saw.

mod decide;
mod dialect;
mod faults;
mod http;
mod pace;
mod record;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use dialect::Dialect;
pub use faults::{Faults, Outage, Reply, Script};
pub use record::{Came, Entry, Record, Tally};

use decide::{Decision, decide};
use http::{Connection, Request};
use record::{Recorder, Source};

/// How long an answer is withheld when the client does not give up earlier.
const WITHHELD: Duration = Duration::from_secs(120);
/// Between two attempts to listen again after an outage.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);
/// How long what must happen at once may take.
const AT_ONCE: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;
/// The path that answers without being remembered.
const KNOCK: &str = "/knock";

/// A receiver; ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    script: watch::Sender<Script>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    recorder: Mutex<Recorder>,
    tally: watch::Sender<Tally>,
}

impl Shared {
    /// A panic while it was held has left a record that is as good as before.
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// Starts listening on a free port of loopback.
    pub async fn start(script: Script) -> Result<Receiver, String> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("listening: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (script, follows) = watch::channel(script);
        let (tally, _) = watch::channel(Tally::default());
        let shared = Arc::new(Shared { recorder: Mutex::default(), tally });
        let task = tokio::spawn(listen(listener, follows, shared.clone()));
        Ok(Receiver { address, script, shared, task })
    }

    /// Where events are to be posted.
    pub fn url(&self) -> String {
        format!("{}/in", self.origin())
    }

    /// Its address without a path, for those who know the paths of its dialect.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same for one of several senders: [`Entry::via`] says which.
    pub fn url_of(&self, sender: &str) -> String {
        format!("{}/{sender}", self.url())
    }

    /// Changes the behaviour from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        self.script.send_modify(change);
    }

    /// How an event is refused for ever, if it is.
    pub fn refusal(&self, id: &str) -> Option<Reply> {
        self.script.borrow().refusal(id)
    }

    /// How much has arrived.
    pub fn tally(&self) -> Tally {
        *self.shared.tally.borrow()
    }

    /// Waits until `enough` holds; the tally then, or an error with the tally when it takes longer than `within`.
    pub async fn until(&self, within: Duration, enough: impl Fn(&Tally) -> bool) -> Result<Tally, String> {
        let mut tally = self.shared.tally.subscribe();
        let reached = tokio::time::timeout(within, tally.wait_for(|tally| enough(tally))).await;
        match reached {
            Ok(Ok(tally)) => Ok(*tally),
            _ => Err(format!("not reached within {} s: {:?}", within.as_secs(), self.tally())),
        }
    }

    /// Everything that has arrived so far.
    pub fn record(&self) -> Record {
        self.shared.recorder().record.clone()
    }

    /// Looks at everything that has arrived so far, without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.shared.recorder().record)
    }

    /// Parts what is sent from now on from what came before: the sender is dead and another one will be started. Connections
    /// that it opened belong to its epoch for as long as they carry something.
    pub async fn mark(&self) -> Result<(), String> {
        // Whatever waits to be accepted is in line before this knock.
        self.knock().await.map_err(|error| format!("the receiver does not answer: {error}"))?;
        self.shared.recorder().record.marks.push(shardmill_connectors::Millis::now());
        Ok(())
    }

    /// The same for the only sender there is: also waits until everything it had written was read.
    pub async fn mark_gone(&self) -> Result<(), String> {
        self.knock().await.map_err(|error| format!("the receiver does not answer: {error}"))?;
        self.until(AT_ONCE, |tally| tally.connections == 0).await?;
        self.mark().await
    }

    async fn knock(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(format!("GET {KNOCK} HTTP/1.1\r\n\r\n").as_bytes()).await?;
        stream.read_u8().await.map(|_| ())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_away(script: &Script) -> bool {
    script.outage == Some(Outage::Refused)
}

/// Accepts connections; nobody listens while the script says so. Ends when the receiver is dropped.
async fn listen(listener: TcpListener, mut script: watch::Receiver<Script>, shared: Arc<Shared>) {
    let Ok(address) = listener.local_addr() else { return };
    // While nobody listens the address is kept: connections to it are refused, and none of this machine's begins there.
    let (mut listener, mut kept) = (Some(listener), None);
    loop {
        let away = is_away(&script.borrow_and_update());
        match &listener {
            Some(_) if away => {
                listener = None;
                kept = keep(address).ok();
            }
            None if away => {
                if script.changed().await.is_err() {
                    return;
                }
            }
            None => match kept.take().map_or_else(|| keep(address), Ok).and_then(|it| it.listen(BACKLOG)) {
                Ok(again) => listener = Some(again),
                Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
            },
            Some(there) => tokio::select! {
                accepted = there.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connected(stream, script.clone(), shared.clone());
                    }
                }
                changed = script.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

/// An address that nobody else gets.
fn keep(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of before may not have ended yet.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves a connection until one side closes it.
fn connected(stream: TcpStream, mut script: watch::Receiver<Script>, shared: Arc<Shared>) {
    // Both before the next connection is accepted: a knock that is answered later has seen them.
    shared.tally.send_modify(|tally| tally.connections += 1);
    let epoch = shared.recorder().record.marks.len();
    tokio::spawn(async move {
        let mut away = script.clone();
        let served = serve(Connection::new(stream), epoch, &mut script, &shared);
        tokio::select! {
            _ = served => {}
            _ = away.wait_for(is_away) => {}
        }
        shared.tally.send_modify(|tally| tally.connections -= 1);
    });
}

/// A request under way; counted until it is dropped.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn new(shared: &'a Shared, taken: u64, fresh: u64) -> Self {
        shared.tally.send_modify(|tally| {
            tally.requests += 1;
            tally.taken += taken;
            tally.events += fresh;
            tally.under_way += 1;
        });
        UnderWay(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.tally.send_modify(|tally| tally.under_way -= 1);
    }
}

async fn serve(
    mut connection: Connection,
    epoch: usize,
    script: &mut watch::Receiver<Script>,
    shared: &Shared,
) -> std::io::Result<()> {
    while let Some(request) = connection.read().await? {
        if request.path == KNOCK {
            connection.answer(200, None, "").await?;
            continue;
        }
        let latency = script.borrow().latency;
        let (decision, _under_way) = take(&request, epoch, script, shared);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        match decision.reply {
            Reply::ResetBefore | Reply::ResetAfter => return connection.reset(),
            Reply::Torn => return connection.tear().await,
            Reply::Withheld => {
                connection.withhold(WITHHELD).await;
                return Ok(());
            }
            _ => {
                let said = decision.said;
                connection.answer(said.status, said.retry_after, &said.body).await?;
            }
        }
    }
    Ok(())
}

/// Decides about a request and remembers it, in one step: the order of the record is the order of the decisions.
fn take<'a>(
    request: &Request,
    epoch: usize,
    script: &watch::Receiver<Script>,
    shared: &'a Shared,
) -> (Decision, UnderWay<'a>) {
    let script = script.borrow().clone();
    let events = script.dialect.events(request);
    let (decision, (taken, fresh)) = {
        let mut recorder = shared.recorder();
        let decision = decide(&script, request, &events, &mut recorder);
        let via = request.path.strip_prefix("/in/").unwrap_or_default();
        let from = Source { epoch, via, id: request.id.as_deref() };
        let counts = match events.is_empty() {
            true => recorder.add(from, &events, decision.reply),
            false => recorder.add_each(from, &events, &decision.fates),
        };
        (decision, counts)
    };
    (decision, UnderWay::new(shared, taken, fresh))
}

#[cfg(test)]
mod tests;
