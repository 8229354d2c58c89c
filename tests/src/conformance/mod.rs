//! What every backend of a port must do: one suite per port, run by every backend.
//!
//! `make` gives a fresh, empty store at every call. The `…_shared` suites get two handles of one fresh store, as two
//! processes would have them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // checks fail by panicking, as tests do

pub mod catalog;
pub mod destination_aws;
pub mod destination_files;
pub mod destinations;
pub mod documents;
pub mod objects;
pub mod queue;
pub use shardmill_connectors::destinations::testing::receiver;
pub mod stream;
pub mod stream_reshard;

use std::time::Duration;

use shardmill_connectors::failure::{Class, Failure};

/// No check takes longer than this, by far; one that hangs fails instead.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs one named check under the time limit.
pub(crate) async fn check(name: &str, body: impl Future<Output = ()>) {
    tokio::time::timeout(LIMIT, body).await.unwrap_or_else(|_| panic!("{name}: not done after {LIMIT:?}"));
}

/// Asserts that `result` was refused for good.
#[track_caller]
pub(crate) fn rejected<T: std::fmt::Debug>(result: Result<T, Failure>, what: &str) {
    match result {
        Err(failure) => {
            assert_eq!(failure.class, Class::Rejected, "{what}: {failure}");
            assert!(!failure.detail.is_empty(), "{what}: refused without a reason");
        }
        Ok(value) => panic!("{what} was not refused: {value:?}"),
    }
}
