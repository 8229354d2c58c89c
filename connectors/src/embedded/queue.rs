//! Embedded queues: `<data-dir>/queues.db` holds as many as are named.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tokio::sync::watch;
use tokio::time::Instant;

use super::sqlite::{Care, Database, Fault, Schema, Write};
use crate::clock::Millis;
use crate::failure::Failure;
use crate::ports::{Depth, Message, Queue};

/// How often a waiting receiver looks for what other processes sent, and for messages whose visibility timeout is over.
const POLL: Duration = Duration::from_millis(150);

/// The index gives the messages of a queue in the order in which they become visible.
const SCHEMA: Schema = Schema {
    page_size: 4096,
    steps: &["
        CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            queue TEXT NOT NULL,
            visible_at INTEGER NOT NULL,
            received INTEGER NOT NULL,
            sent_at INTEGER NOT NULL,
            body TEXT NOT NULL
        ) STRICT;
        CREATE INDEX next_visible ON messages (queue, visible_at, id);
    "],
};

/// All queues of a data directory.
#[derive(Debug, Clone)]
pub struct EmbeddedQueues {
    database: Database,
    /// Per queue, how often something was sent or handed back by this process: wakes its receivers.
    sent: Arc<Mutex<HashMap<String, watch::Sender<u64>>>>,
}

impl EmbeddedQueues {
    /// Opens the queues of the data directory `dir`, which is created if needed.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let database = Database::open(dir.join("queues.db"), &SCHEMA, |_| Ok(()))?;
        Ok(EmbeddedQueues { database, sent: Arc::default() })
    }

    /// The queue of this name. It exists by being named.
    pub fn queue(&self, name: &str) -> EmbeddedQueue {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sent.entry(name.to_owned()).or_default().clone();
        EmbeddedQueue { database: self.database.clone(), name: name.into(), sent }
    }
}

/// One queue of [`EmbeddedQueues`].
#[derive(Debug, Clone)]
pub struct EmbeddedQueue {
    database: Database,
    name: Arc<str>,
    sent: watch::Sender<u64>,
}

fn after(now: Millis, time: Duration) -> i64 {
    now.plus(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)).0
}

/// Names one delivery: the message, and how often it had been handed out. Handing it out again makes it stale.
fn receipt(id: i64, received: u32) -> String {
    format!("{id}-{received}")
}

fn delivery(receipt: &str) -> Option<(i64, u32)> {
    let (id, received) = receipt.split_once('-')?;
    Some((id.parse().ok()?, received.parse().ok()?))
}

fn receive(write: &Write<'_>, queue: &str, max: usize, visibility: Duration) -> Result<Vec<Message>, Fault> {
    let mut select = write.db.prepare_cached(
        "SELECT id, body, received, sent_at FROM messages WHERE queue = ?1 AND visible_at <= ?2
         ORDER BY visible_at, id LIMIT ?3",
    )?;
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = select.query_map(params![queue, write.stamp.0, limit], |row| {
        let (id, received) = (row.get::<_, i64>(0)?, row.get::<_, u32>(2)?.saturating_add(1));
        Ok((
            id,
            Message {
                id: id.to_string(),
                receipt: receipt(id, received),
                body: row.get(1)?,
                received,
                sent_at: Millis(row.get(3)?),
            },
        ))
    })?;
    let found = rows.collect::<Result<Vec<_>, _>>()?;
    let mut hide =
        write.db.prepare_cached("UPDATE messages SET visible_at = ?2, received = ?3 WHERE id = ?1")?;
    for (id, message) in &found {
        hide.execute(params![id, after(write.stamp, visibility), message.received])?;
    }
    Ok(found.into_iter().map(|(_, message)| message).collect())
}

fn any_visible(db: &Connection, queue: &str) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM messages WHERE queue = ?1 AND visible_at <= ?2 LIMIT 1";
    Ok(db.prepare_cached(sql)?.exists(params![queue, Millis::now().0])?)
}

impl EmbeddedQueue {
    /// Looks first, and takes the write lock only when there is something to hand out.
    async fn attempt(&self, max: usize, visibility: Duration) -> Result<Vec<Message>, Failure> {
        let queue = self.name.clone();
        if !self.database.read(move |db| any_visible(db, &queue)).await? {
            return Ok(Vec::new());
        }
        let queue = self.name.clone();
        self.database.write(Care::default(), move |write| receive(write, &queue, max, visibility)).await
    }

    /// Runs a change of one delivery; `false` when the receipt is stale.
    async fn change(&self, receipt: &str, sql: &'static str, visibility: Duration) -> Result<bool, Failure> {
        let Some((id, received)) = delivery(receipt) else { return Ok(false) };
        let queue = self.name.clone();
        let change = move |write: &Write<'_>| {
            let until = after(write.stamp, visibility);
            Ok(write.db.prepare_cached(sql)?.execute(params![id, received, &*queue, until])? == 1)
        };
        self.database.write(Care::default(), change).await
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn send(&self, bodies: Vec<String>) -> Result<Vec<Result<(), Failure>>, Failure> {
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let queue = self.name.clone();
        let count = bodies.len();
        let care = Care { bytes: bodies.iter().map(String::len).sum(), ..Care::default() };
        let insert = move |write: &Write<'_>| {
            let mut insert = write.db.prepare_cached(
                "INSERT INTO messages (queue, visible_at, received, sent_at, body) VALUES (?1, ?2, 0, ?2, ?3)",
            )?;
            for body in &bodies {
                insert.execute(params![&*queue, write.stamp.0, body])?;
            }
            Ok(())
        };
        self.database.write(care, insert).await?;
        self.sent.send_modify(|count| *count += 1);
        Ok(vec![Ok(()); count])
    }

    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, Failure> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + wait;
        let mut sent = self.sent.subscribe();
        loop {
            let found = self.attempt(max, visibility).await?;
            if !found.is_empty() || Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::select! {
                _ = sent.changed() => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + POLL)) => {}
            }
        }
    }

    async fn settle(&self, receipt: &str) -> Result<bool, Failure> {
        let sql = "DELETE FROM messages WHERE id = ?1 AND received = ?2 AND queue = ?3 AND ?4 IS NOT NULL";
        self.change(receipt, sql, Duration::ZERO).await
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<bool, Failure> {
        let sql = "UPDATE messages SET visible_at = ?4 WHERE id = ?1 AND received = ?2 AND queue = ?3";
        let known = self.change(receipt, sql, visibility).await?;
        if known && visibility.is_zero() {
            self.sent.send_modify(|count| *count += 1);
        }
        Ok(known)
    }

    async fn depth(&self) -> Result<Depth, Failure> {
        let queue = self.name.clone();
        self.database
            .read(move |db| {
                let sql =
                    "SELECT count(*) FILTER (WHERE visible_at <= ?2), count(*) FILTER (WHERE visible_at > ?2)
                           FROM messages WHERE queue = ?1";
                let mut statement = db.prepare_cached(sql)?;
                Ok(statement.query_row(params![&*queue, Millis::now().0], |row| {
                    Ok(Depth {
                        visible: row.get::<_, i64>(0)?.unsigned_abs(),
                        in_flight: row.get::<_, i64>(1)?.unsigned_abs(),
                    })
                })?)
            })
            .await
    }
}
