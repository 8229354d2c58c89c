//! Programs of others that say what is right, or do the same work: DuckDB from PyPI, run by small Python scripts.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::binary;

/// The release of DuckDB that is compared with.
pub const DUCKDB: &str = "1.4.4";

/// The path of one of the scripts in `tests/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// A Python with DuckDB in a virtual environment of its own below the target directory; made when it is not there.
pub async fn python() -> Result<PathBuf, String> {
    let binary = binary::shardmill()?;
    let target = binary.ancestors().nth(2).ok_or("the binary is in no target directory")?;
    let folder = target.join(format!("duckdb-{DUCKDB}"));
    let python = folder.join("bin/python");
    if has_duckdb(&python).await {
        return Ok(python);
    }
    let advice = format!(
        "DuckDB is needed to compare with: make it available with `python3 -m venv {0} && {0}/bin/pip install duckdb=={DUCKDB}`",
        folder.display()
    );
    let shown = folder.display().to_string();
    run("python3", &["-m", "venv", "--clear", &shown])
        .await
        .map_err(|error| format!("{advice} ({error})"))?;
    let pip = folder.join("bin/pip").display().to_string();
    let release = format!("duckdb=={DUCKDB}");
    let install = ["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", &release];
    run(&pip, &install).await.map_err(|error| format!("{advice} ({error})"))?;
    if has_duckdb(&python).await { Ok(python) } else { Err(advice) }
}

async fn has_duckdb(python: &Path) -> bool {
    let check = format!("import duckdb; assert duckdb.__version__ == '{DUCKDB}'");
    let mut command = Command::new(python);
    let done = command.args(["-c", &check]).stdin(Stdio::null()).stderr(Stdio::null()).status().await;
    done.is_ok_and(|status| status.success())
}

async fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(said(program, &output)) }
}

fn said(program: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim().lines().last().unwrap_or_default().to_owned();
    format!("{program} ended with {}: {last}", output.status)
}

/// The rows of a statement in DuckDB, as JSON objects.
pub async fn duckdb(sql: &str) -> Result<Vec<Value>, String> {
    let mut command = Command::new(python().await?);
    command.arg(script("duckdb_query.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("python: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(sql.as_bytes()).await.map_err(|error| format!("python: {error}"))?;
    }
    let output = child.wait_with_output().await.map_err(|error| format!("python: {error}"))?;
    if !output.status.success() {
        return Err(format!("{} in: {sql}", said("DuckDB", &output)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("DuckDB's answer is not JSON: {error}"))
}
