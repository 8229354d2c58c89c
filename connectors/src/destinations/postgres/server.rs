//! Where a database is, how to get in, and how the way there is secured.

use std::path::Path;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::tls::{MODES, Tls};
use crate::destinations::address;
use crate::destinations::hide::Secret;
use crate::destinations::settings::Settings;

/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// What a connection is made with. Holds the password.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) password: Option<Secret>,
    /// One of [`MODES`].
    pub(super) mode: &'static str,
    pub(super) tls: Tls,
}

/// Where the database is, and who signs in.
struct Account {
    config: Config,
    password: Option<Secret>,
    /// What the URL says of TLS.
    sslmode: Option<String>,
}

impl Server {
    /// Reads the settings that are about the server. Problems are reported to `settings`.
    pub(super) fn read(settings: &mut Settings, base_dir: &Path) -> Option<Self> {
        let account = account(settings);
        let mode = mode(settings, account.as_ref());
        let root = settings.text("root_cert").map(|path| base_dir.join(path));
        if root.is_some() && mode != MODES[0] {
            settings.report(
                "root_cert",
                "is of no use: no certificate is checked",
                "write tls = \"verify-full\"",
            );
        }
        let Account { mut config, password, .. } = account?;
        match Tls::new(mode, root.as_deref()) {
            Ok((tls, ssl)) => {
                config.ssl_mode(ssl);
                if config.get_hosts().len() > 1 {
                    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
                }
                Some(Server { config, password, mode, tls })
            }
            Err((message, fix)) => {
                settings.report("root_cert", message, fix);
                None
            }
        }
    }

    /// Where it is, for people: without the password.
    pub(super) fn shown(&self) -> String {
        let ports = self.config.get_ports();
        let host = |(index, host): (usize, &Host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        };
        let hosts: Vec<String> = self.config.get_hosts().iter().enumerate().map(host).collect();
        let user = self.config.get_user().unwrap_or_default();
        format!("postgres://{user}@{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or(user))
    }
}

fn account(settings: &mut Settings) -> Option<Account> {
    let account = if settings.has("url") { whole(settings) } else { parts(settings) };
    let password = settings.secret("password");
    let mut account = account?;
    if let Some(password) = password {
        if account.password.is_some() {
            settings.report("password", "is said by `url`, too", "leave one of the two out");
        }
        account.config.password(password.reveal());
        account.password = Some(password);
    }
    Some(account)
}

/// From the URL.
fn whole(settings: &mut Settings) -> Option<Account> {
    for key in ["host", "port", "database", "user"] {
        if settings.value(key).is_some() {
            settings.report(key, "is said by `url`, too", "leave one of the two out");
        }
    }
    let account = of_url(&settings.text("url")?);
    account
        .map_err(|message| {
            settings.report("url", message, "write it as \"postgres://user@db.example.net:5432/database\"");
        })
        .ok()
}

/// Reads a URL; the error never shows it.
fn of_url(text: &str) -> Result<Account, &'static str> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err("is not a postgres URL");
    }
    let (plain, query) = text.split_once('?').unwrap_or((text, ""));
    let config: Config = plain.parse().map_err(|_| "is not a URL of a database")?;
    if config.get_hosts().is_empty() {
        return Err("is a URL without a host");
    }
    if config.get_user().is_none_or(str::is_empty) {
        return Err("is a URL without a user");
    }
    let mut sslmode = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => sslmode = Some(mode.to_owned()),
            _ => return Err("holds a parameter other than `sslmode`"),
        }
    }
    let password = config.get_password().map(|password| Secret::new(String::from_utf8_lossy(password)));
    Ok(Account { config, password, sslmode })
}

fn parts(settings: &mut Settings) -> Option<Account> {
    let port = port(settings);
    let database = settings.text("database").filter(|name| !name.is_empty());
    let (host, user) = (settings.required("host", "db.example.net"), settings.required("user", "ingest"));
    let mut config = Config::new();
    config.host(host?).port(port).user(user?);
    if let Some(database) = database {
        config.dbname(database);
    }
    Some(Account { config, password: None, sslmode: None })
}

fn port(settings: &mut Settings) -> u16 {
    let Some(value) = settings.value("port") else { return PORT };
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    if port.is_none() {
        settings.report("port", "is not a port", "write a number from 1 to 65535");
    }
    port.unwrap_or(PORT)
}

/// How the way there is secured: as it is said; if nobody says, with everything there is, but for one's own network.
fn mode(settings: &mut Settings, account: Option<&Account>) -> &'static str {
    let hosts = account.map(|account| account.config.get_hosts()).unwrap_or_default();
    let said = settings.has("tls").then(|| settings.choice("tls", &MODES));
    // There is no TLS on Unix sockets.
    if hosts.iter().any(|host| matches!(host, Host::Unix(_))) {
        return "disable";
    }
    let near = !hosts.is_empty() && hosts.iter().all(is_near);
    let otherwise = if near { "prefer" } else { MODES[0] };
    match account.and_then(|account| account.sslmode.as_deref()) {
        Some(mode) if said.is_none() => MODES.into_iter().find(|known| *known == mode).unwrap_or_else(|| {
            let fix = format!("write one of {}", MODES.join(", "));
            settings.report("url", "has an `sslmode` that is not known here", fix);
            otherwise
        }),
        _ => said.unwrap_or(otherwise),
    }
}

/// Whether a host is this machine, or an address of one's own network written out.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(address::is_private),
        Host::Unix(_) => true,
    }
}
