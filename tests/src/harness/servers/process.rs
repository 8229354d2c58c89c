//! A server as a process: started, waited for, and killed when nobody holds it any more.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a server may take until it accepts connections, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const LOOK: Duration = Duration::from_millis(50);

/// A running server. Dropped, it is killed and its folder is removed.
#[derive(Debug)]
pub struct Process {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// What it printed.
    pub log: PathBuf,
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts what `command` makes of a free port and a folder of its own, and waits until the port accepts connections.
    ///
    /// # Errors
    /// When it ends or does not listen in time, with the end of its output.
    pub async fn start(command: impl FnOnce(u16, &std::path::Path) -> Command) -> Result<Process, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let port = free_port()?;
        let log = folder.path().join("server.log");
        let file = File::create(&log).map_err(|error| error.to_string())?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let mut command = command(port, folder.path());
        command.stdin(Stdio::null()).stdout(file).stderr(errors).kill_on_drop(true);
        let shown = format!("{:?}", command.as_std().get_program());
        let child = command.spawn().map_err(|error| format!("{shown} does not start: {error}"))?;
        let mut server = Process { url: format!("http://127.0.0.1:{port}"), log, child, folder };
        server.listens(port).await.map_err(|error| format!("{shown}: {error}\n{}", server.said()))?;
        Ok(server)
    }

    /// A folder of the server's own.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL, and the end of the process; its folder is removed.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| format!("kill: {error}"))
    }

    async fn listens(&mut self, port: u16) -> Result<(), String> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the server has ended: {status}"));
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("nothing listens on port {port} after {} s", PATIENCE.as_secs()))
    }

    /// The end of what it printed.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A port nobody listens on now.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}
