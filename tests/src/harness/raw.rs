//! Raw files for an intake: where a sender like Firehose puts them, and who announces them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use shardmill_connectors::Millis;
use shardmill_connectors::embedded::{EmbeddedQueue, EmbeddedQueues};
use shardmill_connectors::ports::{Place, Queue};
use shardmill_connectors::raw::notice::{self, Announced};

use super::Setup;

/// A store that announces what is put into it.
#[async_trait]
pub trait RawStore: Send + Sync {
    /// A node that takes its files in, for the table `events`; `stream` are further lines of `[streams.events]`.
    fn setup(&self, stream: &str) -> Setup;

    /// Puts a file without announcing it, where the store can; else announced as well.
    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), String>;

    /// Sees to it that a file is announced: once more, where putting it has done so already.
    async fn announce(&self, key: &str) -> Result<(), String>;

    /// Sends a text that may be no notice.
    async fn say(&self, text: &str) -> Result<(), String>;

    /// Notices that are not settled.
    async fn unsettled(&self) -> Result<u64, String>;
}

/// The bucket of the embedded store.
const BUCKET: &str = "acme-raw";
/// Its queue.
const QUEUE: &str = "raw-files";

/// Files in the data directory of a node, announced in its embedded queue.
#[derive(Debug)]
pub struct EmbeddedRawStore {
    data_dir: PathBuf,
    folder: PathBuf,
    queue: EmbeddedQueue,
}

impl EmbeddedRawStore {
    /// The store of the data directory `dir`, which is created.
    pub fn new(dir: &Path) -> Result<Self, String> {
        let folder = dir.join("raw").join(BUCKET);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let queues = EmbeddedQueues::open(dir).map_err(|failure| failure.to_string())?;
        Ok(EmbeddedRawStore { data_dir: dir.to_owned(), folder, queue: queues.queue(QUEUE) })
    }

    /// The lines of a node's configuration that name the queue.
    pub fn config(&self) -> String {
        format!("[intake.files]\nqueue = \"{QUEUE}\"\ntable = \"events\"\n")
    }

    /// A file's notice as S3 writes it, created `at`.
    pub fn notice(key: &str, at: Millis) -> String {
        let place = Place { bucket: BUCKET.into(), key: key.into(), version: None };
        notice::write(&Announced { place, etag: None, sequencer: None, size: None, at, redrives: 0 })
    }

    /// Where a file is.
    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }
}

#[async_trait]
impl RawStore for EmbeddedRawStore {
    fn setup(&self, stream: &str) -> Setup {
        let lake = "[lake]\nflush = { every = \"300ms\" }\nlate_grace = \"1s\"\ndelete_grace = \"1s\"\n";
        let config = format!("[streams.events]\nshards = 1\n{stream}{lake}{}", self.config());
        Setup::new(&self.data_dir, Some(&config))
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        let path = self.path(key);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
            // Under its name only when it is whole, as in S3.
            let begun = path.with_extension("begun");
            std::fs::write(&begun, &bytes)?;
            std::fs::rename(&begun, &path)
        };
        write().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
    }

    async fn announce(&self, key: &str) -> Result<(), String> {
        self.say(&Self::notice(key, Millis::now())).await
    }

    async fn say(&self, text: &str) -> Result<(), String> {
        let sent = self.queue.send(vec![text.to_owned()]).await.map_err(|failure| failure.to_string())?;
        sent.into_iter().collect::<Result<(), _>>().map_err(|failure| failure.to_string())
    }

    async fn unsettled(&self) -> Result<u64, String> {
        let depth = self.queue.depth().await.map_err(|failure| failure.to_string())?;
        Ok(depth.visible + depth.in_flight)
    }
}

/// Waits until every notice of a store is settled.
pub async fn settled(store: &dyn RawStore, within: Duration) -> Result<(), String> {
    let wait = async {
        while store.unsettled().await? > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    let waited = tokio::time::timeout(within, wait).await;
    waited.map_err(|_| format!("notices are unsettled after {} s", within.as_secs()))?
}

/// A name as Firehose gives it.
pub fn firehose_key(at: Millis, number: usize) -> String {
    let text = at.to_string(); // 2026-11-20T23:59:01.000Z
    let (day, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    let folder = day.replace('-', "/");
    let hour = time.get(..2).unwrap_or_default();
    format!("in/{folder}/{hour}/web-1-{day}-{}-{number:08x}", time.replace(':', "-"))
}

/// One gzip member.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|error| error.to_string())
}
