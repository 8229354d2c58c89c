//! Where a JSON value ends: brackets and strings, and the few signs by which a damaged value gives itself away.
//!
//! Only what a reader needs to keep in step is looked at; whether the value is right is for a parser to say. A value is
//! *broken* at the first byte that no well-formed JSON can have there and after which brackets can no longer be trusted:
//!
//! - a line break within a string (JSON has it escaped): a string was not closed;
//! - a bracket of the wrong kind;
//! - a value, or a bare word, right after a closed string or bracket, or an object where a key is due: a quote or a comma is
//!   missing, and most often the end of one event and the beginning of the next.

/// What stood before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Open,
    Colon,
    Comma,
    Text,
    Word,
    Close,
}

/// What a byte means for the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    More,
    /// This byte is its last.
    Complete,
    /// This byte cannot stand here.
    Broken,
}

/// A value, object or array, as far as it was looked at.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// The open brackets.
    open: Vec<u8>,
    before: Before,
    string: bool,
    escaped: bool,
}

impl Scan {
    /// A value of which nothing was looked at.
    pub(super) fn new() -> Self {
        Scan { open: Vec::new(), before: Before::Open, string: false, escaped: false }
    }

    /// Looks at bytes until the value ends or breaks; how many were taken and why. A byte that breaks it is not taken.
    pub(super) fn run(&mut self, bytes: &[u8]) -> (usize, Verdict) {
        for (index, byte) in bytes.iter().enumerate() {
            match self.byte(*byte) {
                Verdict::More => {}
                Verdict::Complete => return (index + 1, Verdict::Complete),
                Verdict::Broken => return (index, Verdict::Broken),
            }
        }
        (bytes.len(), Verdict::More)
    }

    fn byte(&mut self, byte: u8) -> Verdict {
        if self.string {
            return self.in_string(byte);
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => Verdict::More,
            b'{' | b'[' => {
                let due = match self.before {
                    _ if self.open.is_empty() => true,
                    Before::Colon => true,
                    Before::Open | Before::Comma => self.open.last() == Some(&b'['),
                    Before::Text | Before::Word | Before::Close => false,
                };
                self.open.push(byte);
                self.go_on(due, Before::Open)
            }
            b'}' | b']' => {
                let opened = if byte == b'}' { b'{' } else { b'[' };
                let matches = self.open.pop() == Some(opened);
                match matches && self.open.is_empty() {
                    true => Verdict::Complete,
                    false => self.go_on(matches, Before::Close),
                }
            }
            b'"' => {
                self.string = true;
                let due = matches!(self.before, Before::Open | Before::Colon | Before::Comma);
                self.go_on(due, Before::Text)
            }
            b':' => self.go_on(true, Before::Colon),
            b',' => self.go_on(true, Before::Comma),
            _ => {
                let due = !matches!(self.before, Before::Text | Before::Close);
                self.go_on(due, Before::Word)
            }
        }
    }

    fn in_string(&mut self, byte: u8) -> Verdict {
        match byte {
            b'\n' => return Verdict::Broken,
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.string = false,
            _ => {}
        }
        Verdict::More
    }

    fn go_on(&mut self, due: bool, before: Before) -> Verdict {
        self.before = before;
        if due { Verdict::More } else { Verdict::Broken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_brackets_close() {
        for (text, taken) in [
            (r#"{"a":1}{"#, 7),
            (r#"{"a":"}\"]"} x"#, 12),
            ("[[], {\"a\" : [ {} , {} ]}\n]\n", 26),
            (r#"{"a":tru,}"#, 10),
            (r#"{"a":{"b":{"c":[1,2,{"d":null}]}}}"#, 34),
        ] {
            assert_eq!(Scan::new().run(text.as_bytes()), (taken, Verdict::Complete), "{text}");
        }
    }

    #[test]
    fn damage_gives_itself_away() {
        for (text, at) in [
            ("{\"a\":\"x\n{\"b\":1}", 7),
            ("{\"a\":1\n{\"b\":1}", 7),
            ("{\"a\":1,\n{\"b\":1}", 8),
            ("{\"a\":{\"b\":1}\n{\"c\":1}", 13),
            (r#"{"a":"x}{"b":"y"}"#, 10),
            (r#"{"a":[1}"#, 7),
            (r#"{"a":1]"#, 6),
            (r#"{a":1}"#, 2),
        ] {
            assert_eq!(Scan::new().run(text.as_bytes()), (at, Verdict::Broken), "{text}");
        }
    }

    #[test]
    fn a_value_is_looked_at_in_pieces() {
        let text = r#"{"a":"\"\\","b":[{"c":"}"}]}"#.as_bytes();
        for cut in 0..text.len() {
            let mut scan = Scan::new();
            assert_eq!(scan.run(&text[..cut]), (cut, Verdict::More));
            assert_eq!(scan.run(&text[cut..]), (text.len() - cut, Verdict::Complete));
        }
    }
}
