//! A producer that writes to a stream without the collector, as companies do that have one: plain records, and user records
//! packed by the Kinesis Producer Library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use serde_json::json;
use shardmill_connectors::Millis;
use tokio::task::JoinHandle;

use super::feed::{Book, Offered};
use super::kpl::{self, UserRecord};

/// Events of one key that are packed together.
const PACKED: u64 = 5;
/// Different keys; every second one's events are packed.
const KEYS: u64 = 24;
/// Events written in one call.
pub const PER_ROUND: u64 = KEYS / 2 * (PACKED + 1);
/// Between an attempt that was refused and the next.
const AGAIN: Duration = Duration::from_millis(50);

/// What is written.
#[derive(Debug, Clone)]
pub struct Producer {
    /// The client.
    pub client: aws_sdk_kinesis::Client,
    /// The stream.
    pub stream: String,
    /// Events, in all.
    pub events: u64,
    /// Between two calls.
    pub every: Duration,
}

/// A producer at work.
#[derive(Debug)]
pub struct Producing {
    done: Arc<AtomicU64>,
    task: JoinHandle<Result<Book, String>>,
}

impl Producing {
    /// Events written so far.
    pub fn progress(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Whether everything is written, or writing has failed.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end: the book.
    pub async fn book(self) -> Result<Book, String> {
        self.task.await.map_err(|error| error.to_string())?
    }
}

impl Producer {
    /// Starts writing.
    pub fn start(self) -> Producing {
        let done = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(self.run(done.clone()));
        Producing { done, task }
    }

    async fn run(self, done: Arc<AtomicU64>) -> Result<Book, String> {
        let mut book = Book::new();
        let mut round = 0;
        while (book.len() as u64) < self.events {
            let mut entries = Vec::new();
            for key in 0..KEYS {
                entries.push(self.entry(key, round, &mut book)?);
            }
            self.put(entries).await?;
            done.store(book.len() as u64, Ordering::Release);
            round += 1;
            tokio::time::sleep(self.every).await;
        }
        Ok(book)
    }

    /// The next events of a key as one record of the stream.
    fn entry(&self, key: u64, round: u64, book: &mut Book) -> Result<PutRecordsRequestEntry, String> {
        let count = if key.is_multiple_of(2) { PACKED } else { 1 };
        let name = format!("p{key}");
        let users = (round * count..(round + 1) * count).map(|number| {
            let (id, at) = (format!("{name}-{number}"), Millis::now());
            let data = json!({"messageId": id, "type": "track", "event": "Produced", "userId": name,
                "timestamp": at.to_string(), "number": number, "sentMs": at.0});
            let index = book.len() as u64;
            let offered = Offered { index, key: name.clone(), number, at, sent: at, acknowledged: true };
            book.insert(id, offered);
            UserRecord::new(name.clone(), data.to_string())
        });
        kpl::entry(&users.collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    /// Puts records until all are taken. One of each key at a time: those that were refused come again before the next.
    async fn put(&self, mut entries: Vec<PutRecordsRequestEntry>) -> Result<(), String> {
        while !entries.is_empty() {
            let call = self.client.put_records().stream_name(&self.stream).set_records(Some(entries.clone()));
            let answer = call.send().await.map_err(|error| format!("PutRecords: {error:?}"))?;
            let refused = answer.records().iter().map(|record| record.error_code().is_some());
            let refused: Vec<bool> = refused.collect();
            let mut refused = refused.into_iter();
            entries.retain(|_| refused.next().unwrap_or(true));
            if !entries.is_empty() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }
}
