//! `shardmill-tests prove NAME`: runs the proofs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use serde_json::json;
use shardmill_tests::prove::{Options, PROOFS, Proof};

/// The proofs of shardmill's claims.
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
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Prove { names, list, short, seed, data, json } = Cli::parse().command;
    if list {
        PROOFS.iter().for_each(|proof| println!("{:18} {}", proof.name, proof.shows));
        return ExitCode::SUCCESS;
    }
    let mut all = true;
    for name in &names {
        let Some(proof) = PROOFS.iter().find(|proof| proof.name == name) else {
            let known: Vec<&str> = PROOFS.iter().map(|proof| proof.name).collect();
            eprintln!("error: there is no proof `{name}`; there are: {}", known.join(", "));
            return ExitCode::from(2);
        };
        all &= run(proof, Options { short, seed, data: data.clone() }, json).await;
    }
    if all { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Runs one proof and prints its outcome.
async fn run(proof: &Proof, options: Options, json: bool) -> bool {
    eprintln!("{}: {}", proof.name, proof.shows);
    let (started, seed) = (Instant::now(), options.seed);
    let outcome = (proof.run)(options).await;
    let seconds = started.elapsed().as_secs_f64();
    let pass = outcome.is_ok();
    let (figures, reason) = match outcome {
        Ok(figures) => (figures, None),
        Err(reason) => (json!({}), Some(reason)),
    };
    let result = json!({"name": proof.name, "pass": pass, "figures": figures, "seed": seed, "seconds": seconds, "reason": reason});
    match (json, result["reason"].as_str()) {
        (true, _) => println!("{result}"),
        (false, None) => println!("{} holds ({seconds:.1} s, seed {seed})\n{figures:#}", proof.name),
        (false, Some(reason)) => println!("{} DOES NOT HOLD (seed {seed}): {reason}", proof.name),
    }
    pass
}
