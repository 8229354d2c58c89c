//! What a cluster works on: its backend, its size, its configuration, its load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardmill_connectors::aws::s3::{Options as S3Options, S3Documents};
use shardmill_connectors::embedded::{EmbeddedDocuments, EmbeddedStream};
use shardmill_connectors::ports::{Documents, Shard, Stream};
use tempfile::TempDir;

use super::load::{SENDERS, Shards};
use crate::harness::cloud::{BUCKET, Cloud};
use crate::harness::cluster::{MARK, Recipe};
use crate::harness::{Feed, Receiver, Setup};
use crate::prove::deliveries::Webhook;

/// Shards of the stream.
pub(super) const SHARDS: u32 = 32;

/// Where the cluster works.
#[derive(Debug)]
pub(super) enum Backend {
    /// In a data directory.
    Embedded,
    /// On servers that speak AWS's protocols.
    Cloud(Box<Cloud>),
}

impl Backend {
    /// Servers with a stream of [`SHARDS`] shards.
    pub(super) async fn cloud(seed: u64) -> Result<Backend, String> {
        Ok(Backend::Cloud(Box::new(Cloud::start(SHARDS, seed).await?)))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Backend::Embedded => "embedded",
            Backend::Cloud(_) => "aws",
        }
    }

    /// How long before a crash what was delivered may be delivered again, in milliseconds: what a commit every second, or every
    /// thirty, leaves open, and as much as an attempt takes.
    pub(super) fn window_ms(&self) -> i64 {
        match self {
            Backend::Embedded => 15_000,
            Backend::Cloud(_) => 45_000,
        }
    }
}

/// What a rig begins with.
#[derive(Debug, Clone)]
pub(super) struct Size {
    /// Places for nodes.
    pub(super) places: usize,
    /// Nodes that are started.
    pub(super) nodes: usize,
    /// Keys of each sender in each shard; those that are not named have one.
    pub(super) weights: BTreeMap<usize, usize>,
    /// Events a second, in all.
    pub(super) per_second: u64,
    /// Bytes of padding in an event.
    pub(super) padding: usize,
    /// Further sections of the configuration.
    pub(super) more: String,
    /// What makes chance repeatable.
    pub(super) seed: u64,
}

impl Size {
    /// So many nodes, equal loads.
    pub(super) fn nodes(nodes: usize, seed: u64) -> Size {
        let (weights, more) = (BTreeMap::new(), String::new());
        Size { places: nodes, nodes, weights, per_second: 320, padding: 0, more, seed }
    }
}

/// What nodes are started with: every one posts under its own mark.
pub(super) fn recipe(size: &Size, backend: &Backend, receiver: &Receiver, folder: &TempDir) -> Recipe {
    let hook = Webhook { batch: 20, url: receiver.url_of(MARK), ..Webhook::new("hook", receiver) }.section();
    let more = format!("{hook}\n{}", size.more);
    let Setup { data_dir, config, env, .. } = match backend {
        Backend::Cloud(cloud) => cloud.setup_of(folder.path(), "", &more),
        Backend::Embedded => {
            let flush = "flush = { every = \"2s\", bytes = \"64MiB\" }";
            let lake = format!("[lake]\n{flush}\nlate_grace = \"1s\"\ndelete_grace = \"1s\"");
            let stream = format!("[streams.events]\nshards = {SHARDS}");
            Setup::new(
                &folder.path().join("data"),
                Some(&format!("backend = \"embedded\"\n{stream}\n{lake}\n{more}")),
            )
        }
    };
    Recipe {
        folder: folder.path().to_owned(),
        data_dir,
        config: config.unwrap_or_default(),
        env,
        own_env: BTreeMap::new(),
        listen: BTreeMap::new(),
    }
}

/// The documents themselves, and how often they may be looked at.
pub(super) fn documents(
    backend: &Backend,
    recipe: &Recipe,
) -> Result<(Arc<dyn Documents>, Duration), String> {
    Ok(match backend {
        Backend::Embedded => {
            let opened = EmbeddedDocuments::open(&recipe.data_dir).map_err(|failure| failure.to_string())?;
            (Arc::new(opened), Duration::from_millis(25))
        }
        Backend::Cloud(cloud) => {
            let place = format!("s3://{BUCKET}/state/").parse().map_err(|_| "no place")?;
            let opened = S3Documents::new(&cloud.storage(), place, S3Options::default());
            (Arc::new(opened), Duration::from_millis(300))
        }
    })
}

/// The stream's shards.
pub(super) async fn shards(backend: &Backend, recipe: &Recipe) -> Result<Vec<Shard>, String> {
    let shards = match backend {
        Backend::Embedded => {
            let day = Duration::from_secs(86_400);
            let stream = EmbeddedStream::open(&recipe.data_dir, "events", SHARDS, day);
            stream.map_err(|failure| failure.to_string())?.shards().await
        }
        Backend::Cloud(cloud) => cloud.stream().await?.shards().await,
    };
    shards.map_err(|failure| failure.to_string())
}

/// Every shard gets an event every few milliseconds, in turns over its keys.
pub(super) fn feed(size: &Size, shards: &Shards) -> Feed {
    let weights: Vec<usize> =
        (0..shards.len()).map(|place| size.weights.get(&place).copied().unwrap_or(1)).collect();
    let names = shards.keys(&weights);
    let (together, padding) = (8, "x".repeat(size.padding));
    let mut feed = Feed::new(u64::MAX, names.len() as u64, size.seed).shaped(move |_, event| {
        if !padding.is_empty() {
            event.insert("padding".into(), padding.clone().into());
        }
    });
    (feed.senders, feed.together, feed.names) = (SENDERS as u64, together, names);
    feed.every = Duration::from_millis(1_000 * together * feed.senders / size.per_second);
    feed
}
