//! The real binary, built when it is not there or not up to date.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of the `shardmill` binary of this workspace's release profile. Builds it once per process.
pub fn shardmill() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = as_from_a_shell(Command::new(cargo))
        .args([
            "build",
            "--release",
            // As the tests themselves are built: for one package alone, features differ and much is compiled a second time.
            "--workspace",
            "--bin",
            "shardmill",
            "--manifest-path",
            manifest,
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo cannot be run ({error}): the tests build the real binary with it"))?;
    if !output.status.success() {
        return Err("the shardmill binary does not build: run `cargo build --release`".into());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "shardmill")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo did not name the shardmill binary it built".into())
}

/// Without what Cargo tells the programs it runs of their own package: build scripts of dependencies that look at these variables
/// would run again, and everything above them be compiled again.
fn as_from_a_shell(mut cargo: Command) -> Command {
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| told.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(name);
        }
    }
    cargo
}
