//! One connection that has said hello: who is at its other end, and a way to close it at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::node::NodeId;

/// What a link is told apart by.
pub(super) type Number = u64;

/// A connection and what is known of it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: Number,
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    pub(super) build: String,
    pub(super) protocol: u32,
    /// We dialed, and dial again when it is lost.
    pub(super) dialed: bool,
    closing: CancellationToken,
    reason: Mutex<Option<String>>,
    /// It has become a session.
    ready: AtomicBool,
    /// Nothing of it is left.
    pub(super) gone: CancellationToken,
}

/// What a link begins with.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    pub(super) build: String,
    pub(super) protocol: u32,
    pub(super) dialed: bool,
}

impl Link {
    pub(super) fn new(number: Number, begin: Begin) -> Self {
        let Begin { node, address, build, protocol, dialed } = begin;
        Link {
            number,
            node,
            address,
            build,
            protocol,
            dialed,
            closing: CancellationToken::new(),
            reason: Mutex::new(None),
            ready: AtomicBool::new(false),
            gone: CancellationToken::new(),
        }
    }

    /// Ends the connection. Both its halves fail from now on, whatever they wait for, and the carrier takes its session down.
    pub(super) fn close(&self, reason: impl Into<String>) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(|| reason.into());
        self.closing.cancel();
    }

    /// Why it ended, as far as we know.
    pub(super) fn reason(&self) -> String {
        let known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().unwrap_or_else(|| "the connection ended".into())
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The connection as the carrier wants it; `permit` is held until it is gone.
    pub(super) fn stream(&self, stream: Box<dyn Duplex>, permit: Option<OwnedSemaphorePermit>) -> Stream {
        Stream { stream, label: self.number.to_string(), closing: self.closing.clone(), permit }
    }
}

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// What is handed to the carrier. Its label is the link's number: by it we know the session again.
pub(super) struct Stream {
    stream: Box<dyn Duplex>,
    label: String,
    closing: CancellationToken,
    permit: Option<OwnedSemaphorePermit>,
}

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (reader, writer) = tokio::io::split(self.stream);
        let closed = || Box::pin(self.closing.clone().cancelled_owned());
        let (read_end, write_end) = (closed(), closed());
        // The carrier drops the reader with the session, but its writer may sit in a write to a peer that does not read.
        let last = self.closing.clone().drop_guard();
        let reader = Reader { reader, closed: read_end, _last: last, _permit: self.permit };
        (Box::new(reader), Box::new(Writer { writer, closed: write_end }))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

type Closed = Pin<Box<WaitForCancellationFutureOwned>>;

struct Reader {
    reader: ReadHalf<Box<dyn Duplex>>,
    closed: Closed,
    _last: DropGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

struct Writer {
    writer: WriteHalf<Box<dyn Duplex>>,
    closed: Closed,
}

impl Writer {
    fn poll_open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.closed.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_open(context)?;
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_open(context)?;
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
