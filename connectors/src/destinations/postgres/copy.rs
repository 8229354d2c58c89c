//! Rows in the text format of `COPY`: a line each, a tab between columns, `\N` for what is missing.

use std::collections::HashSet;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::{Client, Error};

use crate::destinations::Event;

/// Bytes that are handed on together.
const PIECE: usize = 128 << 10;

/// What stands for no value.
const NULL: &[u8] = b"\\N";

/// Appends a value to a line. What has a meaning in the format is escaped.
pub(super) fn push(line: &mut Vec<u8>, value: Option<&str>) {
    let Some(value) = value else { return line.extend_from_slice(NULL) };
    for byte in value.bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(byte),
        }
    }
}

/// The values of a line that [`push`] made.
pub(super) fn values(line: &[u8]) -> Vec<Option<String>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.split(|byte| *byte == b'\t').map(|value| (value != NULL).then(|| plain(value))).collect()
}

fn plain(value: &[u8]) -> String {
    let (mut plain, mut bytes) = (Vec::with_capacity(value.len()), value.iter());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => b'\\',
            },
            byte => *byte,
        });
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The events of a batch, each id once: of several with one id the first.
pub(super) fn distinct(events: &[Event]) -> impl Iterator<Item = &Event> {
    let mut seen = HashSet::with_capacity(events.len());
    events.iter().filter(move |event| seen.insert(event.id.as_str()))
}

/// Copies rows by `statement`; they are there when this returns, for whoever shares the transaction.
pub(super) async fn copy(client: &Client, statement: &str, events: &[Event]) -> Result<(), Error> {
    let mut sink = pin!(client.copy_in::<_, Bytes>(statement).await?);
    let mut piece = BytesMut::with_capacity(PIECE);
    for event in distinct(events) {
        piece.extend_from_slice(&event.data);
        if piece.len() >= PIECE {
            sink.feed(piece.split().freeze()).await?;
        }
    }
    sink.feed(piece.freeze()).await?;
    sink.finish().await.map(drop)
}
