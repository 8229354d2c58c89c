//! The carrier, `ractor_cluster`'s node server, started so that nothing of its own reaches the network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ractor::{Actor, ActorRef};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{IncomingEncryptionMode, NodeServer, NodeServerMessage};
use shardmill_connectors::failure::Failure;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;

use crate::node::NodeId;

/// The largest frame that is read, in bytes.
const FRAME: u64 = 1 << 20;
/// Ports tried for the carrier's own listener.
const PORTS: usize = 16;

/// A running carrier.
pub(super) struct Carrier {
    pub(super) server: ActorRef<NodeServerMessage>,
    pub(super) ended: JoinHandle<()>,
    /// The one connection its own listener is kept busy with.
    pub(super) plug: TcpStream,
}

/// Starts it. It insists on a listener: that one gets a silent connection from us, whose TLS handshake it waits for as long as it
/// lives; so it accepts no other, however few descriptors are left.
///
/// # Errors
/// `Crashed` when it does not start.
pub(super) async fn start(me: &NodeId, cookie: &str) -> Result<Carrier, Failure> {
    let crashed =
        |what: &dyn std::fmt::Display| Failure::crashed(format!("the transport did not start: {what}"));
    let acceptor = nobody().map_err(|error| crashed(&error))?;
    let mut last = String::new();
    for _ in 0..PORTS {
        let port = free_port().await.map_err(|error| crashed(&error))?;
        let server = NodeServer::new(
            port,
            cookie.to_owned(),
            me.to_string(),
            me.to_string(),
            Some(IncomingEncryptionMode::Tls(acceptor.clone())),
            Some(NodeConnectionMode::Isolated),
        );
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let server = server.with_listen_addr(local).with_max_inbound_frame_size(FRAME);
        match Actor::spawn(None, server, ()).await {
            Ok((server, ended)) => {
                let plug = TcpStream::connect((local, port)).await.map_err(|error| crashed(&error))?;
                return Ok(Carrier { server, ended, plug });
            }
            // Somebody else took the port meanwhile.
            Err(error) => last = error.to_string(),
        }
    }
    Err(crashed(&last))
}

async fn free_port() -> io::Result<u16> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(any).await?.local_addr()?.port())
}

/// Has a certificate for nobody.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn nobody() -> Result<TlsAcceptor, tokio_rustls::rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Nobody));
    Ok(TlsAcceptor::from(Arc::new(config)))
}
