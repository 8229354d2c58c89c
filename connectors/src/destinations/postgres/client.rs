//! Connections to a database: made when they are needed, kept while they are of use, dropped when they break.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Config, Connection, Error, NoTls};

use super::tls::Tls;

/// Batches under way at a time and node, and connections kept for them.
pub(super) const CONCURRENCY: usize = 2;

/// The longest a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// The longest one address may take to answer: another may.
const DIAL: Duration = Duration::from_secs(4);

/// The longest a kept connection may take to show that it still stands.
const CHECK: Duration = Duration::from_secs(2);

/// Connections unused for so long are not used again: servers, poolers and firewalls close them, some without a word.
const IDLE: Duration = Duration::from_secs(60);

/// How soon a connection on which nothing is said is asked whether it still stands, and how often until it counts as lost.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// A connection on which what was sent is not acknowledged for so long is lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// The connections of a destination.
pub(super) struct Pool {
    config: Config,
    tls: Tls,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    session: Session,
    since: Instant,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration knows the password.
        f.debug_struct("Pool").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Connections as `config` says; the first is made when it is needed.
    pub(super) fn new(mut config: Config, tls: Tls, name: &str) -> Self {
        let (idle, interval, times) = KEEPALIVE;
        config
            .application_name(format!("shardmill {name}"))
            .connect_timeout(DIAL)
            .keepalives_idle(idle)
            .keepalives_interval(interval)
            .keepalives_retries(times)
            .tcp_user_timeout(UNACKNOWLEDGED);
        Pool { config, tls, idle: Mutex::default() }
    }

    /// A connection that stands: a kept one, or a new one.
    pub(super) async fn session(&self) -> Result<Session, Error> {
        while let Some(kept) = self.kept() {
            // It may have been closed meanwhile. Nothing of a batch was sent on it, so another may take its place.
            if matches!(timeout(CHECK, kept.client.check_connection()).await, Ok(Ok(()))) {
                return Ok(kept);
            }
        }
        match &self.tls {
            Tls::Off => self.config.connect(NoTls).await.map(Session::new),
            Tls::On(tls) => self.config.connect(tls.clone()).await.map(Session::new),
        }
    }

    /// Keeps a connection on which no transaction is open for the next batch.
    pub(super) fn keep(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CONCURRENCY && !session.client.is_closed() {
            idle.push(Idle { session, since: Instant::now() });
        }
    }

    fn kept(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < IDLE && !kept.session.client.is_closed());
        idle.pop().map(|kept| kept.session)
    }
}

/// A connection. Dropped, it is closed at once, whatever is under way: the server takes back what was not committed.
pub(super) struct Session {
    pub(super) client: Client,
    driving: JoinHandle<()>,
}

impl Session {
    fn new<S, T>((client, connection): (Client, Connection<S, T>)) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let driving = tokio::spawn(async move {
            // Why it ended, whoever waits for an answer is told as well.
            drop(connection.await);
        });
        Session { client, driving }
    }

    /// Runs statements, one after the other until one fails.
    pub(super) async fn run(&self, statements: &str) -> Result<(), Error> {
        self.client.batch_execute(statements).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driving.abort();
    }
}
