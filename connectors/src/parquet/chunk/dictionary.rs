//! The different values of a column chunk, each with its place.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::kind::{Item, Kind};

/// What is known of a value.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u128,
    /// Where its bytes begin in the page: a dictionary has a few mebibytes and one value more.
    start: u32,
    length: u32,
    /// The part of its hash that tells where it is looked for.
    hash: u32,
    /// The page that it was last seen in.
    page: u32,
}

/// Values in the order in which they came. A hash table of places with linear probing, never more than half full; its hash begins
/// anywhere, so that it is hard to send values that all fall into one place.
#[derive(Debug)]
pub(super) struct Dictionary {
    kind: Kind,
    hasher: RandomState,
    /// A place and one; 0 where there is none.
    slots: Vec<u32>,
    entries: Vec<Entry>,
    /// The values as a dictionary's page has them.
    page: Vec<u8>,
    /// The bytes of its page with which it is full.
    most: usize,
}

impl Dictionary {
    pub(super) fn new(kind: Kind, most: usize) -> Self {
        Dictionary {
            kind,
            hasher: RandomState::default(),
            slots: vec![0; 64],
            entries: Vec::new(),
            page: Vec::new(),
            most,
        }
    }

    /// The place of a value, and whether it is the first time in the page of this number that it is asked for.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // half of the hash
    pub(super) fn place(&mut self, item: Item, page: u32) -> (u32, bool) {
        let hash =
            if item.is_whole() { self.hasher.hash_one(item.key) } else { self.hasher.hash_one(item.bytes) };
        let hash = (hash >> 32) as u32; // its upper bits are its best
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(place) = self.slots[at].checked_sub(1) {
            let entry = &mut self.entries[place as usize];
            let is_same = entry.key == item.key
                && (item.is_whole() || (entry.hash == hash && entry.bytes(&self.page) == item.bytes));
            if is_same {
                let is_first = entry.page != page;
                entry.page = page;
                return (place, is_first);
            }
            at = (at + 1) & mask;
        }
        (self.add(item, hash, at, page), true)
    }

    #[cold]
    #[inline(never)]
    fn add(&mut self, item: Item, hash: u32, at: usize, page: u32) -> u32 {
        self.kind.write(item.bytes, &mut self.page);
        let (start, length) = (number(self.page.len() - item.bytes.len()), number(item.bytes.len()));
        self.entries.push(Entry { key: item.key, start, length, hash, page });
        let count = number(self.entries.len());
        self.slots[at] = count;
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
        count - 1
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for (entry, place) in self.entries.iter().zip(1..) {
            let mut at = entry.hash as usize & mask;
            while slots[at] > 0 {
                at = (at + 1) & mask;
            }
            slots[at] = place;
        }
        self.slots = slots;
    }

    /// Whether it is as large as it may become.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.page.len() >= self.most
    }

    /// How many different values there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bits of a place.
    pub(super) fn width(&self) -> u8 {
        let last = self.entries.len().saturating_sub(1);
        u8::try_from(usize::BITS - last.leading_zeros()).unwrap_or(u8::MAX)
    }

    /// The bytes of every value.
    pub(super) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| entry.bytes(&self.page))
    }

    /// Its page, as it stands in a file before it is compressed.
    pub(super) fn page(&self) -> &[u8] {
        &self.page
    }

    /// The memory that it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.page.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.slots.len() * size_of::<u32>()
    }
}

impl Entry {
    fn bytes<'p>(&self, page: &'p [u8]) -> &'p [u8] {
        &page[self.start as usize..][..self.length as usize]
    }
}

/// A number that stays below four billion, because a dictionary's page does.
fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_place_each_however_many_there_are() {
        let text = |number: usize| match number % 3 {
            0 => format!("{number}"),
            1 => format!("value number {number}"),
            _ => format!("a value that does not fit into sixteen bytes, with the number {number}"),
        };
        let mut dictionary = Dictionary::new(Kind::Text, usize::MAX);
        for page in [1, 2] {
            for number in 0..5_000 {
                let text = text(number);
                let found = dictionary.place(Item::of(text.as_bytes()), page);
                assert_eq!(found, (number as u32, true));
                assert_eq!(dictionary.place(Item::of(text.as_bytes()), page), (number as u32, false));
            }
        }
        assert_eq!((dictionary.len(), dictionary.width()), (5_000, 13));
        assert!(dictionary.values().zip(0..).all(|(value, number)| value == text(number).as_bytes()));
    }

    #[test]
    fn nothing_is_taken_for_another() {
        let mut dictionary = Dictionary::new(Kind::Text, usize::MAX);
        let long = "x".repeat(40);
        let texts: Vec<&str> = (0..=40).map(|length| &long[..length]).chain(["\0", "\0\0", "x\0"]).collect();
        for (place, text) in texts.iter().enumerate() {
            assert_eq!(dictionary.place(Item::of(text.as_bytes()), 1), (place as u32, true), "{text:?}");
        }
        let widths = (0..6).map(|count| {
            let mut dictionary = Dictionary::new(Kind::Long, usize::MAX);
            for number in 0..count as i64 {
                dictionary.place(Item::of(&number.to_le_bytes()), 1);
            }
            dictionary.width()
        });
        assert_eq!(widths.collect::<Vec<_>>(), [0, 0, 1, 2, 2, 3]);
    }
}
