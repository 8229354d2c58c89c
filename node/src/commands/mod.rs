//! What each command does, and how its outcome becomes an exit code.

pub mod admin;
pub mod check;
pub mod cluster;
pub mod demo;
pub mod destinations;
pub mod dlq;
pub mod erase;
pub mod generate;
pub mod lake;
pub mod ops_client;
mod progress;
mod promote;
pub mod query;
mod reach;
pub mod replay;
pub mod run;
pub mod schema;
pub mod send;
mod source;
mod tree;

use std::process::ExitCode;

use shardmill_connectors::Failure;

use crate::cli::{Cli, Command};
use crate::config::Problem;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Error {
    /// Wrong usage: exit code 2.
    Usage(String),
    /// Something is wrong with files somebody wrote: exit code 2.
    Problems(Vec<Problem>),
    /// It failed: exit code 1.
    Failed(Failure),
    /// It failed and has said so itself: exit code 1.
    Told,
    /// Something is wrong with files somebody wrote, and it has said so itself: exit code 2.
    ToldWrong,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Failed(failure)
    }
}

impl From<Vec<Problem>> for Error {
    fn from(problems: Vec<Problem>) -> Self {
        Error::Problems(problems)
    }
}

impl Error {
    /// Tells people on stderr what went wrong, and the shell by the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Error::Usage(message) => eprintln!("error: {message}"),
            Error::Problems(problems) => problems.iter().for_each(|problem| eprintln!("error: {problem}")),
            Error::Failed(failure) => eprintln!("error: {}", failure.detail),
            Error::Told | Error::ToldWrong => {}
        }
        match self {
            Error::Failed(_) | Error::Told => ExitCode::from(1),
            Error::Usage(_) | Error::Problems(_) | Error::ToldWrong => ExitCode::from(2),
        }
    }
}

/// Does what the command line says.
pub async fn execute(cli: Cli) -> Result<(), Error> {
    let json = cli.json;
    match cli.command {
        Command::Run(args) => run::run(args, json).await,
        Command::Demo(args) => demo::demo(args, json).await,
        Command::Generate(args) => generate::generate(&args),
        Command::Send(args) => send::send(args, json).await,
        Command::Query(args) => query::query(args, json).await,
        Command::Check(args) => check::check(&args, json).await,
        Command::Schema(args) => schema::schema(args.command, json).await,
        Command::Destinations(args) => destinations::destinations(args.command, json).await,
        Command::Dlq(args) => dlq::dlq(args.command, json).await,
        Command::Lake(args) => lake::lake(args.command, json).await,
        Command::Replay(args) => replay::replay(*args, json).await,
        Command::Erase(args) => erase::erase(*args, json).await,
        Command::Admin(args) => admin::admin(args, json).await,
        Command::Cluster(args) => cluster::cluster(args.command, json),
    }
}
