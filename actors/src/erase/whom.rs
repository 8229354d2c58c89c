//! Who is erased, asked of letters and of lines, while the command that erases knows the values in clear.

use serde::Deserialize;
use serde_json::value::RawValue;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::erasure::{Seal, Wanted, exact};
use shardmill_connectors::json::Object;
use shardmill_connectors::uuids;

use super::Erasure;
use crate::dead_letters::{Edit, Letter, letter};

/// Values shorter than this are in everything: they are not looked for in texts.
const SHORTEST: usize = 4;
/// What stands in ids beside letters and digits: a value between such is a part of another one.
const OF_IDS: &[u8] = b"_.@-";

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Whom {
    seal: Seal,
    until: Millis,
    /// In their exact spellings.
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
        let values = wanted.iter().map(|wanted| exact(&wanted.value).into_owned()).collect();
        Whom { seal: erasure.seal.clone(), until: erasure.at, values }
    }

    /// Whether an event is one of theirs. A payload that cannot be read is told by its key, or by its text: the command knows what to
    /// look for, a door later does not.
    pub(super) fn is_event(&self, data: &[u8], key: &str, arrived_at: Millis) -> bool {
        let in_text = || Object::parse(data).is_err() && !self.is_anothers(key) && self.is_in(data);
        arrived_at < self.until && (self.seal.is_about(data, key) || in_text())
    }

    /// Whether a key names somebody, and not them.
    fn is_anothers(&self, key: &str) -> bool {
        !key.is_empty() && !self.values.iter().any(|value| *value == exact(key))
    }

    /// Whether a text holds every value, each by itself: 4711 is not in 14711, and not in x-4711.
    fn is_in(&self, text: &[u8]) -> bool {
        let alone = |value: &String| {
            value.len() >= SHORTEST && places(text, value).any(|at| is_alone(text, at, value))
        };
        !self.values.is_empty() && self.values.iter().all(alone)
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
        self.values.iter().any(|value| value.len() >= SHORTEST && places(text, value).next().is_some())
    }

    /// The same of a line of an object, whose payload may not be there as text.
    pub(super) fn is_mentioned_in_line(&self, line: &[u8]) -> bool {
        let payload = || {
            let encoded = serde_json::from_slice::<Line>(line).ok()?.payload_base64?;
            letter::unpack(None, Some(encoded.as_str())).ok()
        };
        self.is_mentioned(line) || payload().is_some_and(|data| self.is_mentioned(&data))
    }
}

/// Where a value begins in a text, however a UUID is spelled there.
fn places<'t>(text: &'t [u8], value: &'t str) -> impl Iterator<Item = usize> + 't {
    let (wanted, is_uuid) = (value.as_bytes(), uuids::parse(value).is_some());
    let is = move |window: &[u8]| window == wanted || (is_uuid && window.eq_ignore_ascii_case(wanted));
    text.windows(wanted.len().max(1)).enumerate().filter(move |(_, window)| is(window)).map(|(at, _)| at)
}

/// Whether the value that begins there is no part of a longer one. Letters beyond ASCII are letters.
fn is_alone(text: &[u8], at: usize, value: &str) -> bool {
    let is_of_id = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || OF_IDS.contains(byte);
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    !before.is_some_and(is_of_id) && !text.get(at + value.len()).is_some_and(is_of_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom(conditions: &[&str]) -> Whom {
        let wanted: Vec<Wanted> = conditions.iter().map(|text| Wanted::parse(text).unwrap()).collect();
        Whom::new(&Erasure::new(Seal::of("5a17", &wanted)), &wanted)
    }

    #[test]
    fn of_payloads_that_cannot_be_read_only_those_that_hold_the_value_by_itself_are_theirs() {
        let (large, small) = ("2EB8AA08-AA98-11EA-B4AA-73B441D16380", "2eb8aa08-aa98-11ea-b4aa-73b441d16380");
        for (value, key, data, is) in [
            ("ann-4711", "", r#"{"userId":"ann-4711","a"#.to_owned(), true),
            ("ann-4711", "ann-4711", "ann-4711".to_owned(), true),
            ("ann-4711", "bob-1", r#"{"userId":"ann-4711","a"#.to_owned(), false),
            ("ann-4711", "", r#"{"userId":"joann-4711","a"#.to_owned(), false),
            ("ann-4711", "", r#"{"userId":"ann-47110","a"#.to_owned(), false),
            ("ann-4711", "", r#"{"userId":"ann-4711é","a"#.to_owned(), false),
            ("ann-4711", "", r#"{"userId":"x","to":"x.ann-4711","b":"ann-4711"#.to_owned(), true),
            ("17", "", r#"{"userId":17,"a"#.to_owned(), false),
            ("4711", "", r#"{"n":14711,"userId":4711,"#.to_owned(), true),
            (small, "", format!("{{\"userId\":\"{large}\","), true),
            (large, small, format!("{{\"userId\":\"{small}\","), true),
        ] {
            let whom = whom(&[&format!("/userId=\"{value}\"")]);
            assert_eq!(whom.is_event(data.as_bytes(), key, Millis(1)), is, "{value} {key} {data}");
            assert_eq!(whom.is_mentioned(data.as_bytes()), value.len() >= SHORTEST, "{value} {data}");
        }
        let both = whom(&["/userId=ann-4711", "/plan=free"]);
        assert!(both.is_event(br#"{"userId":"ann-4711","plan":"free","#, "", Millis(1)));
        assert!(!both.is_event(br#"{"userId":"ann-4711","plan":"freedom","#, "", Millis(1)));
        assert!(
            !both.is_event(br#"{"userId":"bob","plan":"free","to":"ann-4711"}"#, "", Millis(1)),
            "it is read"
        );
    }

    #[test]
    fn a_payload_that_is_no_text_is_looked_into_for_mentions() {
        let whom = whom(&["/userId=ann-4711"]);
        // base64 of `xann-4711` and a byte that is no UTF-8.
        assert!(whom.is_mentioned_in_line(br#"{"payload_base64":"eGFubi00NzEx/w=="}"#));
        assert!(!whom.is_mentioned_in_line(br#"{"payload_base64":"eA=="}"#));
    }
}
