//! `generate`: events on standard output.

use std::io::{BufWriter, ErrorKind, Write};

use shardmill_connectors::{Failure, Millis};

use super::Error;
use crate::cli::GenerateArgs;
use crate::generate::{Plan, events};

/// Writes the events. A reader that went away (`| head`) ends it quietly.
pub fn generate(args: &GenerateArgs) -> Result<(), Error> {
    let plan = Plan {
        events: args.events,
        seed: args.seed,
        until: args.until.map_or_else(Millis::now, |until| Millis(until.as_millisecond())),
        spread_ms: args.spread.millis(),
        invalid: args.invalid,
    };
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let written = events(plan).try_for_each(|event| writeln!(out, "{event}")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::transient(format!("standard output: {error}")).into())
        }
        _ => Ok(()),
    }
}
