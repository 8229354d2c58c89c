//! The binary: reads the command line, starts telemetry and the runtime, runs the command.

use std::process::ExitCode;

use clap::Parser;
use shardmill::cli::Cli;
use shardmill::{commands, telemetry};
use shardmill_connectors::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before the runtime, and dropped after it: what it sends last blocks.
    let outcome =
        telemetry::start(cli.command.log_level()).map_err(commands::Error::from).and_then(|_guard| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| Failure::crashed(format!("the runtime does not start: {error}")))?;
            runtime.block_on(commands::execute(cli))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
