//! JSON numbers compared and converted exactly, by their decimal digits: floating point would call unequal numbers equal.

use std::cmp::Ordering;

/// A number in the one form ±0.d₁d₂…dₙ × 10^point, where neither d₁ nor dₙ is zero; zero has no digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// The digits of a short number.
const SHORT: usize = 15;
/// The places that its point may be away from its digits.
const SHORT_POINT: i64 = 16;

/// What a number is as a 64-bit integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer {
    /// Exactly this one.
    Exact(i64),
    /// A whole number that 64 bits cannot hold.
    Beyond,
    /// Not a whole number.
    Fraction,
}

/// The 64-bit integer a JSON number denotes: `1540919166796.0` and `1e3` are integers too.
pub(crate) fn integer(text: &str) -> Integer {
    match text.parse::<i64>() {
        Ok(number) => Integer::Exact(number),
        Err(_) => Decimal::parse(text).integer(),
    }
}

/// The double nearest to a JSON number, or `None` when it overflows.
pub(crate) fn float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

impl Decimal {
    /// Reads a JSON number.
    pub(crate) fn parse(text: &str) -> Decimal {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        let trailing = digits[leading..].iter().rev().take_while(|digit| **digit == b'0').count();
        let digits = digits[leading..digits.len() - trailing].to_vec();
        if digits.is_empty() {
            return Decimal { negative: false, digits, point: 0 };
        }
        // Lengths fit easily; an exponent that does not fit is as good as the largest one.
        let shift = whole.len() as i64 - leading as i64;
        Decimal { negative, digits, point: saturating(exponent).saturating_add(shift) }
    }

    fn integer(&self) -> Integer {
        if self.digits.is_empty() {
            return Integer::Exact(0);
        }
        let Ok(length) = usize::try_from(self.point) else { return Integer::Fraction };
        if length < self.digits.len() {
            return Integer::Fraction;
        }
        if length > 19 {
            return Integer::Beyond;
        }
        let places = self.digits.iter().copied().chain(std::iter::repeat(b'0')).take(length);
        let magnitude = places.fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        let number = if self.negative { -magnitude } else { magnitude };
        i64::try_from(number).map_or(Integer::Beyond, Integer::Exact)
    }

    /// The whole number of 64 bits that it is, if it is one.
    pub(crate) fn exact(&self) -> Option<i64> {
        match self.integer() {
            Integer::Exact(number) => Some(number),
            Integer::Beyond | Integer::Fraction => None,
        }
    }

    /// Whether the nearest doubles tell it from every other number that is short: up to fifteen digits survive the way to a double
    /// and back (C's `DBL_DIG`), as long as doubles are normal.
    pub(crate) fn is_short(&self) -> bool {
        self.digits.len() <= SHORT && (-SHORT_POINT..=SHORT_POINT).contains(&self.point)
    }

    /// Whether it is a whole number, of whatever size.
    pub(crate) fn is_whole(&self) -> bool {
        self.integer() != Integer::Fraction
    }
}

fn saturating(exponent: &str) -> i64 {
    let limit = i64::MAX / 4;
    match exponent.parse::<i64>() {
        Ok(number) => number.clamp(-limit, limit),
        Err(_) if exponent.starts_with('-') => -limit,
        Err(_) => limit,
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (left, right) if left != right => left.cmp(&right),
            (-1, _) => other.magnitude_cmp(self),
            _ => self.magnitude_cmp(other),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Decimal {
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_exact() {
        let table = [
            ("0", Integer::Exact(0)),
            ("-0.0e5", Integer::Exact(0)),
            ("0e999999999999999999999", Integer::Exact(0)),
            ("1540919166796.0", Integer::Exact(1_540_919_166_796)),
            ("1e3", Integer::Exact(1000)),
            ("1500E-2", Integer::Exact(15)),
            ("9223372036854775807.000", Integer::Exact(i64::MAX)),
            ("-9223372036854775808.0", Integer::Exact(i64::MIN)),
            ("9223372036854775808", Integer::Beyond),
            ("1e400", Integer::Beyond),
            ("1e99999999999999999999", Integer::Beyond),
            ("9007199254740993.5", Integer::Fraction),
            ("1e-99999999999999999999", Integer::Fraction),
            ("0.5", Integer::Fraction),
        ];
        for (text, wanted) in table {
            assert_eq!(integer(text), wanted, "{text}");
        }
    }

    #[test]
    fn overflow_is_no_double() {
        assert_eq!(float("1e400"), None);
        assert_eq!(float("-1.5e2"), Some(-150.0));
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_numbers(a in any::<i64>(), b in any::<i64>(), shift in 0usize..6) {
            let (left, right) = (Decimal::parse(&a.to_string()), Decimal::parse(&b.to_string()));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            let same = format!("{a}.{}", "0".repeat(shift + 1));
            prop_assert_eq!(Decimal::parse(&same), left);
            prop_assert_eq!(integer(&same), Integer::Exact(a));
            let halves = (a / 4, b / 4);
            let scaled = |n: i64| Decimal::parse(&format!("{n}e-{shift}"));
            prop_assert_eq!(scaled(halves.0).cmp(&scaled(halves.1)), halves.0.cmp(&halves.1));
        }
    }
}
