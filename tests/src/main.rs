//! `shardmill-tests prove NAME` runs the proofs; `shardmill-tests compare` does the same work as others, side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use serde_json::json;
use shardmill_tests::compare::{self, Peer, Plan};
use shardmill_tests::prove::cluster::cut_off;
use shardmill_tests::prove::{Options, PROOFS, Proof, hostile};

/// The proofs of shardmill's claims, and comparisons with others.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run proofs by name
    Prove {
        /// Which; see --list
        #[arg(required_unless_present = "list")]
        names: Vec<String>,
        /// Name every proof with what it shows
        #[arg(long)]
        list: bool,
        /// A size that fits continuous integration
        #[arg(long)]
        short: bool,
        /// What makes chance repeatable
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A folder with real input
        #[arg(long)]
        data: Option<PathBuf>,
        /// Print one JSON object per proof
        #[arg(long)]
        json: bool,
    },
    /// Do the same work as DuckDB, polars, pyarrow and others, in turns: events per CPU-second, peak memory
    Compare {
        #[command(flatten)]
        plan: Plan,
        /// Print one JSON object, with every run
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
        /// Print tables for a page
        #[arg(long)]
        markdown: bool,
    },
    /// Our side of a comparison
    #[command(hide = true)]
    Peer {
        #[command(subcommand)]
        work: Peer,
    },
    /// The part of the proof `store-outage` that needs a network of its own
    #[command(hide = true)]
    CutOff {
        /// A size that fits continuous integration
        #[arg(long)]
        short: bool,
        /// What makes chance repeatable
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The node under attack in the proof `hostile`
    #[command(hide = true)]
    Victim {
        /// Its certificates
        certificates: PathBuf,
    },
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Its logs are a node's: started before the runtime, as there.
    let _logs = matches!(command, Command::Victim { .. }).then(|| shardmill::telemetry::start("info"));
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(execute(command)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

async fn execute(command: Command) -> ExitCode {
    let done = match command {
        Command::Prove { list: true, .. } => {
            PROOFS.iter().for_each(|proof| println!("{:18} {}", proof.name, proof.shows));
            Ok(())
        }
        Command::Prove { names, short, seed, data, json, .. } => {
            return prove(&names, &Options { short, seed, data }, json).await;
        }
        Command::Compare { plan, json, markdown } => {
            compare::compare(plan).await.map(|result| match (json, markdown) {
                (true, _) => println!("{result}"),
                (_, true) => print!("{}", compare::markdown(&result)),
                _ => print!("{}", compare::table(&result)),
            })
        }
        Command::Peer { work } => compare::peer(work).await,
        Command::CutOff { short, seed } => match cut_off::run(Options { short, seed, data: None }).await {
            Ok(figures) => {
                println!("{figures}");
                Ok(())
            }
            Err(error) => {
                // Who started it reads what it prints.
                println!("{error}");
                Err(error)
            }
        },
        Command::Victim { certificates } => hostile::be(certificates).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

/// Runs the proofs of these names.
async fn prove(names: &[String], options: &Options, json: bool) -> ExitCode {
    let mut proofs = Vec::new();
    for name in names {
        let Some(proof) = PROOFS.iter().find(|proof| proof.name == name) else {
            let known: Vec<&str> = PROOFS.iter().map(|proof| proof.name).collect();
            eprintln!("error: there is no proof `{name}`; there are: {}", known.join(", "));
            return ExitCode::from(2);
        };
        proofs.push(proof);
    }
    let mut broken = Vec::new();
    for proof in proofs {
        let reason = run(proof, options.clone(), json).await.err();
        broken.extend(reason.map(|reason| format!("  {}: {reason}", proof.name)));
    }
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    // Said again at the end, where whoever has many of them run looks first.
    eprintln!("{} of {} proofs do not hold:\n{}", broken.len(), names.len(), broken.join("\n"));
    ExitCode::from(1)
}

/// Runs one proof and prints its outcome; the reason when it does not hold.
async fn run(proof: &Proof, options: Options, json: bool) -> Result<(), String> {
    eprintln!("{}: {}", proof.name, proof.shows);
    let (started, seed) = (Instant::now(), options.seed);
    let outcome = (proof.run)(options).await;
    let seconds = started.elapsed().as_secs_f64();
    let (pass, reason) = (outcome.is_ok(), outcome.as_ref().err());
    let figures = outcome.as_ref().cloned().unwrap_or_else(|_| json!({}));
    let result = json!({"name": proof.name, "pass": pass, "figures": figures, "seed": seed, "seconds": seconds, "reason": reason});
    match (json, reason) {
        (true, _) => println!("{result}"),
        (false, None) => println!("{} holds ({seconds:.1} s, seed {seed})\n{figures:#}", proof.name),
        (false, Some(reason)) => println!("{} DOES NOT HOLD (seed {seed}): {reason}", proof.name),
    }
    outcome.map(drop)
}
