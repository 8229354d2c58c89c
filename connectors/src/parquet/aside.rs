//! Encoding aside: it takes long enough to starve whatever shares a thread with it.
//!
//! Where it can, the rest leaves the thread instead: rows that were just made are still in the caches of the core they were made on,
//! and encoding them there costs a tenth less.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::encoder::Encoder;
use crate::failure::Failure;

/// Has `encoder` do something; returns it with what came of it. After a failure it is gone: its state is then unknown. `what` it is
/// part of is for messages.
pub(super) async fn with<T: Send + 'static>(
    what: &str,
    mut encoder: Encoder,
    work: impl FnOnce(&mut Encoder) -> Result<T, Failure> + Send + 'static,
) -> Result<(Encoder, T), Failure> {
    let (encoder, done) = compute(what, move || {
        let done = work(&mut encoder);
        (encoder, done)
    })
    .await?;
    Ok((encoder, done?))
}

/// Computes something where it starves nobody but whoever waits together with it, in one task. Not for tasks that are tied to a thread
/// (`LocalSet`) of a runtime of many.
pub(super) async fn compute<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let crashed = |error: &str| Failure::crashed(format!("writing {what}: the encoder died: {error}"));
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        let done = tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(work)));
        return done.map_err(|panic| crashed(said(&panic)));
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| crashed(&error.to_string()))
}

/// What a panic said.
fn said(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn both_ways() {
        assert_eq!(compute("a file", || 7).await, Ok(7));
        let died = compute("a file", || -> u8 { panic!("of {}", "boredom") }).await;
        let text = died.unwrap_err().to_string();
        assert!(text.contains("writing a file: the encoder died") && text.contains("of boredom"), "{text}");
    }

    #[tokio::test]
    async fn whoever_dies_is_told_of_on_one_thread() {
        both_ways().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn whoever_dies_is_told_of_on_many() {
        both_ways().await;
        tokio::spawn(both_ways()).await.unwrap();
    }
}
