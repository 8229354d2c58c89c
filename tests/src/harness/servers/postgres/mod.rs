//! PostgreSQL, as Debian packages it: a server of one's own, with a folder of its own, killed and started again at will.
//!
//! Nothing about it is simulated: `fsync` is on, and who signs in does so by SCRAM. Its programs refuse to be run by root, so root
//! runs them as the user `postgres`, or as `nobody`.

pub mod wire;

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::Command;

use super::Process;

pub use wire::{Place, Wire};

/// Who may do everything.
pub const ADMIN: &str = "admin";
/// With which password.
pub const PASSWORD: &str = "s3cr3t-of-the-warehouse";

/// What to do where it is missing.
const ADVICE: &str = "PostgreSQL is not installed: run `apt-get install postgresql`";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A certificate for this machine, by an authority made for it.
const CERTIFICATE: &str = "[req]\ndistinguished_name = name\nprompt = no\nx509_extensions = v3\n[name]\nCN = localhost\n\
    [v3]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost\n";

/// A server. Dropped, it is killed and its folder is removed.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    user: Option<User>,
    options: Vec<String>,
    process: Option<Process>,
    folder: TempDir,
}

/// Whom root runs it as.
#[derive(Debug, Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

impl Postgres {
    /// Starts an empty one, without TLS.
    ///
    /// # Errors
    /// What is missing, or why it does not start.
    pub async fn start() -> Result<Self, String> {
        let mut server = Self::new().await?;
        server.start_again().await?;
        Ok(server)
    }

    /// Starts an empty one that takes connections by TLS only, with a certificate for `localhost`; see [`Postgres::authority`].
    ///
    /// # Errors
    /// What is missing, or why it does not start.
    pub async fn start_with_tls() -> Result<Self, String> {
        let mut server = Self::new().await?;
        server.certify().await?;
        for (name, value) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
            server.options.push(format!("{name}={}", server.file(value).display()));
        }
        server.options.push("ssl=on".to_owned());
        let access = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(server.file("data/pg_hba.conf"), access).map_err(|error| error.to_string())?;
        server.start_again().await?;
        Ok(server)
    }

    async fn new() -> Result<Self, String> {
        let bin = programs()?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let user = user().await?;
        let options = vec!["unix_socket_directories=".to_owned(), "max_connections=30".to_owned()];
        let server = Postgres { bin, user, options, process: None, folder };
        let password = server.file("password");
        std::fs::write(&password, PASSWORD).map_err(|error| error.to_string())?;
        server.own(server.folder.path())?;
        server.own(&password)?;
        let mut command = server.command("initdb");
        command.arg("-D").arg(server.file("data")).arg("--pwfile").arg(&password);
        command.args(["-U", ADMIN, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]);
        // Only what it makes is not synced: what the server writes is.
        command.args(["--no-sync", "--no-instructions"]);
        done(command).await?;
        Ok(server)
    }

    /// Makes an authority, and a certificate of its for `localhost`.
    async fn certify(&self) -> Result<(), String> {
        let order = self.file("server.cnf");
        std::fs::write(&order, CERTIFICATE).map_err(|error| error.to_string())?;
        let new = |name: &str| {
            let mut command = Command::new("openssl");
            command.args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ]);
            command.arg("-keyout").arg(self.file(&format!("{name}.key")));
            command.arg("-out").arg(self.file(&format!("{name}.pem")));
            command
        };
        let mut authority = new("authority");
        authority.args(["-subj", "/CN=authority"]);
        done(authority).await?;
        let mut server = new("server");
        server.arg("-config").arg(order).arg("-CA").arg(self.authority());
        server.arg("-CAkey").arg(self.file("authority.key"));
        done(server).await?;
        ["server.pem", "server.key"].iter().try_for_each(|name| self.own(&self.file(name)))
    }

    /// The certificate of the authority that [`Postgres::start_with_tls`] has its own from.
    pub fn authority(&self) -> PathBuf {
        self.file("authority.pem")
    }

    /// Starts it, for the first time or after [`Postgres::kill`], on a port of its own; what it held is there.
    ///
    /// # Errors
    /// Why it does not start.
    pub async fn start_again(&mut self) -> Result<(), String> {
        let launch = |port: u16, _: &Path| {
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.file("data")).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
            self.options.iter().for_each(|option| _ = command.args(["-c", option]));
            command
        };
        self.process = Some(Process::start(launch).await?);
        let since = Instant::now();
        // It listens before it has looked at what it wrote last.
        loop {
            match self.query("SELECT 1").await {
                Ok(_) => return Ok(()),
                Err(error) if since.elapsed() > PATIENCE => return Err(format!("{error}\n{}", self.said())),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        let url = self.process.as_ref().map(|process| process.url.as_str()).unwrap_or_default();
        url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// SIGKILL for all of its processes at once, and their end.
    ///
    /// # Errors
    /// When they do not end.
    pub async fn kill(&mut self) -> Result<(), String> {
        let process = self.process.take().ok_or("it does not run")?;
        let first = process.pid().ok_or("it has ended by itself")?;
        let others = children(first);
        let mut command = Command::new("kill");
        command.arg("-9").arg(first.to_string()).args(others.iter().map(u32::to_string));
        command.status().await.map_err(|error| format!("kill: {error}"))?;
        // It has left its number in a file: the next one starts only when nobody has that any more.
        process.kill().await?;
        let since = Instant::now();
        while others.iter().any(|pid| is_running(*pid)) {
            if since.elapsed() > PATIENCE {
                return Err(format!("of {others:?} some are still there after SIGKILL"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Runs SQL; the values without headings, a line for each row, `|` between columns.
    ///
    /// # Errors
    /// What the server said.
    pub async fn query(&self, sql: &str) -> Result<String, String> {
        let output = self.psql(sql).output().await.map_err(|error| format!("psql: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// A client that runs SQL and ends; killed when its process is dropped.
    pub fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "-U", ADMIN, "-d", "postgres"]);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGPASSWORD", PASSWORD);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The end of what it printed.
    pub fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One of its programs, run by somebody it does not refuse.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let Some(user) = self.user else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", user.id))
            .arg(format!("--regid={}", user.group))
            .arg("--clear-groups");
        command.arg(program);
        command
    }

    fn own(&self, path: &Path) -> Result<(), String> {
        let Some(user) = self.user else { return Ok(()) };
        chown(path, Some(user.id), Some(user.group)).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The folder with its programs.
fn programs() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // What stands in the path may lead to where all of them are.
    let found = std::env::split_paths(&path).find_map(|folder| folder.join("initdb").canonicalize().ok());
    let found = found.and_then(|program| program.parent().map(Path::to_owned));
    found.or_else(packaged).ok_or_else(|| ADVICE.to_owned())
}

/// Debian keeps them out of the path, by version.
fn packaged() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| {
        let folder = entry.ok()?.path();
        let version = folder.file_name()?.to_str()?.parse::<u32>().ok()?;
        Some((version, folder.join("bin"))).filter(|(_, bin)| bin.join("initdb").exists())
    });
    versions.collect::<BTreeMap<_, _>>().pop_last().map(|(_, bin)| bin)
}

/// Whom to run it as; `None`: as whoever runs the test.
async fn user() -> Result<Option<User>, String> {
    if id(&["-u"]).await? != 0 {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let (Ok(user), Ok(group)) = (id(&["-u", name]).await, id(&["-g", name]).await) {
            return Ok(Some(User { id: user, group }));
        }
    }
    Err("there is no user `postgres` and no `nobody`: PostgreSQL cannot be run by root".to_owned())
}

async fn id(arguments: &[&str]) -> Result<u32, String> {
    let mut command = Command::new("id");
    command.args(arguments);
    let told = done(command).await?;
    told.trim().parse().map_err(|error| format!("id {arguments:?}: {error}"))
}

/// Runs a command to its end; what it printed.
async fn done(mut command: Command) -> Result<String, String> {
    let shown = format!("{:?}", command.as_std().get_program());
    let output = command.stdin(Stdio::null()).output().await.map_err(|error| format!("{shown}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{shown} ended with {}: {}", output.status, errors.trim())),
    }
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn is_running(pid: u32) -> bool {
    state(pid).is_some_and(|(state, _)| state != "Z")
}

/// A process' state and its parent.
fn state(pid: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets, and may hold any.
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}
