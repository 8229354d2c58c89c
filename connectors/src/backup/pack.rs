//! Packing records as they come: memory holds the packed frames and one frame that is being filled.

use bytes::Bytes;
use zstd::bulk::Compressor;
use zstd::stream::raw::CParameter;

use super::line;
use crate::record::Origin;
use crate::setsum::Tally;

/// Plain bytes of one frame, at least: packed alone it is only a little larger than as a part of a whole file, and a thousand
/// shards hold a thousand of them.
const FRAME: usize = 128 << 10;
/// zstd's own default: packs JSON tenfold at some 200 MB/s.
const LEVEL: i32 = 3;

/// A file of records on its way.
#[derive(Debug, Default)]
pub struct Packer {
    plain: Vec<u8>,
    packed: Vec<u8>,
    tally: Tally,
    failed: Option<String>,
}

/// A whole file of records.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its records.
    pub tally: Tally,
}

impl Packer {
    /// Appends a record. What goes wrong is told by [`Packer::finish`].
    pub fn push(&mut self, origin: &Origin, key: &str, payload: &[u8]) {
        self.tally.insert(origin.identity());
        let written = line::write(&mut self.plain, origin, key, payload);
        let packed = match written {
            Ok(()) if self.plain.len() < FRAME => return,
            Ok(()) => self.pack(),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = packed {
            self.failed.get_or_insert(error);
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.plain.capacity() + self.packed.capacity()
    }

    /// Its records so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The whole file.
    ///
    /// # Errors
    /// A record could not be written, or a frame not be packed: in words.
    pub fn finish(mut self) -> Result<Packed, String> {
        if !self.plain.is_empty() {
            self.pack()?;
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Packed { bytes: self.packed.into(), tally: self.tally }),
        }
    }

    /// Packs what has been collected as a frame of its own. The compressor holds a megabyte, and is let go at once.
    fn pack(&mut self) -> Result<(), String> {
        let pack = |plain: &[u8]| {
            let mut compressor = Compressor::new(LEVEL)?;
            compressor.set_parameter(CParameter::ChecksumFlag(true))?;
            compressor.compress(plain)
        };
        let frame = pack(&self.plain).map_err(|error| format!("zstd: {error}"))?;
        self.packed.extend_from_slice(&frame);
        self.plain.clear();
        self.plain.shrink_to(2 * FRAME);
        Ok(())
    }
}
