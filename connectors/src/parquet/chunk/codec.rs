//! Compression of pages, with room that is used again.

use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;

use crate::parquet::write::Compression;

/// Compresses one page after another.
pub(in crate::parquet) struct Codec {
    room: Vec<u8>,
    with: With,
}

enum With {
    Nothing,
    Snappy(Box<snap::raw::Encoder>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Codec {
    /// As the library compresses: at the same level.
    pub(in crate::parquet) fn new(compression: Compression) -> Result<Self, ParquetError> {
        let with = match compression {
            Compression::None => With::Nothing,
            Compression::Snappy => With::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd => {
                With::Zstd(zstd::bulk::Compressor::new(ZstdLevel::default().compression_level())?)
            }
        };
        Ok(Codec { room: Vec::new(), with })
    }

    /// The memory of its room, in bytes.
    pub(in crate::parquet) fn memory(&self) -> usize {
        self.room.capacity()
    }

    /// A page's bytes, compressed.
    pub(super) fn compress(&mut self, page: &[u8]) -> Result<Vec<u8>, ParquetError> {
        let most = match &self.with {
            With::Nothing => return Ok(page.to_vec()),
            With::Snappy(_) => snap::raw::max_compress_len(page.len()),
            With::Zstd(_) => zstd::zstd_safe::compress_bound(page.len()),
        };
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let length = match &mut self.with {
            With::Nothing => 0,
            With::Snappy(encoder) => {
                let wrong = |error| ParquetError::External(Box::new(error));
                encoder.compress(page, &mut self.room).map_err(wrong)?
            }
            With::Zstd(compressor) => compressor.compress_to_buffer(page, &mut self.room[..])?,
        };
        Ok(self.room[..length].to_vec())
    }
}
