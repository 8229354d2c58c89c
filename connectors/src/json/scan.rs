//! JSON read forward, once: the grammar of RFC 8259 is checked on the way, and values are handed out as the text that was received.
//!
//! What is common is read here, and fast. Whatever is not, be it wrong or only unusual (values nested deeper than 64), ends with
//! `None`: the ordinary parser decides then, and explains. So this reader need only be right about what it takes.

use wide::u8x16;

/// The deepest nesting that is read here: a bit for each level.
const DEEPEST: u32 = u64::BITS;

/// Reads one JSON text from its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

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

    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk() {
            Some(block) if u128::from_ne_bytes(*block) & self.mask != self.head => false,
            Some(_) if self.quoted.len() <= HEAD => true,
            _ => bytes.starts_with(&self.quoted),
        }
    }

    /// The name itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.quoted[1..self.quoted.len() - 2]
    }
}

/// Bytes of a name that are compared at once.
const HEAD: usize = 16;

/// Where a number stands, and what it is if it is written in the ordinary way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) plain: Option<Plain>,
}

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

/// Where a string stands, its quotes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Whether it holds escapes.
    pub(crate) escaped: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scanner::of_bytes(text.as_bytes())
    }

    /// A reader of what should be UTF-8: whoever takes a string out of it has to look.
    pub(crate) fn of_bytes(text: &'a [u8]) -> Self {
        Scanner { text, at: 0 }
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space; it stands next.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match *self.text.get(self.at)? {
            byte @ 0x21.. => Some(byte),
            _ => self.peek_behind_space(),
        }
    }

    #[cold]
    fn peek_behind_space(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Reads this byte, if it is the next.
    #[inline]
    pub(crate) fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads these bytes, if they stand next.
    #[inline]
    pub(crate) fn takes_all(&mut self, bytes: &[u8]) -> bool {
        let found = self.rest().starts_with(bytes);
        if found {
            self.at += bytes.len();
        }
        found
    }

    /// Reads a name with its quotes and its colon, if that is what stands next.
    #[inline]
    pub(crate) fn takes_name(&mut self, name: &Name) -> bool {
        let found = name.begins(self.rest());
        if found {
            self.at += name.quoted.len();
        }
        found
    }

    /// Whether nothing follows but white space.
    pub(crate) fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Reads a value: where it stands.
    #[inline]
    pub(crate) fn value(&mut self) -> Option<(usize, usize)> {
        let first = self.peek()?;
        let from = self.at;
        match first {
            b'{' | b'[' => self.nested()?,
            other => self.scalar(other)?,
        }
        Some((from, self.at))
    }

    /// Reads a string, whose opening quote stands next.
    #[inline]
    pub(crate) fn string(&mut self) -> Option<Inside> {
        let from = self.at + 1;
        let mut at = from;
        let mut escaped = false;
        loop {
            at += plain(self.text.get(at..)?);
            match *self.text.get(at)? {
                b'"' => {
                    self.at = at + 1;
                    return Some(Inside { from, to: at, escaped });
                }
                b'\\' => {
                    escaped = true;
                    at += escape(self.text.get(at + 1..)?)?;
                }
                _ => return None, // a control character
            }
        }
    }

    /// What stands between the quote that is next and the one behind it, when that is all there is to a string: it holds no
    /// escapes, and whoever asks refuses control characters.
    #[inline]
    pub(crate) fn quoted(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest().strip_prefix(b"\"")?;
        let length = memchr::memchr(b'"', inside)?;
        self.at += length + 2;
        inside.get(..length)
    }

    /// Reads a number, which stands next.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<Number> {
        let (bytes, from) = (self.rest(), self.at);
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
        self.at += to;
        let count = whole + places;
        let is_plain = !has_power && count <= Plain::MOST;
        let plain = is_plain.then_some(Plain { negative, digits, count, places });
        Some(Number { from, to: self.at, plain })
    }

    #[inline]
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b't' => self.takes_all(b"true").then_some(()),
            b'f' => self.takes_all(b"false").then_some(()),
            b'n' => self.takes_all(b"null").then_some(()),
            _ => None,
        }
    }

    /// Reads an object or an array with everything inside.
    fn nested(&mut self) -> Option<()> {
        // A bit for each level: whether it is an object. The innermost is the lowest.
        let (mut objects, mut depth) = (0u64, 0);
        loop {
            let first = self.peek()?;
            let is_complete = match first {
                b'{' | b'[' if depth < DEEPEST => {
                    self.at += 1;
                    depth += 1;
                    objects = objects << 1 | u64::from(first == b'{');
                    self.peek()? == first + 2 // `]` and `}` follow two behind their opening
                }
                b'{' | b'[' => return None,
                _ => {
                    self.scalar(first)?;
                    true
                }
            };
            if !is_complete {
                self.name_if(objects)?;
                continue;
            }
            // A value is complete, or a container without anything inside is about to be.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let next = self.peek()?;
                self.at += 1;
                match (next, objects & 1) {
                    (b',', _) => {
                        self.name_if(objects)?;
                        break;
                    }
                    (b'}', 1) | (b']', 0) => (objects, depth) = (objects >> 1, depth - 1),
                    _ => return None,
                }
            }
        }
    }

    /// Reads a name and its colon, within an object.
    #[inline]
    fn name_if(&mut self, objects: u64) -> Option<()> {
        if objects & 1 == 0 {
            return Some(());
        }
        (self.peek()? == b'"').then_some(())?;
        self.string()?;
        self.takes(b':').then_some(())
    }
}

/// How many bytes stand before the first quote, backslash or control character; sixteen at a time.
#[inline]
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk() {
        let special = special(u8x16::new(*block));
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize;
        }
        rest = after;
    }
    let tail = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    bytes.len() - rest.len() + tail
}

/// A bit for each byte that is special.
#[inline]
fn special(block: u8x16) -> u32 {
    let is = |byte: u8| block.simd_eq(u8x16::splat(byte));
    let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
    (is(b'"') | is(b'\\') | control).to_bitmask()
}

/// The length of an escape, by what follows its backslash.
fn escape(after: &[u8]) -> Option<usize> {
    match after.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => after.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
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
    use serde_json::value::RawValue;

    use super::*;

    /// The value that a text begins with and nothing follows, as this reader has it.
    fn scanned(text: &str) -> Option<&str> {
        let mut scanner = Scanner::new(text);
        let (from, to) = scanner.value()?;
        scanner.is_done().then(|| &text[from..to])
    }

    fn parsed(text: &str) -> Option<&str> {
        serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
    }

    #[test]
    fn whole_values_are_read_and_nothing_else() {
        for text in [
            "1",
            " -0.5e+10 ",
            "0",
            "1e5",
            "\"\"",
            "\"a\\u00e9\\n\"",
            "\"\\ud800\"",
            "true",
            "null",
            "[]",
            "{}",
            "[ ]",
            "{ }",
            "[1,[2,{\"a\":[]}],\"]\"]",
            "{\"a\":{\"b\":[{},{}]},\"c\":null}",
            "\"é😀\"",
            "[1 , 2]",
            "{\"a\" : 1 , \"b\":2}",
        ] {
            assert_eq!(scanned(text), Some(text.trim()), "{text}");
        }
        for text in [
            "",
            " ",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "tru",
            "nul",
            "[",
            "{",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "[1}",
            "{\"a\":1]",
            "[1 2]",
            "1 2",
            "\"a\" b",
            "NaN",
            "[\"a\u{1}\"]",
            "{\"a\":1,,\"b\":2}",
            "'a'",
            "\u{feff}1",
        ] {
            assert_eq!(scanned(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_too_deep_is_left_to_others() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(scanned(&nested(64)).is_some() && scanned(&nested(65)).is_none());
    }

    #[test]
    fn special_bytes_are_found_wherever_they_stand() {
        for special in [b'"', b'\\', 0, 0x1f] {
            for place in 0..40 {
                let mut bytes = vec![b'x'; 40];
                bytes[place] = special;
                assert_eq!(plain(&bytes), place);
                // What stands before it is as near as can be.
                for before in [b'!', b'#', b'[', b']', 0x20, 0x7f, 0x80, 0xa2, 0xff] {
                    bytes[..place].fill(before);
                    assert_eq!(plain(&bytes), place, "{before}");
                }
            }
        }
    }

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
        let mut scanner = Scanner::new(text);
        let number = scanner.number()?;
        assert!(scanner.is_done() && (number.from, number.to) == (0, text.len()), "{text}");
        number.plain
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

    /// Texts that are JSON nearly always.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\\\\"",
            "\"\\u0041\"",
            "1",
            "-2.5e3",
            "true",
            "null",
            " ",
            "\"é",
            "\"",
            "0",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_agrees_with_the_ordinary_parser(text in nearly_json()) {
            prop_assert_eq!(scanned(&text), parsed(&text));
        }

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

        #[test]
        fn it_agrees_about_any_text(text in ".{0,12}") {
            let quoted = format!("[\"{text}\"]");
            prop_assert_eq!(scanned(&quoted), parsed(&quoted));
            prop_assert_eq!(scanned(&text), parsed(&text));
        }
    }
}
