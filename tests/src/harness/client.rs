//! The command line, as a script would use it.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::binary;
use super::node::Setup;

/// Runs `shardmill` commands on one node's data.
#[derive(Debug, Clone)]
pub struct Cli {
    data_dir: PathBuf,
    config: Option<PathBuf>,
    /// How AWS is reached.
    env: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Done {
    /// The exit code; -1 when it was killed.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Done {
    /// The JSON value on stdout; the command must have succeeded.
    pub fn json(&self) -> Result<Value, String> {
        if self.code != 0 {
            return Err(format!("exit code {}: {}{}", self.code, self.stderr, self.stdout));
        }
        serde_json::from_str(&self.stdout).map_err(|error| format!("not JSON ({error}): {}", self.stdout))
    }
}

/// Runs `shardmill` with `arguments` and nothing else.
pub async fn run(arguments: &[&str]) -> Result<Done, String> {
    run_with(arguments, &[]).await
}

/// Runs `shardmill` with `arguments` and environment variables.
pub async fn run_with(arguments: &[&str], env: &[(&str, &str)]) -> Result<Done, String> {
    let mut command = Command::new(binary::shardmill()?);
    command.args(arguments).envs(env.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| format!("the binary does not start: {error}"))?;
    Ok(Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Cli {
    /// Commands on the data of `setup`.
    pub fn new(setup: &Setup) -> Result<Self, String> {
        let aws = setup.env.iter().filter(|(name, _)| name.starts_with("AWS_"));
        let env = aws.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Cli { data_dir: setup.data_dir.clone(), config: setup.config_file()?, env })
    }

    /// Runs a command that works on data: `--data-dir` and `-c` are added.
    pub async fn run(&self, arguments: &[&str]) -> Result<Done, String> {
        let (dir, config) =
            (self.data_dir.display().to_string(), self.config.as_ref().map(|c| c.display().to_string()));
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", &dir]);
        if let Some(config) = &config {
            all.extend(["-c", config]);
        }
        let env: Vec<_> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        run_with(&all, &env).await
    }

    /// The rows of a SELECT, as JSON objects.
    pub async fn query(&self, sql: &str) -> Result<Vec<Value>, String> {
        let rows = self.run(&["query", sql, "--format", "json"]).await?.json()?;
        rows.as_array().cloned().ok_or_else(|| format!("not an array: {rows}"))
    }

    /// The one value of a SELECT of one column and one row, as a count.
    pub async fn count(&self, sql: &str) -> Result<u64, String> {
        let rows = self.query(sql).await?;
        let value = rows.first().and_then(|row| row.as_object()?.values().next()?.as_u64());
        value.ok_or_else(|| format!("not one count: {rows:?}"))
    }

    /// Sweeps and verifies every file whole; the report, which must be clean and account for every object.
    pub async fn verify(&self) -> Result<Value, String> {
        let report = self.run(&["lake", "verify", "--deep", "--repair", "--json"]).await?.json()?;
        let empty = |list: &str| report[list].as_array().is_some_and(Vec::is_empty);
        if report["ok"] == true && empty("abandoned") && empty("in_flight") {
            return Ok(report);
        }
        Err(format!("the lake is not whole: {report}"))
    }
}
