//! Framing: the events in a stream of bytes, one after the other on lines, without anything between them, in arrays, or all of
//! these.
//!
//! Every byte that is not blank, a comma between events or the bracket of an array is in exactly one piece: an event, or
//! something broken. Memory holds one piece, at most [`LONGEST`] bytes of it; what is longer is passed over and told.

use super::recovery::{Found, Recovery};
use super::scan::{Scan, Verdict};

/// The longest event, in bytes: that of the largest record a Kinesis stream takes.
pub const LONGEST: usize = 10 << 20;

/// How a file may say at its beginning that it is UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// What RFC 7464 puts before each value.
const SEPARATOR: u8 = 0x1e;

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The piece's number in the file, from zero.
    pub index: u64,
    /// Where its first byte is, in the unpacked file.
    pub offset: u64,
    /// What it is.
    pub what: What<'a>,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// A value with its ends. Whether it is a right one, and an object, is for a parser to say.
    Value(&'a [u8]),
    /// Bytes that are no value.
    Broken(&'a [u8]),
    /// Something longer than a piece may be: its length in bytes.
    TooLong(u64),
    /// An array that was not closed when the file ended: elements may be missing.
    Unclosed,
}

#[derive(Debug)]
enum Mode {
    /// Between values.
    Between,
    /// In an object, or in an array that is an element of an array.
    Value { scan: Scan, column: Option<usize> },
    /// In a number, a word, a string, or garbage.
    Bare { string: bool, escaped: bool },
    /// Behind something broken.
    Recovery(Recovery),
    /// In a value that is too long: the bytes passed over so far, and where it began.
    Passing { scan: Scan, length: u64, began: u64 },
}

/// Cuts bytes into pieces, as they come.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the present piece begins in the buffer.
    start: usize,
    /// How far it was looked at.
    seen: usize,
    /// Bytes dropped from the buffer so far.
    dropped: u64,
    mode: Mode,
    array: Option<u64>,
    /// Blanks since the line break, when there was nothing else on the line.
    blanks: Option<usize>,
    index: u64,
    last: bool,
    longest: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(LONGEST)
    }
}

/// Indices into the buffer.
struct Cut {
    from: usize,
    to: usize,
    broken: bool,
}

impl Splitter {
    /// A splitter whose pieces are at most `longest` bytes long.
    pub fn new(longest: usize) -> Self {
        Splitter {
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            dropped: 0,
            mode: Mode::Between,
            array: None,
            blanks: Some(0),
            index: 0,
            last: false,
            longest: longest.max(1),
        }
    }

    /// Takes the next bytes. Every piece must have been taken out before.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.dropped += self.start as u64;
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// No more bytes follow: what is open ends here.
    pub fn finish(&mut self) {
        self.last = true;
    }

    /// The bytes it holds.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next piece, or `None` until more bytes are [pushed](Splitter::push).
    pub fn next_piece(&mut self) -> Option<Piece<'_>> {
        loop {
            let step = match &mut self.mode {
                Mode::Between => self.between(),
                Mode::Value { .. } => self.value(),
                Mode::Bare { .. } => self.bare(),
                Mode::Recovery(_) => self.recover(),
                Mode::Passing { .. } => self.pass(),
            };
            match step {
                Step::Again => {}
                Step::Wait => return None,
                Step::Cut(cut) => return Some(self.piece(cut)),
                Step::Told(offset, told) => {
                    let what = match told {
                        Told::TooLong(length) => What::TooLong(length),
                        Told::Unclosed => What::Unclosed,
                    };
                    return Some(Piece { index: self.number(), offset, what });
                }
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.index += 1;
        self.index - 1
    }

    fn piece(&mut self, cut: Cut) -> Piece<'_> {
        let (index, offset) = (self.number(), self.dropped + cut.from as u64);
        let bytes = self.buffer[cut.from..cut.to].trim_ascii_end();
        let what = if cut.broken { What::Broken(bytes) } else { What::Value(bytes) };
        Piece { index, offset, what }
    }

    /// Begins the next piece at `at`.
    fn begin(&mut self, at: usize, mode: Mode) {
        (self.start, self.seen, self.mode) = (at, at, mode);
    }

    fn between(&mut self) -> Step {
        let Some(byte) = self.buffer.get(self.start).copied() else {
            return if self.last { self.end() } else { Step::Wait };
        };
        let (offset, column) = (self.dropped + self.start as u64, self.blanks);
        if usize::try_from(offset).ok().and_then(|at| MARK.get(at)) == Some(&byte) {
            return self.skip();
        }
        match byte {
            b'\n' => self.blanks = Some(0),
            b' ' | b'\t' | b'\r' => self.blanks = self.blanks.map(|blanks| blanks + 1),
            _ => self.blanks = None,
        }
        match (byte, self.array) {
            (b'\n' | b' ' | b'\t' | b'\r' | b',' | SEPARATOR, _) => return self.skip(),
            (b'[', None) => {
                self.array = Some(offset);
                return self.skip();
            }
            (b']', Some(_)) => {
                self.array = None;
                return self.skip();
            }
            (b'{' | b'[', _) => self.mode = Mode::Value { scan: Scan::new(), column },
            _ => self.mode = Mode::Bare { string: false, escaped: false },
        }
        Step::Again
    }

    fn skip(&mut self) -> Step {
        self.begin(self.start + 1, Mode::Between);
        Step::Again
    }

    /// The file has ended between values. An array that was not closed may have lost elements: that is told.
    fn end(&mut self) -> Step {
        match self.array.take() {
            Some(began) => Step::Told(began, Told::Unclosed),
            None => Step::Wait,
        }
    }

    /// How far the present piece may be looked at: pieces must not depend on how the bytes came.
    fn reach(&self) -> usize {
        self.buffer.len().min(self.start + self.longest + 1)
    }

    fn value(&mut self) -> Step {
        let reach = self.reach();
        let Mode::Value { scan, column } = &mut self.mode else { return Step::Wait };
        let (taken, verdict) = scan.run(&self.buffer[self.seen..reach]);
        self.seen += taken;
        let length = self.seen - self.start;
        match verdict {
            Verdict::Complete if length <= self.longest => {
                let cut = Cut { from: self.start, to: self.seen, broken: false };
                self.begin(self.seen, Mode::Between);
                Step::Cut(cut)
            }
            Verdict::Complete => {
                let began = self.dropped + self.start as u64;
                self.begin(self.seen, Mode::Between);
                Step::Told(began, Told::TooLong(length as u64))
            }
            Verdict::More if length > self.longest => {
                let began = self.dropped + self.start as u64;
                let passing = Mode::Passing { scan: scan.clone(), length: length as u64, began };
                self.begin(self.seen, passing);
                Step::Again
            }
            Verdict::More if !self.last => Step::Wait,
            // What is left open at the end of the file is broken as well.
            Verdict::More | Verdict::Broken => {
                self.mode = Mode::Recovery(Recovery::new(*column, self.array.is_some()));
                Step::Again
            }
        }
    }

    /// A bare value ends with its line; in an array also before `,` and `]`. A closing bracket that nothing has opened stands
    /// for itself.
    fn bare(&mut self) -> Step {
        let (in_array, reach) = (self.array.is_some(), self.reach());
        let Mode::Bare { string, escaped } = &mut self.mode else { return Step::Wait };
        while self.seen < reach {
            let byte = self.buffer[self.seen];
            let first = self.seen == self.start;
            let ends = match byte {
                b'\n' => true,
                _ if *string => false,
                b',' | b']' => in_array,
                b'{' => matches!(self.buffer[self.start], b'}' | b']'),
                _ => false,
            };
            if ends && !first {
                let cut = Cut { from: self.start, to: self.seen, broken: false };
                self.begin(self.seen, Mode::Between);
                return Step::Cut(cut);
            }
            match byte {
                _ if *escaped => *escaped = false,
                b'\\' => *escaped = *string,
                b'"' => *string = !*string,
                _ => {}
            }
            self.seen += 1;
        }
        let cut = Cut { from: self.start, to: self.seen, broken: false };
        if self.seen - self.start > self.longest {
            self.give_up(Recovery::new(None, in_array))
        } else if self.last {
            self.begin(self.seen, Mode::Between);
            Step::Cut(cut)
        } else {
            Step::Wait
        }
    }

    fn recover(&mut self) -> Step {
        let reach = self.reach();
        let last = self.last && reach == self.buffer.len();
        let Mode::Recovery(recovery) = &mut self.mode else { return Step::Wait };
        let bytes = &self.buffer[self.start..reach];
        match recovery.search(bytes, last) {
            Found::Next { at, in_array } => {
                let cut = Cut { from: self.start, to: self.start + at, broken: true };
                if !in_array {
                    self.array = None;
                }
                self.blanks = column_of(&bytes[..at]);
                self.behind(cut)
            }
            Found::Nothing if bytes.len() > self.longest => {
                let recovery = recovery.clone();
                self.give_up(recovery)
            }
            Found::Nothing if last => {
                self.array = None;
                self.behind(Cut { from: self.start, to: reach, broken: true })
            }
            Found::Nothing => Step::Wait,
        }
    }

    fn behind(&mut self, cut: Cut) -> Step {
        self.begin(cut.to, Mode::Between);
        match self.buffer[cut.from..cut.to].trim_ascii().is_empty() {
            true => Step::Again,
            false => Step::Cut(cut),
        }
    }

    /// Drops what may be looked at as too long, and goes on searching.
    fn give_up(&mut self, mut recovery: Recovery) -> Step {
        let (began, length) = (self.dropped + self.start as u64, self.reach() - self.start);
        recovery.forget(length);
        self.begin(self.start + length, Mode::Recovery(recovery));
        Step::Told(began, Told::TooLong(length as u64))
    }

    fn pass(&mut self) -> Step {
        let Mode::Passing { scan, length, began } = &mut self.mode else { return Step::Wait };
        let (taken, verdict) = scan.run(&self.buffer[self.start..]);
        *length += taken as u64;
        let told = Step::Told(*began, Told::TooLong(*length));
        let at = self.start + taken;
        match verdict {
            Verdict::Complete => {
                self.begin(at, Mode::Between);
                told
            }
            Verdict::More if self.last => {
                self.begin(at, Mode::Between);
                self.array = None;
                told
            }
            Verdict::More => {
                (self.start, self.seen) = (at, at);
                Step::Wait
            }
            Verdict::Broken => {
                self.begin(at, Mode::Recovery(Recovery::new(None, self.array.is_some())));
                told
            }
        }
    }
}

enum Step {
    Again,
    Wait,
    Cut(Cut),
    /// Something without bytes is told of the offset.
    Told(u64, Told),
}

enum Told {
    TooLong(u64),
    Unclosed,
}

/// Blanks after the last line break, when nothing else follows it.
fn column_of(before: &[u8]) -> Option<usize> {
    let line = before.iter().rposition(|byte| *byte == b'\n').map(|at| &before[at + 1..])?;
    line.iter().all(u8::is_ascii_whitespace).then_some(line.len())
}
