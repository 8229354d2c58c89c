//! Who a node is to others: its certificate, the authority it trusts, and the names both carry.
//!
//! A certificate's DNS name is `<node>.node.<cluster>.shardmill`: which node, that it is a node and no operator, and of which
//! cluster. What the own certificate says is what the others must say, so a certificate of another cluster under the same
//! authority opens nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::node::NodeId;

/// The authority's certificate, in a node's folder.
pub(super) const AUTHORITY: &str = "ca.pem";
/// The node's certificate.
pub(super) const CERTIFICATE: &str = "node.pem";
/// Its key.
pub(super) const KEY: &str = "node.key";
/// The secret that all nodes of a cluster share: a second factor.
pub(super) const COOKIE: &str = "cookie";

/// What is spoken within TLS.
const ALPN: &[u8] = b"shardmill";

/// The name of a node without its boot id, as certificates have it.
pub(super) fn name_of(node: &NodeId) -> &str {
    node.as_str().rsplit_once('-').map_or(node.as_str(), |(name, _)| name)
}

/// The DNS name in the certificate of a node called `name`.
pub(super) fn dns_name(name: &str, cluster: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let label: String = name.chars().map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    format!("{label}.node.{cluster}.shardmill")
}

/// What a node shows to others and accepts of them.
#[derive(Clone)]
pub struct Identity {
    name: String,
    cluster: String,
    cookie: String,
    folder: PathBuf,
    own: CertificateDer<'static>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads a node's folder: `ca.pem`, `node.pem`, `node.key`, `cookie`.
    ///
    /// # Errors
    /// `Unauthorized` with the file, what is wrong with it and what to do: a file that is missing or open to everybody, a key that
    /// belongs to another certificate, a certificate that has expired, is of another authority or carries no name of a node.
    pub fn load(folder: &Path) -> Result<Identity, Failure> {
        let roots = authority(folder)?;
        let chain = certificates(&folder.join(CERTIFICATE))?;
        let own = chain.first().cloned();
        let own = own.ok_or_else(|| wrong(&folder.join(CERTIFICATE), "it holds no certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&private(&folder.join(KEY))?)
            .map_err(|error| wrong(&folder.join(KEY), error))?;
        let cookie = String::from_utf8_lossy(&private(&folder.join(COOKIE))?).trim().to_owned();
        if cookie.len() < 32 {
            return Err(wrong(&folder.join(COOKIE), "it is shorter than 32 characters"));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| wrong(&folder.join(AUTHORITY), error))?;
        // As the others will see it.
        let now = u64::try_from(Millis::now().0 / 1_000).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        verifier
            .verify_client_cert(&own, chain.get(1..).unwrap_or_default(), now)
            .map_err(|error| wrong(&folder.join(CERTIFICATE), error))?;
        let (name, cluster) = named(&own).ok_or_else(|| {
            wrong(&folder.join(CERTIFICATE), "no name in it is like `<node>.node.<cluster>.shardmill`")
        })?;
        let files = Files { roots, chain, key, provider };
        let (acceptor, connector) =
            configs(files, verifier).map_err(|error| wrong(&folder.join(KEY), error))?;
        Ok(Identity { name, cluster, cookie, folder: folder.to_owned(), own, acceptor, connector })
    }

    /// The name of the node the certificate is for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster the certificate is for.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether the certificate is for a node called as `node` is.
    ///
    /// # Errors
    /// `Unauthorized` when it is not: nobody would talk to this node.
    pub fn belongs_to(&self, node: &NodeId) -> Result<(), Failure> {
        match self.names(&self.own, node) {
            true => Ok(()),
            false => {
                let expected = dns_name(name_of(node), &self.cluster);
                Err(wrong(&self.folder.join(CERTIFICATE), format!("it is not for this node, `{expected}`")))
            }
        }
    }

    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    pub(super) fn connector(&self) -> &TlsConnector {
        &self.connector
    }

    /// The name that the certificate of `node` must carry.
    pub(super) fn expected(&self, node: &NodeId) -> Result<ServerName<'static>, String> {
        let name = dns_name(name_of(node), &self.cluster);
        ServerName::try_from(name).map_err(|error| format!("{node} has no name for a certificate: {error}"))
    }

    /// Whether a certificate (whose authority was verified) names this node, of our cluster.
    pub(super) fn names(&self, certificate: &CertificateDer<'_>, node: &NodeId) -> bool {
        let Ok(expected) = self.expected(node) else { return false };
        let parsed = webpki::EndEntityCert::try_from(certificate);
        parsed.is_ok_and(|parsed| parsed.verify_is_valid_for_subject_name(&expected).is_ok())
    }
}

struct Files {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

/// TLS 1.3 both ways, each handshake a whole one: no session is taken up again without showing its certificate.
fn configs(
    files: Files,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<(TlsAcceptor, TlsConnector), tokio_rustls::rustls::Error> {
    let Files { roots, chain, key, provider } = files;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    server.send_tls13_tickets = 0;
    server.alpn_protocols = vec![ALPN.to_vec()];
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok((TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client))))
}

/// The cluster in a certificate's name.
/// The node and the cluster that a certificate names.
fn named(certificate: &CertificateDer<'_>) -> Option<(String, String)> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    parsed.valid_dns_names().find_map(|name| {
        let (node, cluster) = name.strip_suffix(".shardmill")?.rsplit_once(".node.")?;
        Some((node.to_owned(), cluster.to_owned()))
    })
}

fn authority(folder: &Path) -> Result<Arc<RootCertStore>, Failure> {
    let path = folder.join(AUTHORITY);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path)? {
        roots.add(certificate).map_err(|error| wrong(&path, error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&path, "it holds no certificate"));
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(path)?;
    CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| wrong(path, error))
}

/// A file that is nobody else's business.
fn private(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(|error| wrong(path, error))?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(wrong(path, "everybody may read it: chmod 600"));
        }
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, what: impl fmt::Display) -> Failure {
    Failure::unauthorized(format!("{}: {what}", path.display()))
}
