//! Those at the port who are no nodes of this cluster.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a stranger waits to be thrown out.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many knock at a time.
const AT_A_TIME: u64 = 32;

/// Waits until the other side has closed the connection.
async fn thrown_out<S: tokio::io::AsyncRead + Unpin>(mut stream: S) -> Result<(), String> {
    let mut rest = [0; 1024];
    let ended = async { while let Ok(1..) = stream.read(&mut rest).await {} };
    tokio::time::timeout(PATIENCE, ended).await.map_err(|_| "a stranger's connection stays open".to_owned())
}

/// `count` connections, each with bytes of its own; every one is thrown out.
pub(super) async fn knock(
    address: SocketAddr,
    count: u64,
    bytes: impl Fn(u64) -> Vec<u8>,
) -> Result<(), String> {
    let mut knocking = JoinSet::new();
    for number in 0..count {
        let said = bytes(number);
        knocking.spawn(async move {
            let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            // It may be thrown out before it has said all.
            let _ = stream.write_all(&said).await;
            thrown_out(stream).await
        });
        if number >= AT_A_TIME
            && let Some(done) = knocking.join_next().await
        {
            done.map_err(|error| error.to_string())??;
        }
    }
    while let Some(done) = knocking.join_next().await {
        done.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Random bytes: one in three begins like a TLS handshake.
pub(super) fn garbage(seed: u64, number: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed ^ number);
    let mut bytes = vec![0; random.random_range(1..4096)];
    random.fill_bytes(&mut bytes);
    // A record that is announced longer than what is sent would be waited for: bounded by the handshake's deadline.
    if number.is_multiple_of(3) && bytes.len() > 5 {
        bytes[..5].copy_from_slice(&[22, 3, 1, 0, 1]);
    }
    bytes
}

/// Connections that say nothing.
pub(super) async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let connecting = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await;
        held.extend(connecting.ok().and_then(Result::ok));
    }
    held
}

/// Tries TLS without a certificate, or with one of `folder` that another authority signed; fails when it is let in.
pub(super) async fn with_certificate(
    address: SocketAddr,
    authority: &Path,
    folder: Option<&Path>,
) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_file(authority.join("ca.pem")).map_err(|error| told(&error))?;
    roots.add(trusted).map_err(|error| told(&error))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| told(&error))?
        .with_root_certificates(roots);
    let mut config = match folder {
        None => config.with_no_client_auth(),
        Some(folder) => {
            let certificate =
                CertificateDer::from_pem_file(folder.join("node.pem")).map_err(|error| told(&error))?;
            let key = PrivateKeyDer::from_pem_file(folder.join("node.key")).map_err(|error| told(&error))?;
            config.with_client_auth_cert(vec![certificate], key).map_err(|error| told(&error))?
        }
    };
    config.alpn_protocols = vec![b"shardmill".to_vec()];
    let name = ServerName::try_from("v.node.proof.shardmill").map_err(|error| told(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| told(&error))?;
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
        return Ok(());
    };
    // TLS 1.3 lets a client believe it is in before its certificate was looked at: only an answer would tell.
    let _ = stream.write_all(&[0, 0, 0, 2, b'{', b'}']).await;
    match tokio::time::timeout(PATIENCE, stream.read_u8()).await {
        Ok(Err(_)) => Ok(()),
        Ok(Ok(_)) => Err("a certificate of nobody was answered".into()),
        Err(_) => Err("a certificate of nobody was not thrown out".into()),
    }
}

/// What the relay does to what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mischief {
    /// Nothing.
    Carry,
    /// Sends every piece towards the victim twice.
    Repeat,
    /// Changes a byte of every piece.
    Change,
}

/// A relay between two nodes: everything they say passes through it.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    mischief: watch::Sender<Mischief>,
    /// Pieces that were repeated or changed.
    meddled: Arc<AtomicU64>,
}

impl Relay {
    pub(super) async fn to(target: SocketAddr) -> io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, meddled) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let (mischief, told) = watch::channel(Mischief::Carry);
        let count = meddled.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let (forth, back) = ((told.clone(), count.clone()), (told.clone(), count.clone()));
                tokio::spawn(carry(near_in, far_out, forth));
                tokio::spawn(carry(far_in, near_out, back));
            }
        });
        Ok(Relay { address, mischief, meddled })
    }

    pub(super) fn set(&self, mischief: Mischief) {
        self.mischief.send_replace(mischief);
    }

    pub(super) fn meddled(&self) -> u64 {
        self.meddled.load(Ordering::Relaxed)
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    (mischief, meddled): (watch::Receiver<Mischief>, Arc<AtomicU64>),
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let now = *mischief.borrow();
        let piece = &mut bytes[..read];
        if now != Mischief::Carry {
            meddled.fetch_add(1, Ordering::Relaxed);
        }
        if now == Mischief::Change {
            piece[read / 2] ^= 1;
        }
        let times = if now == Mischief::Repeat { 2 } else { 1 };
        for _ in 0..times {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}
