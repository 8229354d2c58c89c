//! `run`: runs a node until it is told to stop.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;

use serde_json::json;
use shardmill_connectors::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::Error;
use crate::cli::RunArgs;
use crate::config::{Backend, Cluster, Config};
use crate::ec2::Metadata;
use crate::output;
use crate::serve::{Ended, Running};
use crate::telemetry;

/// Runs a node until it is told to stop.
pub async fn run(args: RunArgs, json: bool) -> Result<(), Error> {
    let config = configured(&args)?;
    // Before anybody is told that the node is there: from then on a signal must end it in good order.
    let mut signals = Signals::new(args.tied)?;
    let metrics = telemetry::metrics()?;
    tokio::spawn(telemetry::keep_metrics_small(metrics.clone()));
    let mut running = Running::start(&config, metrics).await?;
    announce(&running, &config, json)?;
    let outcome = tokio::select! {
        ended = running.ended() => match ended {
            Ended::Dead(why) => return Err(again(&args, &running, json, &why).into()),
            Ended::Failed(failure) => Err(failure),
        },
        () = signals.stop() => Ok(()),
        why = announced(&config) => {
            tracing::warn!(why, "the machine is about to end: handing over");
            Ok(())
        }
    };
    if let Err(failure) = &outcome {
        tracing::error!(%failure, "the node cannot go on");
    }
    tokio::select! {
        () = running.stop() => {}
        () = signals.stop() => {
            tracing::warn!("told to stop twice: ending at once");
        }
    }
    Ok(outcome?)
}

/// Waits until EC2 announces the end of the machine, where that can happen.
async fn announced(config: &Config) -> String {
    match Metadata::from_environment().filter(|_| config.backend == Backend::Aws) {
        Some(metadata) => metadata.termination().await,
        None => std::future::pending().await,
    }
}

/// Starts over as a new node, in the place of this one: at the same addresses, and with nothing of what it held, which is
/// others' by now. Only the failure to do so returns.
fn again(args: &RunArgs, running: &Running, json: bool, why: &Failure) -> Failure {
    tracing::warn!(%why, "starting over under a new identity");
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Failure::crashed(format!("{why}; and this program is not found: {error}")),
    };
    let mut command = std::process::Command::new(program);
    command.arg("run").args(json.then_some("--json")).args(args.tied.then_some("--tied"));
    for (flag, path) in [("--config", &args.config), ("--data-dir", &args.data_dir)] {
        command.args(path.iter().flat_map(|path| [OsStr::new(flag), path.as_os_str()]));
    }
    let addresses = [("--http", running.collector), ("--ops", running.ops), ("--cluster", running.cluster)];
    for (flag, address) in addresses {
        command.arg(flag).arg(address.to_string());
    }
    let error = command.exec();
    Failure::crashed(format!("{why}; and starting over failed: {error}"))
}

/// The configuration with what the command line overrides.
fn configured(args: &RunArgs) -> Result<Config, Error> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::embedded_default(),
    };
    if let Some(dir) = &args.data_dir {
        config.data_dir = dir.clone();
    }
    config.collector.listen = args.http.unwrap_or(config.collector.listen);
    config.ops.listen = args.ops.unwrap_or(config.ops.listen);
    if let Some(listen) = args.cluster {
        config.cluster = Some(Cluster { listen, ..config.cluster.unwrap_or_default() });
    }
    Ok(config)
}

fn announce(running: &Running, config: &Config, json: bool) -> Result<(), Error> {
    let (collector, ops, cluster) = (running.collector, running.ops, running.cluster);
    if json {
        let ready = json!({
            "ready": true, "collector": format!("http://{collector}"), "ops": format!("http://{ops}"),
            "cluster": cluster, "node": running.node.shared.me,
        });
        return Ok(output::print(&format!("{ready}\n"))?);
    }
    eprintln!("shardmill {} is ready", env!("CARGO_PKG_VERSION"));
    eprintln!("  collector  http://{collector}/v1/events");
    eprintln!("  dashboard  http://{ops}/");
    eprintln!("  data       {}", config.data_dir.display());
    Ok(())
}

/// What ends a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Ends with standard input, when that counts.
    input: Option<oneshot::Receiver<()>>,
}

impl Signals {
    /// Catches them from now on.
    fn new(tied: bool) -> Result<Self, Failure> {
        let wrong = |error| Failure::crashed(format!("signals cannot be waited for: {error}"));
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(wrong)?,
            interrupt: signal(SignalKind::interrupt()).map_err(wrong)?,
            input: tied.then(end_of_input),
        })
    }

    /// Waits for SIGTERM, an interrupt, or the end of the process that this one is tied to.
    async fn stop(&mut self) {
        let input = async {
            match self.input.take() {
                Some(input) => _ = input.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = input => {}
        }
    }
}

/// Tells when standard input ends. A thread of its own, because a runtime would wait for its last read.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    end
}
