//! Numbers, read once: how long they are, and what they are when they are written in the ordinary way.

/// A number without a power of ten, of eighteen digits at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plain {
    negative: bool,
    /// All digits, as if there were no point.
    digits: u64,
    /// How many digits there are.
    count: usize,
    /// How many of them stand behind the point.
    places: usize,
}

impl Plain {
    /// The most digits that fit into 64 bits, whatever they are.
    const MOST: usize = 18;
    /// Up to fifteen digits survive the way to a double and back (C's `DBL_DIG`): doubles tell short numbers from each other.
    const SHORT: usize = 15;

    /// The whole number, when it has no point.
    #[inline]
    pub(crate) fn whole(self) -> Option<i64> {
        let digits = i64::try_from(self.digits).ok().filter(|_| self.places == 0)?;
        Some(if self.negative { -digits } else { digits })
    }

    /// The nearest double, when there are few enough digits that it takes no more than a division: both numbers are doubles exactly,
    /// so the quotient is rounded once (Clinger, "How to read floating point numbers accurately", 1990).
    #[inline]
    pub(crate) fn double(self) -> Option<f64> {
        #[rustfmt::skip]
        const POWERS: [f64; Plain::SHORT + 1] =
            [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
        if self.count > Self::SHORT {
            return None;
        }
        #[allow(clippy::cast_precision_loss)] // fifteen digits are fewer than 53 bits
        let number = self.digits as f64 / POWERS.get(self.places)?;
        Some(if self.negative { -number } else { number })
    }
}

/// The number that a text begins with: its length in bytes, and what it is if it is [`Plain`].
#[inline]
pub(super) fn number(bytes: &[u8]) -> Option<(usize, Option<Plain>)> {
    let negative = bytes.first() == Some(&b'-');
    let begin = usize::from(negative);
    let mut digits = 0;
    let whole = add_digits(bytes.get(begin..)?, &mut digits);
    if whole == 0 || (whole > 1 && bytes.get(begin) == Some(&b'0')) {
        return None;
    }
    let (mut to, mut places) = (begin + whole, 0);
    if bytes.get(to) == Some(&b'.') {
        places = add_digits(bytes.get(to + 1..)?, &mut digits);
        to += 1 + (places > 0).then_some(places)?;
    }
    let has_power = matches!(bytes.get(to), Some(b'e' | b'E'));
    if has_power {
        let sign = usize::from(matches!(bytes.get(to + 1), Some(b'+' | b'-')));
        let power = add_digits(bytes.get(to + 1 + sign..)?, &mut 0);
        to += 1 + sign + (power > 0).then_some(power)?;
    }
    let count = whole + places;
    let is_plain = !has_power && count <= Plain::MOST;
    Some((to, is_plain.then_some(Plain { negative, digits, count, places })))
}

/// How many digits stand first; they are put behind those that are there. Of more than nineteen nothing is told but their number.
#[inline]
fn add_digits(bytes: &[u8], digits: &mut u64) -> usize {
    let mut rest = bytes;
    while let Some((number, after)) =
        rest.split_first_chunk().and_then(|(block, after)| Some((eight(*block)?, after)))
    {
        *digits = digits.wrapping_mul(100_000_000).wrapping_add(number);
        rest = after;
    }
    while let Some((byte, after)) = rest.split_first().filter(|(byte, _)| byte.is_ascii_digit()) {
        *digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        rest = after;
    }
    bytes.len() - rest.len()
}

/// The number that eight digits are, if they are digits: neighbours are put together in all places at once, to two, four and eight
/// digits (Lemire, "Quickly parsing eight digits", 2018).
#[inline]
fn eight(block: [u8; 8]) -> Option<u64> {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0xf0; 8]);
    let word = u64::from_le_bytes(block);
    // The high half of a digit is a 3, and still is when six more make the low half overflow where it was more than nine.
    let is_digits = word & HIGH == ZEROS && word.wrapping_add(u64::from_ne_bytes([6; 8])) & HIGH == ZEROS;
    if !is_digits {
        return None;
    }
    let ones = word - ZEROS;
    let twos = (ones.wrapping_mul(10) + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100) + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn eight_digits_are_put_together() {
        for number in [0, 1, 9, 10, 12_345_678, 98_765_432, 99_999_999] {
            assert_eq!(eight(format!("{number:08}").as_bytes().try_into().unwrap()), Some(number));
        }
        for wrong in 0..=u8::MAX {
            for place in 0..8 {
                let mut block = *b"19191919";
                block[place] = wrong;
                assert_eq!(eight(block).is_some(), wrong.is_ascii_digit(), "{wrong} at {place}");
            }
        }
    }

    fn plain_of(text: &str) -> Option<Plain> {
        let (length, plain) = number(text.as_bytes())?;
        assert_eq!(length, text.len(), "{text}");
        plain
    }

    #[test]
    fn numbers_are_told_when_they_are_ordinary() {
        for (text, whole, double) in [
            ("0", Some(0), Some(0.0)),
            ("-0", Some(0), Some(-0.0)),
            ("-17", Some(-17), Some(-17.0)),
            ("999999999999999999", Some(999_999_999_999_999_999), None),
            ("-999999999999999", Some(-999_999_999_999_999), Some(-999_999_999_999_999.0)),
            ("1540919166796.0", None, Some(1_540_919_166_796.0)),
            ("0.00000000000001", None, Some(1e-14)),
            ("1.0000000000000000", None, None),
        ] {
            let plain = plain_of(text).unwrap();
            assert_eq!(
                (plain.whole(), plain.double().map(f64::to_bits)),
                (whole, double.map(f64::to_bits)),
                "{text}"
            );
        }
        for text in [
            "1e3",
            "-1E-3",
            "1.5e0",
            "1000000000000000000",
            "1.000000000000000000",
            "99999999999999999999999",
        ] {
            assert_eq!(plain_of(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn numbers_are_what_the_standard_library_reads(text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,16})?") {
            if let Some(plain) = plain_of(&text) {
                let double = plain.double().map(f64::to_bits);
                prop_assert!(double.is_none() || double == text.parse().ok().map(f64::to_bits));
                prop_assert_eq!(plain.whole(), text.parse().ok());
            } else {
                prop_assert!(text.bytes().filter(u8::is_ascii_digit).count() > 18);
            }
        }
    }
}
