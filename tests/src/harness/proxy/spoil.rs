//! Bodies that go wrong on the way, after so many bytes.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// What becomes of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It fails.
    Cut,
    /// Its first byte is another; what follows is right again.
    Damaged,
    /// It never comes.
    Stalled,
}

/// Passes on what is written until `left` bytes went through.
#[derive(Debug)]
pub(super) struct Spoiled<W> {
    to: W,
    left: u64,
    rest: Rest,
}

impl<W> Spoiled<W> {
    pub(super) fn new(to: W, left: u64, rest: Rest) -> Self {
        Spoiled { to, left, rest }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Spoiled<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let fits = usize::try_from(this.left).unwrap_or(usize::MAX).min(bytes.len());
        let (part, spoils) = match (fits, this.rest) {
            (0, Rest::Cut) => return Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe))),
            // Nobody wakes it: it ends with its connection.
            (0, Rest::Stalled) => return Poll::Pending,
            (0, Rest::Damaged) => (vec![!bytes[0]], true),
            _ => (bytes[..fits].to_vec(), false),
        };
        let written = match Pin::new(&mut this.to).poll_write(cx, &part) {
            Poll::Ready(Ok(written)) => written,
            other => return other,
        };
        // Once damaged, it goes on unharmed.
        this.left = if spoils { u64::MAX } else { this.left - written as u64 };
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().to).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().to).poll_shutdown(cx)
    }
}
