//! Installs pinned packages into folders of their own below the target directory, once.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::harness::binary;

/// Two tests at once must not install the same thing.
static INSTALLING: Mutex<()> = Mutex::const_new(());

/// Written last: a folder without it is an installation that was cut short.
const COMPLETE: &str = ".complete";

/// The `bin` folder of a Python environment that holds `packages` (such as `moto[server]==5.2.5`); `name` names its folder.
///
/// # Errors
/// What is missing and how to provide it.
pub async fn python(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = target()?.join(name);
    let shown = folder.display().to_string();
    let advice = format!(
        "install Python 3 with its `venv` module; what is tried: `python3 -m venv {shown}` and `{shown}/bin/pip install {}`",
        packages.join(" ")
    );
    let _one = INSTALLING.lock().await;
    if !is_complete(&folder, packages) {
        run("python3", &["-m", "venv", "--clear", &shown], None)
            .await
            .map_err(|error| format!("{advice} ({error})"))?;
        let pip = folder.join("bin/pip").display().to_string();
        let arguments = [&["install", "--quiet", "--disable-pip-version-check"], packages].concat();
        run(&pip, &arguments, None).await.map_err(|error| format!("{advice} ({error})"))?;
        complete(&folder, packages)?;
    }
    Ok(folder.join("bin"))
}

/// The `node_modules` folder that holds `packages` (such as `kinesis-local@0.6.2`); `name` names the folder around it.
///
/// # Errors
/// What is missing and how to provide it.
pub async fn npm(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = target()?.join(name);
    let advice = format!(
        "install Node.js with npm; what is tried: `npm install {}` in {}",
        packages.join(" "),
        folder.display()
    );
    let _one = INSTALLING.lock().await;
    if !is_complete(&folder, packages) {
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let arguments =
            [&["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", "."], packages]
                .concat();
        run("npm", &arguments, Some(&folder)).await.map_err(|error| format!("{advice} ({error})"))?;
        complete(&folder, packages)?;
    }
    Ok(folder.join("node_modules"))
}

fn target() -> Result<PathBuf, String> {
    let binary = binary::shardmill()?;
    Ok(binary.ancestors().nth(2).ok_or("the binary is in no target directory")?.to_owned())
}

fn is_complete(folder: &Path, packages: &[&str]) -> bool {
    std::fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|there| there == packages.join("\n"))
}

fn complete(folder: &Path, packages: &[&str]) -> Result<(), String> {
    std::fs::write(folder.join(COMPLETE), packages.join("\n")).map_err(|error| error.to_string())
}

async fn run(program: &str, arguments: &[&str], folder: Option<&Path>) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    folder.map(|folder| command.current_dir(folder));
    let output = command.output().await.map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} ended with {}: {}", output.status, text.trim())),
    }
}
