//! A file's rows, read by a thread of their own a little ahead: what formats need blocks, and stores answer asynchronously.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use shardmill_connectors::batches::{How, Input, Row, open};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::RawBody;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Pieces of the file that wait to be read.
const PIECES: usize = 4;
/// Chunks of rows that wait to be put.
const CHUNKS: usize = 2;
/// Rows of one chunk, at most: what a stream takes at once.
const ROWS: usize = 500;
/// Bytes of one chunk, at most (soft by one row).
const BYTES: usize = 1 << 20;

/// Bytes that a file in hand holds, about: pieces, chunks, and what formats hold.
pub(super) const HELD: u64 = 16 << 20;

/// What the thread says.
enum Said {
    Rows(Vec<Row>),
    /// That was all.
    End,
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Reading {
    said: mpsc::Receiver<Result<Said, Failure>>,
    feeding: AbortHandle,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Said::Rows(rows) => write!(f, "Rows({})", rows.len()),
            Said::End => f.write_str("End"),
        }
    }
}

impl Reading {
    /// Begins to read `body`; the first `skip` rows are left out.
    pub(super) fn begin(body: Box<dyn RawBody>, how: How, skip: u64) -> Reading {
        let (send, pieces) = mpsc::channel(PIECES);
        let feeding = tokio::spawn(feed(body, send)).abort_handle();
        let (send, said) = mpsc::channel(CHUNKS);
        tokio::task::spawn_blocking(move || read(Pieces::new(pieces), how, skip, &send));
        Reading { said, feeding }
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// Of the file: nothing follows.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Row>>, Failure> {
        match self.said.recv().await {
            Some(Ok(Said::Rows(rows))) => Ok(Some(rows)),
            Some(Ok(Said::End)) => Ok(None),
            Some(Err(failure)) => Err(failure),
            // As one that cannot be read, and not as a bug of this actor: a fresh one would put rows again and end here as well.
            None => {
                Err(Failure::rejected("the reader of this format broke down: it is damaged in a new way"))
            }
        }
    }
}

/// What comes of a file; `None` at its end.
type Piece = Result<Option<Bytes>, Failure>;

async fn feed(mut body: Box<dyn RawBody>, send: mpsc::Sender<Piece>) {
    loop {
        let piece = body.next().await;
        let ended = !matches!(piece, Ok(Some(_)));
        if send.send(piece).await.is_err() || ended {
            return;
        }
    }
}

/// Reads rows until the file ends or nobody wants more.
fn read(input: Pieces, how: How, skip: u64, send: &mpsc::Sender<Result<Said, Failure>>) {
    let rows = match open(Input::Stream(Box::new(input)), how) {
        Ok(rows) => rows,
        Err(failure) => return drop(send.blocking_send(Err(failure))),
    };
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    for (index, row) in (0_u64..).zip(rows) {
        match row {
            Ok(_) if index < skip => {}
            Ok(row) => {
                bytes += row.data.as_ref().map_or_else(|broken| broken.data.len(), String::len);
                chunk.push(row);
                if chunk.len() >= ROWS || bytes >= BYTES {
                    bytes = 0;
                    if send.blocking_send(Ok(Said::Rows(std::mem::take(&mut chunk)))).is_err() {
                        return;
                    }
                }
            }
            Err(failure) => {
                // What was read before counts.
                let rest = send.blocking_send(Ok(Said::Rows(chunk)));
                return if rest.is_ok() {
                    drop(send.blocking_send(Err(failure)))
                };
            }
        }
    }
    if send.blocking_send(Ok(Said::Rows(chunk))).is_ok() {
        drop(send.blocking_send(Ok(Said::End)));
    }
}

/// The pieces of a file as something to read from, in a thread that may block.
struct Pieces {
    receive: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Pieces {
    fn new(receive: mpsc::Receiver<Piece>) -> Self {
        Pieces { receive, piece: Bytes::new(), ended: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.receive.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.ended = true,
                Some(Err(failure)) => return Err(io::Error::other(failure)),
                // Not an end: half a file would pass for a whole one.
                None => return Err(io::Error::other(Failure::transient("nobody reads on"))),
            }
        }
        let count = into.len().min(self.piece.len());
        self.piece.copy_to_slice(into.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}
