//! Programs of others that say what is right, or do the same work: libraries from PyPI, used by small Python scripts.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::servers::install;

/// The release of DuckDB that says what is right, and is compared with.
pub const DUCKDB: &str = "2.0.0";

/// What else does the same work, pinned with what its speed depends on.
pub const PACKAGES: [&str; 7] = [
    "boto3==1.44.5",
    "numpy==2.4.6",
    "orjson==3.13.0",
    "pandas==3.1.1",
    "pandera==0.35.0",
    "polars==2.1.0",
    "pyarrow==26.0.1",
];

/// The path of one of the scripts in `tests/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// A Python with DuckDB; installed below the target directory when it is not there.
///
/// # Errors
/// What is missing and how to provide it.
pub async fn python() -> Result<PathBuf, String> {
    installed(&format!("duckdb-{DUCKDB}"), &[]).await
}

/// A Python with everything that is compared with, some 700 MB.
///
/// # Errors
/// As [`python`].
pub async fn python_of_all() -> Result<PathBuf, String> {
    installed("peers", &PACKAGES).await
}

async fn installed(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let duckdb = format!("duckdb=={DUCKDB}");
    let packages = [&[duckdb.as_str()], packages].concat();
    Ok(install::python(name, &packages).await?.join("python"))
}

fn said(program: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim().lines().last().unwrap_or_default().to_owned();
    format!("{program} ended with {}: {last}", output.status)
}

/// The rows of a statement in DuckDB, as JSON objects.
///
/// # Errors
/// What DuckDB says, or what is missing.
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
