//! `check`: everything that is wrong with a configuration and the files it names.

use serde_json::json;

use super::Error;
use crate::cli::CheckArgs;
use crate::config;
use crate::output;

/// Prints every problem; fails when there is one.
pub fn check(args: &CheckArgs, json: bool) -> Result<(), Error> {
    let problems = config::check(args.config.as_deref());
    if json {
        output::print(&format!("{}\n", json!(problems)))?;
    } else if problems.is_empty() {
        output::print("nothing is wrong\n")?;
    } else {
        return Err(Error::Problems(problems));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::ToldWrong) }
}
