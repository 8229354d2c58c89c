//! Unpacking while reading: what is packed with gzip or zstd reads as what it unpacks to.

use std::fmt;
use std::io::{self, Read};

use super::BUFFER;
use crate::failure::Failure;
use crate::raw::Unpack;

/// See the [module](self).
pub(super) struct Unpacked<R> {
    inner: R,
    unpack: Unpack,
    packed: Vec<u8>,
    /// The part of `packed` that is still to be unpacked.
    from: usize,
    to: usize,
    /// There may be more to come of what was put in.
    more: bool,
    output: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R> fmt::Debug for Unpacked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked").field("unpack", &self.unpack).finish_non_exhaustive()
    }
}

impl<R: Read> Unpacked<R> {
    pub(super) fn new(inner: R) -> Self {
        Unpacked {
            inner,
            unpack: Unpack::default(),
            packed: vec![0; BUFFER],
            from: 0,
            to: 0,
            more: false,
            output: Vec::new(),
            given: 0,
            ended: false,
        }
    }

    /// Unpacks some more.
    fn refill(&mut self) -> io::Result<()> {
        let damaged = |reason: String| io::Error::other(Failure::rejected(reason));
        if !self.more && self.from == self.to {
            (self.from, self.to) = (0, self.inner.read(&mut self.packed)?);
            if self.to == 0 {
                self.ended = true;
                return self.unpack.finish(&mut self.output).map_err(damaged);
            }
        }
        let mut input = self.packed.get(self.from..self.to).unwrap_or_default();
        self.more = self.unpack.step(&mut input, &mut self.output).map_err(damaged)?;
        self.from = self.to - input.len();
        Ok(())
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut rest = self.output.get(self.given..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.read(into)?;
                self.given += count;
                return Ok(count);
            }
            self.output.clear();
            self.given = 0;
            if self.ended {
                return Ok(0);
            }
            self.refill()?;
        }
    }
}
