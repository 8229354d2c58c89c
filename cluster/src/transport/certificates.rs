//! A private authority and certificates for the nodes of a test cluster.
//!
//! Run again on the same folder, it makes certificates for more nodes, or new ones for the same, under the same authority.

use std::io::Write;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use time::{Duration, OffsetDateTime};

use super::identity::{AUTHORITY, CERTIFICATE, COOKIE, KEY, dns_name};

/// The authority's key: keep it where no node is.
const AUTHORITY_KEY: &str = "ca.key";
/// How long the authority's own certificate holds, in days.
const AUTHORITY_DAYS: i64 = 3_650;
/// Clocks that are behind by less accept a fresh certificate all the same.
const BEHIND: Duration = Duration::hours(1);

/// What to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// The folder; each node gets a folder of its name in it.
    pub out: PathBuf,
    /// The names of the nodes.
    pub nodes: Vec<String>,
    /// The name of the cluster: lower-case letters, digits and `-`.
    pub cluster: String,
    /// How many days the certificates of nodes hold, from 1 on.
    pub days: u32,
}

/// Makes what was ordered, and says which folders nodes want as their `[cluster] certificates`.
///
/// # Errors
/// `Rejected` for a name that cannot stand in a certificate, `Unauthorized` for a folder that cannot be written or holds
/// something else.
pub fn make(order: &Order) -> Result<Vec<PathBuf>, Failure> {
    judge(order)?;
    folder(&order.out)?;
    let authority = authority(order)?;
    let certificate = read(&order.out.join(AUTHORITY))?;
    let cookie = cookie(&order.out.join(COOKIE))?;
    let mut made = Vec::new();
    for node in &order.nodes {
        let place = order.out.join(node);
        folder(&place)?;
        let key = KeyPair::generate().map_err(crashed)?;
        let signed = node_params(order, node)?.signed_by(&key, &authority).map_err(crashed)?;
        write(&place.join(AUTHORITY), certificate.as_bytes(), 0o644)?;
        write(&place.join(CERTIFICATE), signed.pem().as_bytes(), 0o644)?;
        write(&place.join(KEY), key.serialize_pem().as_bytes(), 0o600)?;
        write(&place.join(COOKIE), cookie.as_bytes(), 0o600)?;
        made.push(place);
    }
    Ok(made)
}

fn judge(order: &Order) -> Result<(), Failure> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if order.cluster.is_empty() || !order.cluster.bytes().all(plain) {
        let name = &order.cluster;
        return Err(Failure::rejected(format!(
            "`{name}` is no name of a cluster: lower-case letters, digits and `-`"
        )));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    for node in &order.nodes {
        let within = node.split('.').all(|label| (1..=63).contains(&label.len()));
        if !within || !node.bytes().all(fits) {
            return Err(Failure::rejected(format!(
                "`{node}` is no name of a node: letters, digits, `-` and single `.`"
            )));
        }
    }
    Ok(())
}

/// The authority in the folder; made when there is none.
fn authority(order: &Order) -> Result<Issuer<'static, KeyPair>, Failure> {
    let (path, key_path) = (order.out.join(AUTHORITY), order.out.join(AUTHORITY_KEY));
    let params = authority_params(order)?;
    if key_path.exists() && path.exists() {
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|error| Failure::unauthorized(format!("{}: {error}", key_path.display())))?;
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate().map_err(crashed)?;
    let certificate = params.self_signed(&key).map_err(crashed)?;
    write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write(&path, certificate.pem().as_bytes(), 0o644)?;
    Ok(Issuer::new(params, key))
}

fn authority_params(order: &Order) -> Result<CertificateParams, Failure> {
    let mut params = holding(Vec::new(), AUTHORITY_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, format!("shardmill {} authority", order.cluster));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn node_params(order: &Order, node: &str) -> Result<CertificateParams, Failure> {
    let mut params = holding(vec![dns_name(node, &order.cluster)], i64::from(order.days.max(1)))?;
    params.distinguished_name.push(DnType::CommonName, node);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn holding(names: Vec<String>, days: i64) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(names)
        .map_err(|error| Failure::rejected(format!("no name for a certificate: {error}")))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = OffsetDateTime::from_unix_timestamp(Millis::now().0 / 1_000).map_err(crashed)?;
    (params.not_before, params.not_after) = (now - BEHIND, now + Duration::days(days));
    Ok(params)
}

/// The secret of the cluster: 256 random bits, made once.
fn cookie(path: &Path) -> Result<String, Failure> {
    if path.exists() {
        return read(path);
    }
    let bits: [u8; 32] = rand::random();
    let text: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    write(path, text.as_bytes(), 0o600)?;
    Ok(text)
}

fn folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| unwritable(path, &error))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| unwritable(path, &error))
}

/// Replaces a file; nobody ever sees half of it, or a key with the permissions of another file.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    let written = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        let _ = std::fs::remove_file(&fresh);
        let mut file = options.open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    written().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::unauthorized(format!("{}: {error}", path.display()))
}

fn crashed(error: impl std::fmt::Display) -> Failure {
    Failure::crashed(format!("a certificate was not made: {error}"))
}
