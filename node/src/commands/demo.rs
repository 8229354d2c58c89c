//! `demo`: runs embedded nodes on generated sessions.

use shardmill_connectors::Failure;

use super::Error;
use crate::cli::DemoArgs;

/// Runs embedded nodes on generated sessions.
pub async fn demo(_args: DemoArgs, _json: bool) -> Result<(), Error> {
    Err(Failure::rejected("not wired yet: demo").into())
}
