//! Reading a run as a stream: piece after piece, with its checksum at the end.

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

use super::pack::Unpacking;
use super::{Entry, Packed};
use crate::failure::Failure;
use crate::parquet::read::PortReader;

/// Packed entries of an object.
pub(in crate::parquet) struct RunReader {
    port: PortReader,
    /// What has not been fetched.
    at: u64,
    end: u64,
    /// Bytes fetched together.
    piece: u64,
    ready: Bytes,
    unpacking: Unpacking,
    checksum: Xxh3,
    packed: Packed,
    seen: u64,
}

impl RunReader {
    /// The entries that begin at byte `start` of the object behind `port`.
    pub(in crate::parquet) fn new(port: PortReader, start: u64, packed: &Packed, piece: u64) -> Self {
        RunReader {
            port,
            at: start,
            end: start.saturating_add(packed.bytes),
            piece: piece.max(1),
            ready: Bytes::new(),
            unpacking: Unpacking::default(),
            checksum: Xxh3::new(),
            packed: packed.clone(),
            seen: 0,
        }
    }

    /// The next entry, or `None` at the end of a run that is the one that was written.
    pub(in crate::parquet) async fn next(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            let entry = self.unpacking.next(&mut self.ready).map_err(|_| self.wrong())?;
            if entry.is_some() {
                self.seen += 1;
                return Ok(entry);
            }
            if self.at >= self.end {
                return self.finish();
            }
            let to = self.end.min(self.at.saturating_add(self.piece));
            let more = self.port.bytes(self.at..to).await?;
            self.checksum.update(&more);
            self.at = to;
            let mut ready = BytesMut::from(self.ready.as_ref());
            ready.extend_from_slice(&more);
            self.ready = ready.freeze();
        }
    }

    fn finish(&self) -> Result<Option<Entry>, Failure> {
        let checksum = format!("{:032x}", self.checksum.digest128());
        let whole = self.ready.is_empty() && self.seen == self.packed.entries;
        if whole && checksum == self.packed.checksum { Ok(None) } else { Err(self.wrong()) }
    }

    fn wrong(&self) -> Failure {
        let key = self.port.key();
        Failure::rejected(format!("corrupt file {key}: its run of ids is not the one that was written"))
    }
}
