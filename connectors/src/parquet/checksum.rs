//! A checksum over every byte of a file, kept in the file's own footer.
//!
//! The Parquet writer has no page checksums, and neither Snappy nor Zstandard as used there notices every flipped bit. So
//! the file is written with a value of zeros in its footer, hashed, and the value then put in place before the footer
//! leaves the process. Whoever checks it hashes the zeros again.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

use super::CHECKSUM;
use crate::failure::Failure;

const DIGITS: usize = 32;
/// What stands in the footer while the file is hashed.
const ZEROS: [u8; DIGITS] = [b'0'; DIGITS];
/// Thrift's compact form between an entry's key and its value: a string field follows, its length.
const BETWEEN: [u8; 2] = [0x18, DIGITS as u8];

/// The value to begin with.
pub(super) fn placeholder() -> String {
    String::from_utf8_lossy(&ZEROS).into_owned()
}

/// Puts the checksum in its place in `tail`, the file's last bytes; `hash` has taken every byte before them.
pub(super) fn seal(tail: &mut [u8], mut hash: Xxh3) -> Result<(), Failure> {
    let place =
        locate(tail).ok_or_else(|| Failure::crashed("the footer does not hold the checksum's place"))?;
    hash.update(tail);
    tail[place].copy_from_slice(format!("{:032x}", hash.digest128()).as_bytes());
    Ok(())
}

/// Compares the bytes of a file, which it is given in order, with the checksum in its footer.
pub(super) struct Verifier {
    hash: Xxh3,
    at: u64,
    place: Range<u64>,
    recorded: Bytes,
}

impl Verifier {
    /// For the file that ends with `tail`, which begins at byte `start` and has the footer in it. `None` when that carries no
    /// checksum.
    pub(super) fn new(tail: &Bytes, start: u64) -> Option<Self> {
        let within = locate(tail)?;
        let place = start + within.start as u64..start + within.end as u64;
        Some(Verifier { hash: Xxh3::new(), at: 0, place, recorded: tail.slice(within) })
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len() as u64;
        let within = |place: u64| (place.clamp(self.at, end) - self.at) as usize; // at most the length of `bytes`
        let (from, to) = (within(self.place.start), within(self.place.end));
        self.hash.update(&bytes[..from]);
        self.hash.update(&ZEROS[..to - from]);
        self.hash.update(&bytes[to..]);
        self.at = end;
    }

    /// Whether all bytes are the ones that were written.
    pub(super) fn agrees(&self) -> bool {
        format!("{:032x}", self.hash.digest128()).as_bytes() == self.recorded
    }
}

fn locate(bytes: &[u8]) -> Option<Range<usize>> {
    let key = memmem::rfind(bytes, CHECKSUM.as_bytes())?;
    let rest = bytes.get(key + CHECKSUM.len()..)?;
    let start = key + CHECKSUM.len() + BETWEEN.len();
    (rest.starts_with(&BETWEEN) && rest.len() >= BETWEEN.len() + DIGITS).then_some(start..start + DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_given_in_pieces_of_any_size() {
        let mut file = vec![7; 300];
        file.extend_from_slice(CHECKSUM.as_bytes());
        file.extend_from_slice(&BETWEEN);
        file.extend_from_slice(placeholder().as_bytes());
        file.extend_from_slice(&[9; 20]);
        seal(&mut file, Xxh3::new()).unwrap();
        let tail = Bytes::copy_from_slice(&file[290..]);
        for size in 1..file.len() {
            let mut verifier = Verifier::new(&tail, 290).unwrap();
            file.chunks(size).for_each(|piece| verifier.update(piece));
            assert!(verifier.agrees(), "pieces of {size} bytes");
        }
        let mut verifier = Verifier::new(&tail, 290).unwrap();
        verifier.update(&file[1..]);
        assert!(!verifier.agrees());
        assert!(Verifier::new(&Bytes::from_static(b"no checksum"), 0).is_none());
    }
}
