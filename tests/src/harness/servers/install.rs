//! Installs pinned packages into folders of their own below the target directory, once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// Written last: a folder without it is an installation that was cut short.
const COMPLETE: &str = ".complete";
/// What Cargo makes in the folder of every profile, which is a child of the target directory.
const PROFILE: &str = "deps";

/// The `bin` folder of a Python environment that holds `packages` (such as `moto[server]==5.2.5`); `name` names its folder.
///
/// # Errors
/// What is missing and how to provide it.
pub async fn python(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = target()?.join("servers").join(name);
    let shown = folder.display().to_string();
    let advice = format!(
        "install Python 3 with its `venv` module; what is tried: `python3 -m venv {shown}` and `{shown}/bin/pip install {}`",
        packages.join(" ")
    );
    let _one = lock(&folder).await?;
    if !is_complete(&folder, packages) {
        let venv = ["-m", "venv", "--clear", &shown];
        run("python3", &venv, None).await.map_err(|error| format!("{advice} ({error})"))?;
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
    let folder = target()?.join("servers").join(name);
    let advice = format!(
        "install Node.js with npm; what is tried: `npm install {}` in {}",
        packages.join(" "),
        folder.display()
    );
    let _one = lock(&folder).await?;
    if !is_complete(&folder, packages) {
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let options = ["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", "."];
        let arguments = [&options, packages].concat();
        run("npm", &arguments, Some(&folder)).await.map_err(|error| format!("{advice} ({error})"))?;
        complete(&folder, packages)?;
    }
    Ok(folder.join("node_modules"))
}

/// The unpacked sources of a package of PyPI (such as `jsonschema==4.23.0`), for what its wheel leaves out.
///
/// # Errors
/// What is missing and how to provide it.
pub async fn sources(name: &str, package: &str) -> Result<PathBuf, String> {
    let folder = target()?.join("servers").join(name);
    let environment = python(&format!("{name}-pip"), &["pip"]).await?;
    let _one = lock(&folder).await?;
    let unpacked = folder.join(package.replace("==", "-"));
    if !is_complete(&folder, &[package]) {
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let pip = environment.join("pip").display().to_string();
        // What the package is built with may come as it is.
        let project = package.split("==").next().unwrap_or(package);
        let options =
            ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", project];
        run(&pip, &[&options[..], &[package]].concat(), Some(&folder)).await?;
        let archive = format!("{}.tar.gz", package.replace("==", "-"));
        run("python3", &["-m", "tarfile", "-e", &archive, "."], Some(&folder)).await?;
        complete(&folder, &[package])?;
    }
    Ok(unpacked)
}

/// The target directory this very program was built into. Its `CACHEDIR.TAG` says nothing: Cargo writes that only into a folder
/// that it has made itself.
fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = program.ancestors().find(|folder| folder.join(PROFILE).is_dir());
    let found = profile.and_then(Path::parent).map(Path::to_owned);
    found.ok_or_else(|| format!("{} is in no target directory", program.display()))
}

/// Waits until no other test, of this process or another, installs into `folder`. Held until dropped.
async fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.with_extension("lock");
    let taken = tokio::task::spawn_blocking(move || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let file = File::create(path)?;
        file.lock()?;
        Ok::<File, std::io::Error>(file)
    });
    taken.await.map_err(|error| error.to_string())?.map_err(|error| format!("{}: {error}", folder.display()))
}

/// What a complete installation says of itself: the folder too, because an environment that was moved does not work.
fn mark(folder: &Path, packages: &[&str]) -> String {
    format!("{}\n{}", folder.display(), packages.join("\n"))
}

fn is_complete(folder: &Path, packages: &[&str]) -> bool {
    std::fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|there| there == mark(folder, packages))
}

fn complete(folder: &Path, packages: &[&str]) -> Result<(), String> {
    std::fs::write(folder.join(COMPLETE), mark(folder, packages)).map_err(|error| error.to_string())
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
