//! Files of events: NDJSON, JSON or CSV, read one event at a time as JSON text.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use shardmill_connectors::Failure;
use shardmill_connectors::json;

use crate::cli::SourceFormat;

/// One event of a file: its JSON text on one line, or why its place in the file holds none.
pub(super) type Event = Result<String, String>;

/// The events of a file, in order. The outer failure is one of reading: nothing follows it.
pub(super) type Events = Box<dyn Iterator<Item = Result<Event, Failure>> + Send>;

/// Opens a file (`-`: standard input). `null` is the text that stands for null in CSV.
pub(super) fn open(
    path: &Path,
    format: Option<SourceFormat>,
    null: Option<String>,
) -> Result<(Events, u64), Failure> {
    let shown = path.display().to_string();
    let (input, size): (Box<dyn Read + Send>, u64) = match shown.as_str() {
        "-" => (Box::new(std::io::stdin()), 0),
        _ => {
            let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
            let size = file.metadata().map(|found| found.len()).unwrap_or_default();
            (Box::new(file), size)
        }
    };
    let input = BufReader::with_capacity(1 << 17, input);
    let events = match SourceFormat::of(format, &shown) {
        SourceFormat::Ndjson => lines(input, shown),
        SourceFormat::Json => values(input, &shown)?,
        SourceFormat::Csv => rows(input, shown, null)?,
    };
    Ok((events, size))
}

fn unreadable(shown: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::rejected(format!("{shown} cannot be read: {error}"))
}

/// Lines as they are: whether they are JSON is for the collector to say. Blank ones are skipped.
fn lines(mut input: impl BufRead + Send + 'static, shown: String) -> Events {
    Box::new(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(Ok(text_of(line.trim_ascii()))),
                Err(error) => return Some(Err(unreadable(&shown, &error))),
            }
        }
    }))
}

fn text_of(line: &[u8]) -> Event {
    std::str::from_utf8(line).map(str::to_owned).map_err(|error| format!("not UTF-8: {error}"))
}

/// One value, or the elements of one array.
fn values(mut input: impl Read, shown: &str) -> Result<Events, Failure> {
    let mut text = String::new();
    input.read_to_string(&mut text).map_err(|error| unreadable(shown, &error))?;
    let value: Box<RawValue> = serde_json::from_str(&text).map_err(|error| unreadable(shown, &error))?;
    let on_one_line = |raw: &RawValue| raw.get().replace(['\n', '\r'], " ");
    let events: Vec<String> = match json::elements(&value) {
        Some(elements) => elements.into_iter().map(on_one_line).collect(),
        None => vec![on_one_line(&value)],
    };
    Ok(Box::new(events.into_iter().map(|event| Ok(Ok(event)))))
}

/// Rows as objects of strings.
fn rows(input: impl Read + Send + 'static, shown: String, null: Option<String>) -> Result<Events, Failure> {
    let mut reader = csv::Reader::from_reader(input);
    let headers = reader.headers().map_err(|error| unreadable(&shown, &error))?.clone();
    Ok(Box::new(reader.into_records().map(move |row| match row {
        Ok(row) => Ok(Ok(object(&headers, &row, null.as_deref()))),
        Err(error) if error.is_io_error() => Err(unreadable(&shown, &error)),
        Err(error) => Ok(Err(format!("not CSV: {error}"))),
    })))
}

fn object(headers: &csv::StringRecord, row: &csv::StringRecord, null: Option<&str>) -> String {
    let value = |text: &str| if null == Some(text) { Value::Null } else { text.into() };
    let members: Map<String, Value> =
        headers.iter().zip(row).map(|(name, text)| (name.to_owned(), value(text))).collect();
    Value::Object(members).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: Events) -> Vec<Event> {
        events.map(Result::unwrap).collect()
    }

    #[test]
    fn lines_keep_their_text() {
        let input: &[u8] = b"{\"a\": 1.10}\r\n\n  {\"b\":2}\n\xff\n";
        let events = read(lines(input, "f".into()));
        assert_eq!(events[0].as_ref().unwrap(), "{\"a\": 1.10}");
        assert_eq!(events[1].as_ref().unwrap(), "{\"b\":2}");
        assert!(events[2].is_err() && events.len() == 3);
    }

    #[test]
    fn json_values_come_one_by_one() {
        let text = "[{\"a\":\n1.0},\n 2]";
        let events = read(values(text.as_bytes(), "f").unwrap());
        assert_eq!(events, [Ok("{\"a\": 1.0}".to_owned()), Ok("2".to_owned())]);
        assert!(values(&b"{"[..], "f").is_err());
    }

    #[test]
    fn rows_become_objects_of_strings() {
        let text: &[u8] = b"id,n\n1,NA\n2,\"a,\nb\"\n3\n";
        let events = read(rows(text, "f".into(), Some("NA".into())).unwrap());
        assert_eq!(events[0].as_ref().unwrap(), r#"{"id":"1","n":null}"#);
        assert_eq!(events[1].as_ref().unwrap(), r#"{"id":"2","n":"a,\nb"}"#);
        assert!(events[2].is_err());
    }
}
