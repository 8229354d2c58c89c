//! The bytes of a whole file, read once and in order, and proven to be the ones that were written.

use bytes::{Bytes, BytesMut};
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
};

use super::checksum::Verifier;
use super::read::PortReader;
use crate::failure::Failure;

/// The footer's length and the magic bytes.
const END: u64 = 8;
/// Bytes fetched together where nothing else is said.
const PIECE: u64 = 8 << 20;

/// A file on its way through the checksum. Whatever came out of it counts only when [`InOrder::finish`] says so.
pub(super) struct InOrder {
    port: PortReader,
    /// Bytes fetched together.
    piece: u64,
    /// The file from `end` on. What is read out of it is what is hashed.
    tail: Bytes,
    end: u64,
    /// Fetched and not given out, up to `fetched`.
    ready: Bytes,
    fetched: u64,
    verifier: Verifier,
}

impl InOrder {
    /// Starts with the file's first byte. From `end` on nothing is given out; the footer lies there.
    pub(super) async fn open(port: &PortReader, end: u64, piece: u64) -> Result<Self, Failure> {
        let tail = port.bytes(end..port.size()).await?;
        let unsealed = || Failure::rejected(format!("corrupt file {}: it carries no checksum", port.key()));
        let verifier = Verifier::new(&tail, end).ok_or_else(unsealed)?;
        let (port, ready) = (port.clone(), Bytes::new());
        Ok(InOrder { port, piece: piece.max(1), tail, end, ready, fetched: 0, verifier })
    }

    /// The footer with the page indexes, which begin at `end`.
    pub(super) async fn footer(&self) -> Result<ParquetMetaData, Failure> {
        let (tail, size) = (self.tail.clone(), self.port.size());
        let parse = async move {
            let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
            let mut reader = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_metadata_options(Some(options));
            reader.try_parse_sized(&tail, size)?;
            reader.finish()
        };
        self.port.elsewhere(parse).await?.map_err(|error| self.port.fault(error))
    }

    /// Fetches the next piece, unless one is there.
    pub(super) async fn ahead(&mut self) -> Result<(), Failure> {
        if self.ready.is_empty() && self.fetched < self.end {
            let to = self.end.min(self.fetched.saturating_add(self.piece));
            self.ready = self.port.bytes(self.fetched..to).await?;
            self.fetched = to;
        }
        Ok(())
    }

    /// The next bytes, at most so many, and at least one before `end`.
    pub(super) async fn next(&mut self, most: u64) -> Result<Bytes, Failure> {
        self.ahead().await?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let bytes = self.ready.split_to(self.ready.len().min(most));
        self.verifier.update(&bytes);
        Ok(bytes)
    }

    /// The next `length` bytes, or what is left before `end`.
    pub(super) async fn take(&mut self, length: u64) -> Result<Bytes, Failure> {
        let first = self.next(length).await?;
        if first.len() as u64 == length {
            return Ok(first);
        }
        let mut all = BytesMut::from(first.as_ref());
        loop {
            let more = self.next(length.saturating_sub(all.len() as u64)).await?;
            if more.is_empty() {
                return Ok(all.freeze());
            }
            all.extend_from_slice(&more);
        }
    }

    /// Reads what is left; an error when a byte of the file is not the one that was written.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        while !self.next(u64::MAX).await?.is_empty() {}
        self.verifier.update(&self.tail);
        if self.verifier.agrees() {
            return Ok(());
        }
        Err(Failure::rejected(format!(
            "corrupt file {}: its bytes are not the ones that were written",
            self.port.key()
        )))
    }
}

/// Reads the whole file and compares.
pub(super) async fn check(file: &PortReader) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::rejected(format!("corrupt file {}: {what}", file.key()));
    let end = file.size().checked_sub(END).ok_or_else(|| wrong("it is too short"))?;
    let length = file.bytes(end..file.size()).await?;
    let length = length.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))).unwrap_or_default();
    let start = end.checked_sub(length).ok_or_else(|| wrong("its footer is longer than the file"))?;
    InOrder::open(file, start, PIECE).await?.finish().await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Class;
    use crate::parquet::testing::{Memory, file, rows};

    async fn read(end: u64, piece: u64, steps: &[(bool, u64)]) {
        let objects = Memory::shared();
        file(&objects, "f", &rows(&(0..20).map(|i| ("s", "a", i)).collect::<Vec<_>>())).await;
        let whole = crate::ports::Objects::get(&*objects, "f").await.unwrap();
        let port = PortReader::new(objects.clone(), "f").await.unwrap();
        let mut bytes = InOrder::open(&port, end, piece).await.unwrap();
        let mut at = 0;
        for (exact, length) in steps {
            let got = if *exact { bytes.take(*length).await } else { bytes.next(*length).await }.unwrap();
            assert_eq!(got, whole[at..at + got.len()]);
            at += got.len();
            let left = end as usize - at;
            assert!(got.len() as u64 <= *length && (!exact || got.len() as u64 == *length || left == 0));
            assert!(!got.is_empty() || *length == 0 || left == 0);
        }
        bytes.finish().await.unwrap();

        objects.tamper("f", |bytes| bytes[1] ^= 1);
        let bytes = InOrder::open(&port, end, piece).await.unwrap();
        assert_eq!(bytes.finish().await.unwrap_err().class, Class::Rejected);
    }

    proptest! {
        #[test]
        fn every_byte_comes_once_and_in_order_in_pieces_of_any_size(
            end in 2u64..900, piece in 1u64..1_000,
            steps in proptest::collection::vec((any::<bool>(), 0u64..300), 0..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(read(end, piece, &steps));
        }
    }
}
