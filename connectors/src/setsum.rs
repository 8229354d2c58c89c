//! Set-sums: an order-free fingerprint of a set of rows.
//!
//! The sum modulo 2¹²⁸ of the 128-bit identity hashes of its rows. Adding sets adds sums, so books can be balanced over
//! segments and generations without looking at the rows again; recomputing it from a file proves the file.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set-sum. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SetSum(pub u128);

impl SetSum {
    /// The sum with one more row in it.
    pub fn insert(&mut self, identity: u128) {
        self.0 = self.0.wrapping_add(identity);
    }
}

impl Add for SetSum {
    type Output = SetSum;
    fn add(self, other: SetSum) -> SetSum {
        SetSum(self.0.wrapping_add(other.0))
    }
}

impl AddAssign for SetSum {
    fn add_assign(&mut self, other: SetSum) {
        *self = *self + other;
    }
}

impl Sub for SetSum {
    type Output = SetSum;
    fn sub(self, other: SetSum) -> SetSum {
        SetSum(self.0.wrapping_sub(other.0))
    }
}

impl fmt::Display for SetSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SetSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SetSum {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        u128::from_str_radix(text, 16)
            .map(SetSum)
            .map_err(|_| format!("`{text}` is not a set-sum: 32 hexadecimal digits"))
    }
}

impl Serialize for SetSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SetSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A count of rows with their set-sum: one side of a balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many rows.
    pub rows: u64,
    /// Their set-sum.
    pub sum: SetSum,
}

impl Tally {
    /// The tally with one more row in it.
    pub fn insert(&mut self, identity: u128) {
        self.rows += 1;
        self.sum.insert(identity);
    }
}

impl Add for Tally {
    type Output = Tally;
    fn add(self, other: Tally) -> Tally {
        Tally { rows: self.rows.wrapping_add(other.rows), sum: self.sum + other.sum }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        *self = *self + other;
    }
}

impl Sub for Tally {
    type Output = Tally;
    fn sub(self, other: Tally) -> Tally {
        Tally { rows: self.rows.wrapping_sub(other.rows), sum: self.sum - other.sum }
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        tallies.fold(Tally::default(), Add::add)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, set-sum {}", self.rows, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(identities: &[u128]) -> Tally {
        let mut tally = Tally::default();
        identities.iter().for_each(|identity| tally.insert(*identity));
        tally
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_order_or_grouping(mut rows in proptest::collection::vec(any::<u128>(), 0..50), cut in 0usize..50) {
            let whole = tally(&rows);
            let cut = cut.min(rows.len());
            prop_assert_eq!(tally(&rows[..cut]) + tally(&rows[cut..]), whole);
            prop_assert_eq!(whole - tally(&rows[cut..]), tally(&rows[..cut]));
            rows.reverse();
            prop_assert_eq!(tally(&rows), whole);
            prop_assert_eq!(whole.sum.to_string().parse::<SetSum>().unwrap(), whole.sum);
        }
    }
}
