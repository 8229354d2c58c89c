//! Names of members, to be found where one expects them.

use super::scan::plain;

/// The name of a member as it ordinarily stands in a text: between quotes, a colon behind it.
#[derive(Debug)]
pub(crate) struct Name {
    quoted: Vec<u8>,
    /// Its first bytes, and ones for each of them: most names are compared at once.
    head: u128,
    mask: u128,
}

impl Name {
    /// `None` for a name that only stands in a text with escapes.
    pub(crate) fn new(name: &str) -> Option<Name> {
        if plain(name.as_bytes()) < name.len() {
            return None;
        }
        let quoted = format!("\"{name}\":").into_bytes();
        let (mut head, mut mask) = ([0; HEAD], [0; HEAD]);
        for (place, byte) in quoted.iter().take(HEAD).enumerate() {
            (head[place], mask[place]) = (*byte, u8::MAX);
        }
        Some(Name { quoted, head: u128::from_ne_bytes(head), mask: u128::from_ne_bytes(mask) })
    }

    /// Whether a text begins with it.
    #[inline]
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk() {
            Some(block) if u128::from_ne_bytes(*block) & self.mask != self.head => false,
            Some(_) if self.quoted.len() <= HEAD => true,
            _ => bytes.starts_with(&self.quoted),
        }
    }

    /// How many bytes it takes in a text.
    #[inline]
    pub(super) fn length(&self) -> usize {
        self.quoted.len()
    }

    /// The name itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.quoted[1..self.quoted.len() - 2]
    }
}

/// Bytes of a name that are compared at once.
const HEAD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::scan::Scanner;

    #[test]
    fn names_are_found_where_they_stand_and_nowhere_else() {
        for length in 0..40 {
            let name = "n".repeat(length);
            let wanted = Name::new(&name).unwrap();
            assert_eq!(wanted.bytes(), name.as_bytes());
            for after in ["1", "1 and what else there is"] {
                let text = format!("\"{name}\":{after}");
                let mut scanner = Scanner::new(&text);
                assert!(scanner.takes_name(&wanted) && scanner.at() == length + 3, "{text}");
                for place in 0..length + 3 {
                    let mut other = text.clone().into_bytes();
                    other[place] ^= 1;
                    let mut scanner = Scanner::of_bytes(&other);
                    assert!(!scanner.takes_name(&wanted) && scanner.at() == 0, "{text} at {place}");
                }
            }
            let cut = format!("\"{name}\"");
            assert!(!Scanner::new(&cut).takes_name(&wanted));
        }
        for escaped in ["a\"", "\\", "\n"] {
            assert!(Name::new(escaped).is_none());
        }
    }
}
