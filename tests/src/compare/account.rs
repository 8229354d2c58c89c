//! What the operating system accounts to a process: CPU seconds and peak memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::peers;

/// Ticks of a processor's second in `/proc` (`USER_HZ`, the same on every Linux).
const TICKS: f64 = 100.0;

/// The account of one process that has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Account {
    /// CPU seconds of its own, and those the kernel spent for it.
    pub(super) user: f64,
    pub(super) system: f64,
    /// Seconds from its start to its end.
    pub(super) wall: f64,
    /// The most memory it held, in bytes.
    pub(super) peak: u64,
    /// Bytes it has written.
    pub(super) bytes: u64,
    /// CPU seconds of servers meanwhile, by name.
    pub(super) beside: BTreeMap<&'static str, f64>,
}

impl Account {
    /// All CPU seconds.
    pub(super) fn cpu(&self) -> f64 {
        self.user + self.system
    }

    /// What `measure.py` tells of a process that ended well.
    pub(super) fn read(told: &[u8]) -> Result<Account, String> {
        let told: Value = serde_json::from_slice(told).map_err(|error| format!("no account: {error}"))?;
        let number = |key: &str| told[key].as_f64().ok_or_else(|| format!("no `{key}` in {told}"));
        if told["code"] != 0 {
            return Err(format!("it ended with {}", told["code"]));
        }
        let peak = told["maxrss"].as_u64().ok_or_else(|| format!("no `maxrss` in {told}"))?;
        let (user, system, wall) = (number("user")?, number("sys")?, number("wall")?);
        Ok(Account { user, system, wall, peak, ..Account::default() })
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({"cpu_s": self.cpu(), "user_s": self.user, "system_s": self.system, "wall_s": self.wall,
            "peak_bytes": self.peak, "bytes": self.bytes, "servers_cpu_s": self.beside})
    }
}

/// A Python that measures, and runs the peers.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    python: PathBuf,
}

impl Meter {
    /// One with every peer, installed when it is not there.
    pub(super) async fn new() -> Result<Meter, String> {
        Ok(Meter { python: peers::python_of_all().await? })
    }

    /// The words that run one of the scripts.
    pub(super) fn script(&self, name: &str) -> Vec<String> {
        vec![self.python.display().to_string(), peers::script(name).display().to_string()]
    }

    /// The words that run what follows them and write its account to a file.
    pub(super) fn to_file(&self, file: &Path) -> Vec<String> {
        [self.script("measure.py"), vec!["--to".to_owned(), file.display().to_string()]].concat()
    }

    /// Runs a command to its end.
    pub(super) async fn run(
        &self,
        words: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<Account, String> {
        let mut command = Command::new(&self.python);
        command.arg(peers::script("measure.py")).args(words);
        let output = quiet(&mut command, env).output().await;
        let output = output.map_err(|error| format!("{}: {error}", self.python.display()))?;
        let said = || end_of(&String::from_utf8_lossy(&output.stderr));
        Account::read(&output.stdout).map_err(|error| format!("{error}; {}", said()))
    }

    /// What one of the scripts prints.
    pub(super) async fn ask(&self, name: &str, words: &[String]) -> Result<Value, String> {
        let mut command = Command::new(&self.python);
        command.arg(peers::script(name)).args(words);
        let output = quiet(&mut command, &BTreeMap::new()).output().await;
        let output = output.map_err(|error| format!("{name}: {error}"))?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("{name}: {}", end_of(&String::from_utf8_lossy(&output.stderr))))
    }
}

/// One thread for each library, and nothing left in the folder of the scripts.
fn quiet<'a>(command: &'a mut Command, env: &BTreeMap<String, String>) -> &'a mut Command {
    let one = ["POLARS_MAX_THREADS", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"];
    command.envs(one.iter().map(|name| (*name, "1"))).envs(env);
    command.stdin(Stdio::null()).kill_on_drop(true)
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// CPU seconds that a running process has used so far; 0 when it is gone.
pub(super) fn used(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks(&text).unwrap_or_default() / TICKS
}

/// User and system time in a line of `/proc/<pid>/stat`: its 14th and 15th fields, after a name that may hold anything.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_and_a_failure_is_told() {
        let told = br#"{"user":1.5,"sys":0.25,"wall":2.0,"maxrss":1048576,"code":0}"#;
        let account = Account::read(told).unwrap();
        assert!((account.cpu() - 1.75).abs() < 1e-9 && account.peak == 1 << 20);
        let failed = br#"{"user":1.5,"sys":0.25,"wall":2.0,"maxrss":1048576,"code":-9}"#;
        assert_eq!(Account::read(failed), Err("it ended with -9".to_owned()));
        assert!(Account::read(b"").is_err());
    }

    #[test]
    fn time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 13";
        assert_eq!(ticks(stat), Some(200.0));
        assert_eq!(ticks("7 (x) S 1"), None);
        assert!(used(std::process::id()) >= 0.0);
    }
}
