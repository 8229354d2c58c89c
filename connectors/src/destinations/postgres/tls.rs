//! TLS to a database: whether there is any, and whether the server must show who it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls_platform_verifier::Verifier;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What `tls` may say, the strictest first.
pub(super) const MODES: [&str; 4] = ["verify-full", "require", "prefer", "disable"];

/// How connections are secured.
#[derive(Clone)]
pub(super) enum Tls {
    /// Not at all.
    Off,
    /// By TLS, where the configuration of the connection asks for it.
    On(MakeRustlsConnect),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tls::Off => "Off",
            Tls::On(_) => "On",
        })
    }
}

impl Tls {
    /// What one of [`MODES`] stands for. The certificate of the server is checked by `verify-full` only, against the authorities in
    /// the file `root`, or those of the system. The error says what is wrong and what to do.
    pub(super) fn new(mode: &str, root: Option<&Path>) -> Result<(Self, SslMode), (String, String)> {
        let ssl = match mode {
            "disable" => return Ok((Tls::Off, SslMode::Disable)),
            "prefer" => SslMode::Prefer,
            _ => SslMode::Require,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match (mode, root) {
            ("verify-full", Some(root)) => of_file(root, provider.clone())
                .map_err(|error| (error, "name a file with certificates in PEM".to_owned()))?,
            ("verify-full", None) => Arc::new(Verifier::new(provider.clone()).map_err(|error| {
                let fix = "install the package `ca-certificates`, or name a file with root_cert = \"…\"";
                (
                    format!("the system has no authorities to check a certificate against: {error}"),
                    fix.to_owned(),
                )
            })?),
            _ => Arc::new(Anybody(provider.clone())),
        };
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config
            .map_err(|error| (error.to_string(), "this is a bug of shardmill: report it".to_owned()))?;
        let config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok((Tls::On(MakeRustlsConnect::new(config)), ssl))
    }
}

fn of_file(path: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("holds what is no certificate of an authority: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as _).map_err(|error| error.to_string())
}

/// Takes any certificate: what is sent cannot be read on the way, but nobody knows who the server is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
