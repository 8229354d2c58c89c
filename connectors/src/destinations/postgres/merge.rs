//! A batch as a transaction: begun, copied, merged, committed.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_postgres::Error;

use super::client::{CONNECT, Session};
use super::copy;
use super::settings::Postgres;
use crate::destinations::Event;

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There was no connection yet.
    Connecting,
    /// There was one, and nothing was committed.
    Open,
    /// The commit was under way.
    Committing,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) stage: Stage,
    pub(super) cause: Cause,
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Cause {
    /// The server said so, or the connection broke.
    Error(Error),
    /// There was no answer for so long.
    Silence(Duration),
}

/// What a table may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// Itself.
    Table,
    /// A column.
    Column,
}

impl Trouble {
    /// What the table lacks, when that is what the server said.
    pub(super) fn lacks(&self) -> Option<Lack> {
        match &self.cause {
            Cause::Error(error) => lacks(error),
            Cause::Silence(_) => None,
        }
    }
}

fn lacks(error: &Error) -> Option<Lack> {
    match error.code()?.code() {
        "42P01" => Some(Lack::Table),
        "42703" => Some(Lack::Column),
        _ => None,
    }
}

/// Delivers a batch: all of it is in the table when this returns, or, after a trouble before [`Stage::Committing`], nothing that
/// was not there before.
pub(super) async fn deliver(postgres: &Postgres, events: &[Event]) -> Result<(), Trouble> {
    let deadline = Deadline::new(postgres.timeout);
    let session = deadline.connect(postgres).await?;
    let mut done = deadline.within(Stage::Open, transfer(postgres, &session, events)).await;
    if done.is_ok() {
        done = deadline.within(Stage::Committing, session.run("COMMIT")).await;
    }
    settle(postgres, session, &deadline, done).await
}

/// Does what a delivery does, but for the rows: whether that goes well. Changes nothing.
///
/// To explain the merge is enough: the server looks for the index, and whether we may insert, without doing it.
pub(super) async fn rehearse(postgres: &Postgres) -> Result<(), Trouble> {
    let deadline = Deadline::new(postgres.timeout);
    let session = deadline.connect(postgres).await?;
    let rehearsal = async {
        session.run(&postgres.table.begin(postgres.timeout).join("; ")).await?;
        session.run(&format!("EXPLAIN {}", postgres.table.merge())).await?;
        session.run("ROLLBACK").await
    };
    let done = deadline.within(Stage::Open, rehearsal).await;
    settle(postgres, session, &deadline, done).await
}

/// Keeps the connection when it is as good as it was. What the server refused leaves it so, once the transaction is ended.
async fn settle(
    postgres: &Postgres,
    session: Session,
    deadline: &Deadline,
    done: Result<(), Trouble>,
) -> Result<(), Trouble> {
    let refused = |trouble: &Trouble| matches!(&trouble.cause, Cause::Error(error) if error.code().is_some());
    let clean = match &done {
        Ok(()) => true,
        Err(trouble) if refused(trouble) => {
            deadline.within(Stage::Open, session.run("ROLLBACK")).await.is_ok()
        }
        Err(_) => false,
    };
    if clean {
        postgres.pool.keep(session);
    }
    done
}

/// Everything but the commit.
async fn transfer(postgres: &Postgres, session: &Session, events: &[Event]) -> Result<(), Error> {
    begin(postgres, session).await?;
    copy::copy(&session.client, &postgres.table.copy(), events).await?;
    session.run(&postgres.table.merge()).await
}

/// Begins the transaction. Once, what the table lacks is made, where that is wanted: nothing of the batch was sent yet.
async fn begin(postgres: &Postgres, session: &Session) -> Result<(), Error> {
    let begin = postgres.table.begin(postgres.timeout).join("; ");
    let Err(error) = session.run(&begin).await else { return Ok(()) };
    let making = match lacks(&error).filter(|_| postgres.create) {
        Some(Lack::Table) => postgres.table.create(postgres.timeout),
        Some(Lack::Column) => postgres.table.extend(postgres.timeout),
        None => return Err(error),
    };
    session.run("ROLLBACK").await?;
    if let Err(error) = session.run(&making.join("; ")).await {
        if !is_made_by_another(&error) {
            return Err(error);
        }
        session.run("ROLLBACK").await?;
    }
    session.run(&begin).await
}

/// Whether somebody else made the same at the same time: `IF NOT EXISTS` does not see what is not committed yet.
fn is_made_by_another(error: &Error) -> bool {
    error.code().is_some_and(|state| matches!(state.code(), "23505" | "42P07" | "42710" | "42701"))
}

/// When an attempt ends at the latest.
struct Deadline {
    begun: Instant,
    at: Instant,
}

impl Deadline {
    fn new(timeout: Duration) -> Self {
        let begun = Instant::now();
        Deadline { begun, at: begun + timeout }
    }

    async fn connect(&self, postgres: &Postgres) -> Result<Session, Trouble> {
        let deadline = Deadline { at: self.at.min(self.begun + CONNECT), ..*self };
        deadline.within(Stage::Connecting, postgres.pool.session()).await
    }

    async fn within<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Trouble> {
        let cause = match timeout_at(self.at, work).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => Cause::Error(error),
            Err(_) => Cause::Silence(self.at - self.begun),
        };
        Err(Trouble { stage, cause })
    }
}
