//! A node in this process: its actors, its collector, its ops listener.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use shardmill_actors::Node;
use shardmill_actors::admin::AdminHandle;
use shardmill_cluster::Transport;
use shardmill_connectors::Failure;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::collector::{self, Streams, Target};
use crate::commands::Error;
use crate::config::Config;
use crate::ops::{self, Access, Admin, Health, Ops};
use crate::{schemas, wire};

/// How long open requests may take to end when the node stops.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// How long other nodes may take to take this one's work over. What is left then is released all the same.
const HAND_OVER: Duration = Duration::from_secs(15);

/// How long the actors may take to commit and release what they hold. What is not committed then is read again.
const LAST_COMMITS: Duration = Duration::from_secs(20);

/// A running node with its listeners.
#[derive(Debug)]
pub struct Running {
    /// The actors.
    pub node: Node,
    /// Where the collector listens.
    pub collector: SocketAddr,
    /// Where operators are served.
    pub ops: SocketAddr,
    /// Where other nodes are served.
    pub cluster: SocketAddr,
    health: Arc<Health>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    hold: wire::Hold,
    transport: Arc<Transport>,
}

/// Why a node cannot go on.
#[derive(Debug)]
pub enum Ended {
    /// It failed.
    Failed(Failure),
    /// Others have declared it dead: what it holds is theirs, and it may do nothing more under this identity.
    Dead(Failure),
}

/// The admin actor as the ops listener asks it, and what only the process knows.
struct Asking {
    admin: AdminHandle,
    config: Option<PathBuf>,
    data_dir: PathBuf,
}

#[async_trait]
impl Admin for Asking {
    async fn request(&self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let mut answer = self.admin.request(command, arguments).await?;
        if command == "status" {
            answer["config"] = json!(self.config);
            answer["data_dir"] = json!(self.data_dir);
        }
        Ok(answer)
    }
}

impl Running {
    /// Starts a node.
    pub async fn start(config: &Config, metrics: PrometheusHandle) -> Result<Running, Error> {
        let stores = wire::open(config).await?;
        // Before anything can be written with them.
        schemas::register(config, &stores).await?;
        let (shared, hold, transport) = wire::shared(config, &stores).await?;
        let collector = listen(config.collector.listen, "the collector").await?;
        let ops = listen(config.ops.listen, "the ops listener").await?;
        let addresses = (address(&collector)?, address(&ops)?);
        let cluster = transport.address();
        shared.cluster.is_at(Some(cluster.to_string()), Some(addresses.1.to_string()));
        let node = Node::start(shared).await?;
        let health = Arc::new(Health::default());
        let (stop, stopped) = watch::channel(false);
        let door = collector::router(Arc::new(door(&stores)), options(config));
        let admin = ops::router(Ops {
            admin: Arc::new(Asking {
                admin: node.admin.clone(),
                config: config.file.as_deref().map(absolute),
                data_dir: absolute(&config.data_dir),
            }),
            health: health.clone(),
            metrics,
            access: Access::new(config.ops.token.clone(), config.ops.listen),
        });
        let servers = vec![
            tokio::spawn(serve(collector, door, stopped.clone())),
            tokio::spawn(serve(ops, admin, stopped)),
        ];
        health.ready();
        let (collector, ops) = addresses;
        Ok(Running { node, collector, ops, cluster, health, stop, servers, hold, transport })
    }

    /// Hands its work over, stops taking events, commits what is held, releases everything, ends.
    pub async fn stop(self) {
        self.health.not_ready("stopping");
        self.node.drain(HAND_OVER).await;
        self.stop.send_replace(true);
        let ended = futures::future::join_all(self.servers);
        if tokio::time::timeout(LAST_REQUESTS, ended).await.is_err() {
            tracing::warn!("requests were still open when the node stopped");
        }
        if tokio::time::timeout(LAST_COMMITS, self.node.stop()).await.is_err() {
            tracing::warn!(
                "not everything was committed and released in time: others take it over once this node is gone"
            );
        }
        // First of all: a port that refuses would make the others declare this node dead, and they need not.
        let hold = self.hold;
        let _ = tokio::task::spawn_blocking(move || hold.leave()).await;
        self.transport.stop().await;
    }

    /// Waits until the node cannot go on.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            failure = self.node.failed() => Ended::Failed(failure),
            failure = self.hold.lost() => Ended::Dead(failure),
        }
    }
}

/// A path that holds for a process that stands elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

async fn listen(at: SocketAddr, what: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(at).await.map_err(|error| {
        Failure::unauthorized(format!("{what} cannot listen on {at}: {error}; choose another address"))
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::crashed(format!("a listener without an address: {error}")))
}

async fn serve(
    listener: TcpListener,
    router: axum::Router,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let stop = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

fn door(stores: &wire::Stores) -> Streams {
    let target = |settings: &shardmill_actors::shared::StreamSettings| Target {
        stream: settings.stream.clone(),
        keys: Arc::new(settings.fields.clone()),
    };
    Streams(stores.streams.iter().map(|(name, settings)| (name.clone(), target(settings))).collect())
}

fn options(config: &Config) -> collector::Options {
    let max_body = usize::try_from(config.collector.max_body.0).unwrap_or(usize::MAX);
    let budget = usize::try_from(config.memory.limit.0 / 8).unwrap_or(usize::MAX);
    collector::Options::new(max_body, budget)
}
