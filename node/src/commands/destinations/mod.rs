//! `destinations`: the kinds there are, their settings, and what they would make of an event.

mod attempt;
mod describe;

use serde_json::json;
use shardmill_connectors::destinations::registry::{self, Kind};

use super::Error;
use crate::cli::DestinationsCommand;
use crate::output;

/// Lists, describes or tries.
pub async fn destinations(command: DestinationsCommand, json: bool) -> Result<(), Error> {
    match command {
        DestinationsCommand::List => {
            let kinds =
                registry::KINDS.iter().map(|kind| json!({"kind": kind.name, "summary": kind.summary}));
            Ok(output::show(json, &kinds.collect(), &["kind", "summary"])?)
        }
        DestinationsCommand::Describe { kind } => {
            let described = describe::describe(known(&kind)?);
            Ok(output::print(&if json { format!("{described}\n") } else { describe::told(&described) })?)
        }
        DestinationsCommand::Try(args) => attempt::attempt(&args, json).await,
    }
}

fn known(name: &str) -> Result<&'static Kind, Error> {
    registry::find(name).ok_or_else(|| {
        let fix = match registry::nearest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`shardmill destinations list` lists them".to_owned(),
        };
        Error::Usage(format!("`{name}` is no kind of destination; {fix}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_are_guessed() {
        for (name, wanted) in [("webhok", "did you mean `webhook`?"), ("qqq", "destinations list")] {
            let Err(Error::Usage(message)) = known(name) else { panic!("{name} is a kind") };
            assert!(message.contains(wanted), "{message}");
        }
    }
}
