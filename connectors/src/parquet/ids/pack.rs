//! Entries as bytes, and back: in pieces of any size, in order.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::Entry;
use crate::failure::Failure;

/// The bits of an entry's first byte that tell how long the difference of the hashes is; the others tell the row's length.
const HASH_BITS: u32 = 5;
/// Rows take less than eight bytes.
const LONGEST_ROW: usize = 7;

/// What is known of packed entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::parquet) struct Packed {
    /// Their length.
    pub(in crate::parquet) bytes: u64,
    /// How many they are.
    pub(in crate::parquet) entries: u64,
    /// XXH3-128 over the bytes, in hexadecimal digits.
    pub(in crate::parquet) checksum: String,
}

/// Packs entries that come in order.
#[derive(Default)]
pub(in crate::parquet) struct Packing {
    last: Option<Entry>,
    checksum: Xxh3,
    bytes: u64,
    entries: u64,
    out: Vec<u8>,
}

impl Packing {
    /// Adds an entry, which comes after all before it.
    pub(in crate::parquet) fn push(&mut self, entry: Entry) -> Result<(), Failure> {
        if self.last.is_some_and(|last| last >= entry) {
            return Err(Failure::crashed("the entries of a run are not in order"));
        }
        let more = entry.hash - self.last.map_or(0, |last| last.hash);
        let (more_bytes, at_bytes) = (more.to_be_bytes(), entry.at.to_be_bytes());
        let (more, at) = (significant(&more_bytes), significant(&at_bytes));
        if at.len() > LONGEST_ROW {
            return Err(Failure::crashed(format!("a run cannot name row {}", entry.at)));
        }
        // Sixteen and seven at most.
        self.out.push(more.len() as u8 | (at.len() as u8) << HASH_BITS);
        self.out.extend_from_slice(more);
        self.out.extend_from_slice(at);
        self.last = Some(entry);
        self.entries += 1;
        Ok(())
    }

    /// Bytes that have not been taken.
    pub(in crate::parquet) fn pending(&self) -> usize {
        self.out.len()
    }

    /// Takes the bytes so far.
    pub(in crate::parquet) fn take(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.out);
        self.checksum.update(&bytes);
        self.bytes += bytes.len() as u64;
        bytes.into()
    }

    /// The last bytes, and what is known of all.
    pub(in crate::parquet) fn finish(mut self) -> (Bytes, Packed) {
        let rest = self.take();
        let checksum = format!("{:032x}", self.checksum.digest128());
        (rest, Packed { bytes: self.bytes, entries: self.entries, checksum })
    }
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// Bytes that are no entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Unpacks entries.
#[derive(Debug, Default)]
pub(super) struct Unpacking {
    last: Option<Entry>,
}

impl Unpacking {
    /// Takes the next entry off the front of `bytes`; `None` when it is not there whole.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Entry>, Broken> {
        let Some(first) = bytes.first() else { return Ok(None) };
        let more = usize::from(first & ((1 << HASH_BITS) - 1));
        let at = usize::from(first >> HASH_BITS);
        if more > size_of::<u128>() {
            return Err(Broken);
        }
        let Some(rest) = bytes.get(1..1 + more + at) else { return Ok(None) };
        let (more_bytes, at_bytes) = rest.split_at(more);
        let difference = more_bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let at_number = at_bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let hash = self.last.map_or(0, |last| last.hash).checked_add(difference).ok_or(Broken)?;
        let entry = Entry { hash, at: at_number };
        if self.last.is_some_and(|last| last >= entry) {
            return Err(Broken);
        }
        self.last = Some(entry);
        let _ = bytes.split_to(1 + more + at);
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let hash =
            prop_oneof![any::<u128>(), 0u128..4, Just(u128::MAX), (0u32..128).prop_map(|bit| 1 << bit)];
        let at = prop_oneof![0u64..300, 0u64..(1 << 56)];
        let entry = (hash, at).prop_map(|(hash, at)| Entry { hash, at });
        proptest::collection::btree_set(entry, 0..50)
            .prop_map(|set: BTreeSet<Entry>| set.into_iter().collect())
    }

    fn unpacked(bytes: &Bytes, piece: usize) -> Result<Vec<Entry>, Broken> {
        let (mut unpacking, mut found, mut held) = (Unpacking::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            let mut rest = Bytes::from(std::mem::take(&mut held));
            while let Some(entry) = unpacking.next(&mut rest)? {
                found.push(entry);
            }
            held = rest.to_vec();
        }
        if held.is_empty() { Ok(found) } else { Err(Broken) }
    }

    proptest! {
        #[test]
        fn entries_come_back_in_pieces_of_any_size(entries in entries(), piece in 1usize..40, cut in 0usize..50) {
            let mut packing = Packing::default();
            let mut bytes = Vec::new();
            for (number, entry) in entries.iter().enumerate() {
                packing.push(*entry).unwrap();
                if number == cut {
                    bytes.extend_from_slice(&packing.take());
                }
            }
            let (rest, packed) = packing.finish();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!((packed.bytes, packed.entries), (bytes.len() as u64, entries.len() as u64));
            prop_assert_eq!(unpacked(&bytes.into(), piece), Ok(entries));
        }
    }

    #[test]
    fn entries_out_of_order_are_refused_on_both_sides() {
        let entry = |hash, at| Entry { hash, at };
        for (one, other) in
            [(entry(5, 1), entry(4, 2)), (entry(5, 1), entry(5, 1)), (entry(5, 2), entry(5, 1))]
        {
            let mut packing = Packing::default();
            packing.push(one).unwrap();
            assert!(packing.push(other).is_err(), "{one:?} {other:?}");
        }
        assert!(Packing::default().push(entry(0, 1 << 56)).is_err());
        // The same row twice; a difference of seventeen bytes; a hash beyond the last.
        assert_eq!(unpacked(&Bytes::from_static(&[0x21, 5, 1, 0x20, 1]), 9), Err(Broken));
        assert_eq!(unpacked(&Bytes::from_static(&[17]), 9), Err(Broken));
        let beyond = [vec![0x10], vec![0xff; 16], vec![0x01, 1]].concat();
        assert_eq!(unpacked(&beyond.into(), 9), Err(Broken));
    }
}
