//! Buffers that files are read into, lent again and again: new memory costs the kernel as much as what is read into it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers kept for later, at most: one that is read into while another is written, and one more.
const KEPT: usize = 3;
/// Smaller ones come from the process's own heap, which gives them out again by itself.
const SMALLEST: usize = 128 << 10;
/// Larger ones are not kept.
const LARGEST: usize = 8 << 20;

/// Buffers that nobody uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// `length` bytes, written by `fill`. The buffer comes back when the last part of it is dropped.
    pub(super) fn read(
        self: &Arc<Self>,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Bytes> {
        if !(SMALLEST..=LARGEST).contains(&length) {
            let mut bytes = vec![0; length];
            fill(&mut bytes)?;
            return Ok(bytes.into());
        }
        let mut lent = Lent { bytes: self.take(length), length, home: self.clone() };
        fill(&mut lent.bytes[..length])?;
        Ok(Bytes::from_owner(lent))
    }

    fn take(&self, length: usize) -> Vec<u8> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // None that is much larger: who holds a part of a buffer holds all of it.
        let fits = |bytes: &Vec<u8>| bytes.len() >= length && bytes.len() / 2 <= length;
        match kept.iter().position(fits) {
            Some(at) => kept.swap_remove(at),
            None => vec![0; rounded(length)],
        }
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(bytes);
    }
}

/// A little more, so that files of nearly the same size can have the same buffer.
fn rounded(length: usize) -> usize {
    length.next_multiple_of((length.next_power_of_two() / 8).max(1))
}

/// A buffer on loan.
struct Lent {
    bytes: Vec<u8>,
    length: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffers: &Arc<Buffers>, length: usize, byte: u8) -> Bytes {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(byte);
            Ok(())
        };
        buffers.read(length, fill).unwrap()
    }

    fn kept(buffers: &Buffers) -> Vec<usize> {
        buffers.0.lock().unwrap().iter().map(Vec::len).collect()
    }

    #[test]
    fn a_buffer_is_lent_again_only_when_nobody_holds_a_part_of_it() {
        let buffers = Arc::new(Buffers::default());
        let first = read(&buffers, 200_000, 1);
        let part = first.slice(100..200);
        drop(first);
        assert_eq!(kept(&buffers).len(), 0);
        let second = read(&buffers, 200_001, 2);
        assert!(part.iter().all(|byte| *byte == 1) && second.iter().all(|byte| *byte == 2));
        let place = part.as_ptr() as usize - 100;
        drop(part);
        let third = read(&buffers, 199_000, 3);
        assert_eq!((third.as_ptr() as usize, third.len()), (place, 199_000));
        assert!(third.iter().all(|byte| *byte == 3) && second.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn few_buffers_are_kept_and_none_that_is_small_large_or_far_too_large() {
        let buffers = Arc::new(Buffers::default());
        drop([SMALLEST - 1, LARGEST + 1].map(|length| read(&buffers, length, 1)));
        assert!(kept(&buffers).is_empty());
        let all: Vec<Bytes> = (1..=KEPT + 2).map(|number| read(&buffers, number * SMALLEST, 1)).collect();
        drop(all);
        assert_eq!(kept(&buffers).len(), KEPT);
        drop(read(&buffers, LARGEST, 1));
        assert_eq!(kept(&buffers).last(), Some(&LARGEST));
        drop(read(&buffers, SMALLEST, 1));
        assert_eq!(kept(&buffers).last(), Some(&SMALLEST), "a fresh one");
        assert!(buffers.read(LARGEST, |_| Err(io::ErrorKind::NotFound.into())).is_err());
    }

    #[test]
    fn what_is_kept_is_never_larger_than_allowed() {
        for length in [SMALLEST, SMALLEST + 1, 1_700_000, LARGEST - 1, LARGEST] {
            let rounded = rounded(length);
            assert!(rounded >= length && rounded <= LARGEST && rounded / 2 <= length, "{length}");
        }
    }
}
