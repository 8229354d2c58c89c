//! Who is erased, asked of letters and of lines, while the command that erases knows the values in clear.

use serde::Deserialize;
use serde_json::value::RawValue;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::erasure::{Seal, Wanted};
use shardmill_connectors::json::Object;

use super::Erasure;
use crate::dead_letters::{Edit, Letter, letter};

/// Values shorter than this are in everything: they are not looked for as texts.
const SHORTEST: usize = 4;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Whom {
    seal: Seal,
    until: Millis,
    values: Vec<String>,
}

/// A line of an object: a letter, an edit, or an event that a lane holds apart.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    partition_key: Option<String>,
    #[serde(default)]
    origin: Option<Arrival>,
    #[serde(default)]
    at: Option<Millis>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    payload_base64: Option<String>,
}

#[derive(Deserialize)]
struct Arrival {
    arrived_at: Millis,
}

impl Whom {
    pub(super) fn new(erasure: &Erasure, wanted: &[Wanted]) -> Self {
        let values = wanted.iter().map(|wanted| wanted.value.clone()).collect();
        Whom { seal: erasure.seal.clone(), until: erasure.at, values }
    }

    /// Whether an event is one of theirs. Of a payload that cannot be read every value must be in its text: the command knows what
    /// to look for, a door later does not.
    pub(super) fn is_event(&self, data: &[u8], key: &str, arrived_at: Millis) -> bool {
        let in_text = || Object::parse(data).is_err() && self.values.iter().all(|value| has(data, value));
        arrived_at < self.until && (self.seal.is_about(data, key) || in_text())
    }

    pub(super) fn is_letter(&self, letter: &Letter) -> bool {
        self.is_event(&letter.data().unwrap_or_default(), &letter.key, letter.origin.arrived_at)
    }

    pub(super) fn is_edit(&self, edit: &Edit) -> bool {
        let data = letter::unpack(edit.payload.as_deref(), edit.payload_base64.as_deref());
        self.is_event(&data.unwrap_or_default(), "", edit.at)
    }

    /// Whether a line of an object is about one of their events.
    pub(super) fn is_line(&self, line: &[u8]) -> bool {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { return false };
        let Line { key, partition_key, origin, at, payload, payload_base64 } = line;
        let Some(arrived_at) = origin.map(|origin| origin.arrived_at).or(at) else { return false };
        let data = letter::unpack(payload.as_deref(), payload_base64.as_deref()).unwrap_or_default();
        let key = partition_key.or(key).unwrap_or_default();
        self.is_event(&data, &key, arrived_at)
    }

    /// Whether a text holds a value, in whatever place.
    pub(super) fn is_mentioned(&self, text: &[u8]) -> bool {
        self.values.iter().any(|value| value.len() >= SHORTEST && has(text, value))
    }
}

fn has(text: &[u8], value: &str) -> bool {
    !value.is_empty() && text.windows(value.len()).any(|window| window == value.as_bytes())
}
