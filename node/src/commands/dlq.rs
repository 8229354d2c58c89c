//! `dlq`: lists, shows, redrives or purges dead letters.

use shardmill_connectors::Failure;

use super::Error;
use crate::cli::DlqCommand;

/// Lists, shows, redrives or purges dead letters.
pub async fn dlq(_command: DlqCommand, _json: bool) -> Result<(), Error> {
    Err(Failure::rejected("not wired yet: dlq").into())
}
