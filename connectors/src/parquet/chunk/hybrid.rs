//! Runs and bit-packed groups in turns: how Parquet writes small numbers, places in a dictionary and whether a value is there
//! (<https://parquet.apache.org/docs/file-format/data-pages/encodings/>, "RLE/Bit-Packing Hybrid").

use arrow::buffer::BooleanBuffer;

/// Bit-packed numbers come in groups of so many.
const GROUP: usize = 8;

/// Runs of so many bits or more are written as runs; shorter ones cost more than the bits themselves.
const BIT_RUN: usize = 8 * GROUP;

/// Appends `numbers`, each below 2 to the power of `width`.
pub(super) fn numbers(numbers: &[u32], width: u8, to: &mut Vec<u8>) {
    let bytes = usize::from(width).div_ceil(8);
    let (mut packed, mut at) = (0, 0);
    while let Some(number) = numbers.get(at) {
        let same = numbers[at + 1..].iter().take_while(|next| *next == number).count() + 1;
        if same < GROUP {
            at = numbers.len().min(at + GROUP);
            continue;
        }
        pack(&numbers[packed..at], width, to);
        run(same, to);
        to.extend_from_slice(&number.to_le_bytes()[..bytes]);
        at += same;
        packed = at;
    }
    pack(&numbers[packed..], width, to);
}

/// Appends `bits` as numbers of one bit each.
pub(super) fn bits(bits: &BooleanBuffer, to: &mut Vec<u8>) {
    let aligned = bits.sliced();
    let (bytes, length) = (aligned.as_slice(), bits.len());
    let (mut packed, mut at) = (0, 0);
    while at * 8 < length {
        let same = match bytes[at] {
            all @ (0 | u8::MAX) => bytes[at..length / 8].iter().take_while(|byte| **byte == all).count(),
            _ => 0,
        };
        if same * 8 < BIT_RUN {
            at += same.max(1);
            continue;
        }
        pack_bits(&bytes[packed..at], to);
        run(same * 8, to);
        to.push(bytes[at] & 1);
        at += same;
        packed = at;
    }
    pack_bits(&bytes[packed..length.div_ceil(8)], to);
}

/// Appends `count` times the same bit.
pub(super) fn same_bits(bit: bool, count: usize, to: &mut Vec<u8>) {
    run(count, to);
    to.push(u8::from(bit));
}

/// The head of a run.
fn run(count: usize, to: &mut Vec<u8>) {
    varint((count as u64) << 1, to);
}

/// Appends numbers bit-packed; the last group is filled with zeros.
fn pack(numbers: &[u32], width: u8, to: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    varint((groups as u64) << 1 | 1, to);
    let end = to.len() + groups * usize::from(width);
    to.reserve(end + size_of::<u32>() - to.len());
    let (mut bits, mut filled) = (0u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << filled;
        filled += u32::from(width);
        if filled >= u32::BITS {
            to.extend_from_slice(&bits.to_le_bytes()[..size_of::<u32>()]);
            bits >>= u32::BITS;
            filled -= u32::BITS;
        }
    }
    to.extend_from_slice(&bits.to_le_bytes());
    to.resize(end, 0);
}

fn pack_bits(bytes: &[u8], to: &mut Vec<u8>) {
    if !bytes.is_empty() {
        varint((bytes.len() as u64) << 1 | 1, to);
        to.extend_from_slice(bytes);
    }
}

/// Appends a number seven bits at a time, the lowest first.
fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `count` numbers as the specification says.
    fn read(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut head = 0u64;
            for place in 0.. {
                let byte = bytes[0];
                bytes = &bytes[1..];
                head |= u64::from(byte & 0x7f) << (7 * place);
                if byte < 0x80 {
                    break;
                }
            }
            let width = usize::from(width);
            if head & 1 == 0 {
                let (value, rest) = bytes.split_at(width.div_ceil(8));
                bytes = rest;
                let mut number = [0; 4];
                number[..value.len()].copy_from_slice(value);
                all.extend(std::iter::repeat_n(u32::from_le_bytes(number), (head >> 1) as usize));
            } else {
                let (packed, rest) = bytes.split_at((head >> 1) as usize * width);
                bytes = rest;
                let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
                let number =
                    |at: usize| (0..width).map(|place| bit(at * width + place) << place).sum::<u32>();
                all.extend((0..(head >> 1) as usize * GROUP).map(number));
            }
        }
        assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
        assert!(all.len() < count + GROUP, "at most the last group is filled");
        all.truncate(count);
        all
    }

    /// Stretches of one number, some of them long.
    fn stretches(most: u32) -> impl Strategy<Value = Vec<u32>> {
        let stretch = (0..=most, prop_oneof![8 => 1..4usize, 2 => 5..30usize, 1 => 60..700usize]);
        prop::collection::vec(stretch, 0..40).prop_map(|stretches| {
            stretches.into_iter().flat_map(|(number, count)| std::iter::repeat_n(number, count)).collect()
        })
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(
            (width, all) in (0..=22u8).prop_flat_map(|width| (Just(width), stretches((1 << width) - 1))),
        ) {
            let mut bytes = Vec::new();
            numbers(&all, width, &mut bytes);
            prop_assert_eq!(read(&bytes, width, all.len()), all);
        }

        #[test]
        fn bits_are_read_as_they_were_written(all in stretches(1), from in 0..20usize) {
            let whole: BooleanBuffer = all.iter().map(|bit| *bit == 1).collect();
            let from = from.min(all.len());
            let mut bytes = Vec::new();
            bits(&whole.slice(from, all.len() - from), &mut bytes);
            prop_assert_eq!(read(&bytes, 1, all.len() - from), &all[from..]);
        }
    }

    #[test]
    fn runs_are_short() {
        let size = |all: &[u32], width: u8| {
            let mut bytes = Vec::new();
            numbers(all, width, &mut bytes);
            bytes.len()
        };
        assert_eq!(size(&[7; 100_000], 3), 4);
        assert_eq!(size(&[], 3), 0);
        assert_eq!(size(&[0; 20_000], 0), 3, "a number of no bits");
        assert_eq!(size(&[0, 1, 2, 3, 4, 5, 6, 7], 3), 4);
        let mut bytes = Vec::new();
        bits(&BooleanBuffer::new_set(20_000), &mut bytes);
        assert_eq!(bytes.len(), 4);
        bytes.clear();
        same_bits(true, 20_000, &mut bytes);
        assert_eq!(read(&bytes, 1, 20_000), [1; 20_000]);
    }
}
