//! Encoding aside: it takes long enough to starve whatever shares a thread with it.

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

/// Computes something where it starves nobody.
pub(super) async fn compute<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let crashed = |error| Failure::crashed(format!("writing {what}: the encoder died: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}
