//! `run`: runs a node until it is told to stop.

use serde_json::json;
use shardmill_connectors::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;
use crate::cli::RunArgs;
use crate::config::Config;
use crate::output;
use crate::serve::Running;
use crate::telemetry;

/// Runs a node until it is told to stop.
pub async fn run(args: RunArgs, json: bool) -> Result<(), Error> {
    let config = configured(&args)?;
    // Before anybody is told that the node is there: from then on a signal must end it in good order.
    let mut signals = Signals::new()?;
    let metrics = telemetry::metrics()?;
    tokio::spawn(telemetry::keep_metrics_small(metrics.clone()));
    let mut running = Running::start(&config, metrics).await?;
    announce(&running, &config, json)?;
    let outcome = tokio::select! {
        failure = running.failed() => Err(failure),
        () = signals.stop() => Ok(()),
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
    Ok(config)
}

fn announce(running: &Running, config: &Config, json: bool) -> Result<(), Error> {
    let (collector, ops) = (running.collector, running.ops);
    let cluster = config.cluster.as_ref().map(|cluster| cluster.listen.to_string());
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

/// The signals that end a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches the signals from now on.
    fn new() -> Result<Self, Failure> {
        let wrong = |error| Failure::crashed(format!("signals cannot be waited for: {error}"));
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(wrong)?,
            interrupt: signal(SignalKind::interrupt()).map_err(wrong)?,
        })
    }

    /// Waits for SIGTERM or an interrupt.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
