//! A checksum over every byte of a file, kept in the file's own footer.
//!
//! The Parquet writer has no page checksums, and neither Snappy nor Zstandard as used there notices every flipped bit. So
//! the file is written with a value of zeros in its footer, hashed, and the value then put in place before the footer
//! leaves the process. Whoever checks it hashes the zeros again.

use std::ops::Range;

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

use super::CHECKSUM;
use super::read::PortReader;
use crate::failure::Failure;

const DIGITS: usize = 32;
/// What stands in the footer while the file is hashed.
pub(super) const ZEROS: [u8; DIGITS] = [b'0'; DIGITS];
/// Thrift's compact form between an entry's key and its value: a string field follows, its length.
const BETWEEN: [u8; 2] = [0x18, DIGITS as u8];
/// The footer's length and the magic bytes.
const END: u64 = 8;
const CHUNK: u64 = 8 << 20;

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

/// Reads the whole file and compares.
pub(super) async fn check(file: &PortReader) -> Result<(), Failure> {
    let place = place(file).await?;
    let recorded = file.bytes(place.clone()).await?;
    let mut hash = Xxh3::new();
    hash_range(file, 0..place.start, &mut hash).await?;
    hash.update(&ZEROS);
    hash_range(file, place.end..file.size(), &mut hash).await?;
    if format!("{:032x}", hash.digest128()).as_bytes() == recorded {
        return Ok(());
    }
    Err(Failure::rejected(format!(
        "corrupt file {}: its bytes are not the ones that were written",
        file.key()
    )))
}

async fn place(file: &PortReader) -> Result<Range<u64>, Failure> {
    let wrong = |what: &str| Failure::rejected(format!("corrupt file {}: {what}", file.key()));
    let end = file.size().checked_sub(END).ok_or_else(|| wrong("it is too short"))?;
    let length = file.bytes(end..file.size()).await?;
    let length = length.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))).unwrap_or_default();
    let start = end.checked_sub(length).ok_or_else(|| wrong("its footer is longer than the file"))?;
    let footer = file.bytes(start..end).await?;
    let within = locate(&footer).ok_or_else(|| wrong("it carries no checksum"))?;
    Ok(start + within.start as u64..start + within.end as u64)
}

async fn hash_range(file: &PortReader, range: Range<u64>, hash: &mut Xxh3) -> Result<(), Failure> {
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + CHUNK);
        hash.update(&file.bytes(from..to).await?);
        from = to;
    }
    Ok(())
}

fn locate(bytes: &[u8]) -> Option<Range<usize>> {
    let key = memmem::rfind(bytes, CHECKSUM.as_bytes())?;
    let rest = bytes.get(key + CHECKSUM.len()..)?;
    let start = key + CHECKSUM.len() + BETWEEN.len();
    (rest.starts_with(&BETWEEN) && rest.len() >= BETWEEN.len() + DIGITS).then_some(start..start + DIGITS)
}
