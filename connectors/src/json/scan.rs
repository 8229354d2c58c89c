//! JSON read forward, once: the grammar of RFC 8259 is checked on the way, and values are handed out as the text that was received.
//!
//! What is common is read here, and fast. Whatever is not, be it wrong or only unusual (values nested deeper than 64), ends with
//! `None`: the ordinary parser decides then, and explains. So this reader need only be right about what it takes.

use wide::u8x16;

use super::digits::{self, Plain};
use super::name::Name;

/// The deepest nesting that is read here: a bit for each level.
const DEEPEST: u32 = u64::BITS;

/// Reads one JSON text from its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// Where a number stands, and what it is if it is written in the ordinary way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) plain: Option<Plain>,
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
            self.at += name.length();
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
        let from = self.at;
        let (length, plain) = digits::number(self.rest())?;
        self.at += length;
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
        fn it_agrees_about_any_text(text in ".{0,12}") {
            let quoted = format!("[\"{text}\"]");
            prop_assert_eq!(scanned(&quoted), parsed(&quoted));
            prop_assert_eq!(scanned(&text), parsed(&text));
        }
    }
}
