//! JSON files: one object a line, or values in an array or one after the other.

use std::io::{BufRead, Read};

use super::{BUFFER, Broken, LONGEST, MARK, Row, Rows, unreadable, utf8};
use crate::raw::{Splitter, What};

/// Lines as they are: whether they are JSON is for whoever takes them to say. Blank ones are skipped.
pub(super) fn lines(mut input: impl BufRead + Send + 'static, shown: String) -> Rows {
    let (mut number, mut line) = (0, Vec::new());
    Box::new(std::iter::from_fn(move || {
        loop {
            line.clear();
            let within = u64::try_from(LONGEST).unwrap_or(u64::MAX);
            match (&mut input).take(within).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => number += 1,
                Err(error) => return Some(Err(unreadable(&shown, &error))),
            }
            if line.len() == LONGEST && !line.ends_with(b"\n") {
                if let Err(error) = pass_over(&mut input) {
                    return Some(Err(unreadable(&shown, &error)));
                }
                let data = Err(Broken { reason: too_long(), data: Vec::new() });
                return Some(Ok(Row { number, data }));
            }
            let text = if number == 1 { line.strip_prefix(&MARK).unwrap_or(&line) } else { &line };
            match text.trim_ascii() {
                [] => {}
                text => return Some(Ok(Row { number, data: utf8(text) })),
            }
        }
    }))
}

fn too_long() -> String {
    format!("longer than {LONGEST} bytes")
}

/// Reads to the end of the line without keeping it.
fn pass_over(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let some = input.fill_buf()?;
        let end = some.iter().position(|byte| *byte == b'\n');
        let (count, over) = end.map_or((some.len(), some.is_empty()), |at| (at + 1, true));
        input.consume(count);
        if over {
            return Ok(());
        }
    }
}

/// Values, each on one line.
pub(super) fn values(mut input: impl Read + Send + 'static, shown: String) -> Rows {
    let (mut splitter, mut piece, mut ended) = (Splitter::default(), vec![0; BUFFER], false);
    Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(found) = splitter.next_piece() {
                return Some(Ok(Row { number: found.index + 1, data: value(found.what) }));
            }
            if ended {
                return None;
            }
            match input.read(&mut piece) {
                Ok(0) => {
                    ended = true;
                    splitter.finish();
                }
                Ok(count) => splitter.push(piece.get(..count).unwrap_or_default()),
                Err(error) => {
                    ended = true;
                    return Some(Err(unreadable(&shown, &error)));
                }
            }
        }
    }))
}

fn value(what: What<'_>) -> Result<String, Broken> {
    let wrong = |reason: String, data: &[u8]| Err(Broken { reason, data: data.to_vec() });
    match what {
        // A line break within a JSON text can only stand between its parts.
        What::Value(bytes) => utf8(bytes).map(|text| text.replace(['\n', '\r'], " ")),
        What::Broken(bytes) => wrong("this is not JSON".to_owned(), bytes),
        What::TooLong(_) => wrong(too_long(), b""),
        What::Unclosed => wrong("the array is not closed: values may be missing".to_owned(), b""),
    }
}
