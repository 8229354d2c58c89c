//! Reading records out of a file as its bytes come: memory holds one piece of it, and its longest line.

use bytes::{Buf, Bytes};

use super::line::{self, Kept};
use crate::raw::Unpack;
use crate::setsum::Tally;

/// The records of one file.
#[derive(Debug, Default)]
pub struct Unpacker {
    unpack: Unpack,
    /// Packed bytes that have not been unpacked.
    input: Bytes,
    /// The packing may hold something even without more input.
    more: bool,
    plain: Vec<u8>,
    /// Where in `plain` the next line begins.
    at: usize,
    tally: Tally,
}

impl Unpacker {
    /// The next bytes of the file. What came before must have been read: until [`Unpacker::record`] gives nothing more.
    pub fn feed(&mut self, input: Bytes) {
        self.input = input;
        self.more = true;
    }

    /// The next record; `None`: more bytes are needed, or the file is at its end.
    ///
    /// # Errors
    /// What is wrong with the file, in words. It is damaged then, for ever.
    pub fn record(&mut self) -> Result<Option<Kept>, String> {
        loop {
            if let Some(kept) = self.line()? {
                return Ok(Some(kept));
            }
            if !self.more {
                return Ok(None);
            }
            let mut input = self.input.as_ref();
            let before = input.len();
            self.more = self.unpack.step(&mut input, &mut self.plain)?;
            let taken = before - input.len();
            self.input.advance(taken);
        }
    }

    /// No more bytes follow.
    ///
    /// # Errors
    /// The file ends within a frame or a line. One that ends between two frames only its tally tells.
    pub fn finish(mut self) -> Result<Tally, String> {
        self.unpack.finish(&mut self.plain)?;
        match self.plain.len() == self.at {
            true => Ok(self.tally),
            false => Err("it is cut off within a record".into()),
        }
    }

    fn line(&mut self) -> Result<Option<Kept>, String> {
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.plain.drain(..self.at);
            self.at = 0;
            return Ok(None);
        };
        let kept = line::read(rest.get(..end).unwrap_or_default())?;
        self.at += end + 1;
        self.tally.insert(kept.origin.identity());
        Ok(Some(kept))
    }
}
