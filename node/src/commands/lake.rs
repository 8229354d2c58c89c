//! `lake`: verifies the lake or lists its files.

use shardmill_connectors::Failure;

use super::Error;
use crate::cli::LakeCommand;

/// Verifies the lake or lists its files.
pub async fn lake(_command: LakeCommand, _json: bool) -> Result<(), Error> {
    Err(Failure::rejected("not wired yet: lake").into())
}
