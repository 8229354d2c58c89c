//! Getting back into step after a damaged event: where the next sound one begins.
//!
//! Out of step, nobody can know whether a byte stands within a string. Three things can still be trusted:
//!
//! - JSON has no line break within a string. So a line that begins with `{` in the column in which the broken event began
//!   is a new event: in line-wise files the next line, in pretty-printed ones the next event that is not indented.
//! - `}` and `{` never follow each other within a value. So `}{` outside a string ends one event and begins the next.
//! - A nested object is followed by `,`, `]`, `}` or `:`; an event is not.
//!
//! Where the column is not known, and for `}{`, the object that begins there must be whole and followed by nothing that only
//! follows nested ones; else the search goes on. Within an array on one line an element cannot be told from an object
//! nested in the broken one, so that everything to the end of that line is the broken event: rather one dead letter too large
//! than a row that nobody sent.

use super::scan::{Scan, Verdict};

/// What a search found out so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A sound event, or a line that may hold one, begins at this index.
    Next {
        /// Where.
        at: usize,
        /// The array that the broken event was an element of goes on.
        in_array: bool,
    },
    /// Nothing in what there is; more bytes are needed.
    Nothing,
}

/// A place that may be the beginning of an event, and how far that was looked into.
#[derive(Debug, Clone)]
struct Candidate {
    at: usize,
    scan: Scan,
    /// How far it was looked at; after its end when it is whole.
    to: usize,
    whole: bool,
}

/// A search for the next sound event. Indices count from the beginning of what is broken.
#[derive(Debug, Clone)]
pub(super) struct Recovery {
    /// The column in which the broken event began, when it was the first thing on its line.
    column: Option<usize>,
    in_array: bool,
    /// The next byte to look at.
    next: usize,
    /// The last byte before it that was not blank.
    significant: u8,
    /// Blanks since the line break, when there was nothing else on the line.
    blanks: Option<usize>,
    candidate: Option<Candidate>,
}

impl Recovery {
    /// A search behind the first byte of something broken.
    pub(super) fn new(column: Option<usize>, in_array: bool) -> Self {
        Recovery { column, in_array, next: 1, significant: b'{', blanks: None, candidate: None }
    }

    /// Searches `bytes`, which begin where the broken event does. `last`: no bytes follow.
    pub(super) fn search(&mut self, bytes: &[u8], last: bool) -> Found {
        loop {
            if let Some(candidate) = self.candidate.take() {
                match verify(candidate, bytes, last) {
                    Verified::Sound(at) => return Found::Next { at, in_array: false },
                    Verified::Pending(candidate) => {
                        self.candidate = Some(candidate);
                        return Found::Nothing;
                    }
                    Verified::Wrong => {}
                }
            }
            let Some(byte) = bytes.get(self.next) else { return Found::Nothing };
            let at = self.next;
            let (blanks, significant) = (self.blanks, self.significant);
            self.pass(*byte);
            match (byte, blanks) {
                (b'{', Some(column)) if self.column == Some(column) => {
                    return Found::Next { at, in_array: self.in_array };
                }
                (b'[', Some(column)) if !self.in_array && self.column.is_none_or(|known| known == column) => {
                    return Found::Next { at, in_array: false };
                }
                // The line of a broken array has ended, or it is not known where events begin.
                (b'{', Some(_)) if self.column.is_none() => self.try_at(at),
                (b'{', None) if significant == b'}' && !self.in_array => self.try_at(at),
                _ => {}
            }
        }
    }

    /// Forgets the first `bytes`, which were given up. What was being looked into is given up with them.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.candidate = None;
        self.next = self.next.saturating_sub(bytes);
    }

    fn try_at(&mut self, at: usize) {
        self.candidate = Some(Candidate { at, scan: Scan::new(), to: at, whole: false });
    }

    fn pass(&mut self, byte: u8) {
        self.next += 1;
        match byte {
            b'\n' => self.blanks = Some(0),
            b' ' | b'\t' | b'\r' => self.blanks = self.blanks.map(|blanks| blanks + 1),
            _ => (self.blanks, self.significant) = (None, byte),
        }
    }
}

enum Verified {
    Sound(usize),
    Wrong,
    Pending(Candidate),
}

fn verify(mut candidate: Candidate, bytes: &[u8], last: bool) -> Verified {
    if !candidate.whole {
        let (taken, verdict) = candidate.scan.run(bytes.get(candidate.to..).unwrap_or_default());
        candidate.to += taken;
        match verdict {
            Verdict::Broken => return Verified::Wrong,
            Verdict::More if last => return Verified::Wrong,
            Verdict::More => return Verified::Pending(candidate),
            Verdict::Complete => candidate.whole = true,
        }
    }
    let after = bytes.get(candidate.to..).unwrap_or_default();
    match after.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b',' | b']' | b'}' | b':') => Verified::Wrong,
        Some(_) => Verified::Sound(candidate.at),
        None if last => Verified::Sound(candidate.at),
        None => Verified::Pending(candidate),
    }
}
