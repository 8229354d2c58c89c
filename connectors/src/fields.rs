//! How an event's name, time, id and key are found in it.

use serde::Deserialize;

use crate::clock::Millis;
use crate::json::Object;
use crate::schema::text::{decode, number};
use crate::schema::types::Kind;
use crate::standardise::{Rejection, time};

/// JSON pointers into an event, per thing looked for; the first that leads to a value counts.
#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The event's name.
    pub name: Vec<String>,
    /// When it happened.
    pub time: Vec<TimePointer>,
    /// Its producer's id.
    pub id: Vec<String>,
    /// What it belongs to: events of one key stay in order.
    pub key: Vec<String>,
}

/// Where a time is, and how it is written.
#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub enum TimePointer {
    /// RFC 3339 with `T` or a space, or whole seconds or milliseconds since the epoch.
    Pointer(String),
    /// A form of its own.
    Format {
        /// The JSON pointer.
        pointer: String,
        /// The form, in strftime's letters, e.g. `%d/%b/%Y:%H:%M:%S %z`.
        format: String,
    },
}

impl TimePointer {
    /// Where the time is.
    pub fn pointer(&self) -> &str {
        match self {
            TimePointer::Pointer(pointer) | TimePointer::Format { pointer, .. } => pointer,
        }
    }

    /// What is wrong with its form, if it has one that cannot be used.
    pub fn problem(&self) -> Option<String> {
        match self {
            TimePointer::Pointer(_) => None,
            TimePointer::Format { format, .. } => time::format_problem(format)
                .map(|problem| format!("the time format `{format}` cannot be used: {problem}")),
        }
    }

    fn read(&self, text: &str) -> Option<i64> {
        match self {
            TimePointer::Pointer(_) => time::rfc3339(text).or_else(|| time::epoch(&number(text)?)),
            TimePointer::Format { format, .. } => time::strftime(format, text),
        }
    }

    fn rule(&self) -> String {
        match self {
            TimePointer::Pointer(_) => "format date-time".to_owned(),
            TimePointer::Format { format, .. } => format!("format {format}"),
        }
    }
}

impl Default for Fields {
    fn default() -> Self {
        let owned = |pointers: &[&str]| pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        Fields {
            name: owned(&["/event", "/name", "/eventType", "/type"]),
            time: vec![TimePointer::Pointer("/timestamp".to_owned())],
            id: owned(&["/messageId"]),
            key: owned(&["/userId", "/anonymousId"]),
        }
    }
}

impl Fields {
    /// The event's name.
    pub fn name(&self, event: &Object<'_>) -> Option<String> {
        first(&self.name, event)
    }

    /// Its producer's id.
    pub fn id(&self, event: &Object<'_>) -> Option<String> {
        first(&self.id, event)
    }

    /// Its key.
    pub fn key(&self, event: &Object<'_>) -> Option<String> {
        first(&self.key, event)
    }

    /// When it happened. The first pointer that leads to a value decides: one that cannot be read is a rejection.
    pub fn time(&self, event: &Object<'_>) -> Result<Option<Millis>, Rejection> {
        for pointer in &self.time {
            let Some(raw) = event.pointer(pointer.pointer()).map(|value| value.get()) else { continue };
            let text = match Kind::of(raw) {
                Kind::Null => continue,
                Kind::String if raw == "\"\"" => continue,
                Kind::String | Kind::Number => scalar(raw),
                _ => None,
            };
            let micros = text.and_then(|text| pointer.read(&text));
            let rejection =
                || Rejection { field: pointer.pointer().to_owned(), ..Rejection::of(pointer.rule(), raw) };
            return micros.map(|micros| Some(Millis(micros.div_euclid(1000)))).ok_or_else(rejection);
        }
        Ok(None)
    }

    /// What is wrong with the pointers and formats themselves.
    pub fn problems(&self) -> Vec<String> {
        let plain = self.name.iter().chain(&self.id).chain(&self.key).map(String::as_str);
        let pointers = plain.chain(self.time.iter().map(TimePointer::pointer));
        let mut problems: Vec<String> = pointers.filter_map(pointer_problem).collect();
        problems.extend(self.time.iter().filter_map(TimePointer::problem));
        problems
    }
}

fn first(pointers: &[String], event: &Object<'_>) -> Option<String> {
    pointers.iter().find_map(|pointer| scalar(event.pointer(pointer)?.get()))
}

/// Strings as they are, numbers and booleans as their text; nothing else, and nothing empty, names anything.
fn scalar(raw: &str) -> Option<String> {
    match Kind::of(raw) {
        Kind::String => decode(raw).filter(|text| !text.is_empty()).map(|text| text.into_owned()),
        Kind::Number | Kind::Boolean => Some(raw.to_owned()),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

fn pointer_problem(pointer: &str) -> Option<String> {
    if !pointer.starts_with('/') {
        return Some(format!(
            "`{pointer}` is not a JSON pointer: it must start with `/`, as in `/context/ip`"
        ));
    }
    let wrong = pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
    wrong.then(|| {
        format!("`{pointer}` is not a JSON pointer: write `~` as `~0` and `/` within a name as `~1`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_first_pointer_that_leads_to_a_value_counts() {
        let table = [
            (r#"{"event":"a","name":"b"}"#, Some("a")),
            (r#"{"event":null,"name":"b"}"#, Some("b")),
            (r#"{"event":"","name":"","eventType":7}"#, Some("7")),
            (r#"{"event":{},"type":true}"#, Some("true")),
            (r#"{"event":"\ud800","type":"t"}"#, Some("t")),
            (r#"{"other":1}"#, None),
        ];
        for (event, wanted) in table {
            let object = Object::parse(event.as_bytes()).unwrap();
            assert_eq!(Fields::default().name(&object).as_deref(), wanted, "{event}");
        }
        let object = Object::parse(br#"{"userId":39.0,"anonymousId":"x","messageId":"m"}"#).unwrap();
        assert_eq!(Fields::default().key(&object).as_deref(), Some("39.0"));
        assert_eq!(Fields::default().id(&object).as_deref(), Some("m"));
    }

    #[test]
    fn times_in_every_form() {
        let apache = r#"{"time":["/at",{"pointer":"/ts","format":"%d/%b/%Y:%H:%M:%S %z"}]}"#;
        let table = [
            ("{}", r#"{"timestamp":"2014-08-19T00:23:57.1239Z"}"#, Some(1_408_407_837_123)),
            ("{}", r#"{"timestamp":1408039037}"#, Some(1_408_039_037_000)),
            ("{}", r#"{"timestamp":"1408039037"}"#, Some(1_408_039_037_000)),
            ("{}", r#"{"timestamp":1540919166796.0}"#, Some(1_540_919_166_796)),
            ("{}", r#"{"timestamp":""}"#, None),
            ("{}", r#"{"ts":1}"#, None),
            (apache, r#"{"ts":"17/May/2015:10:05:03 +0000"}"#, Some(1_431_857_103_000)),
            (apache, r#"{"at":"2015-05-17 10:05:03z","ts":"x"}"#, Some(1_431_857_103_000)),
        ];
        for (config, event, wanted) in table {
            let object = Object::parse(event.as_bytes()).unwrap();
            assert_eq!(fields(config).time(&object), Ok(wanted.map(Millis)), "{event}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_is_a_rejection() {
        for (event, found) in [
            (r#"{"timestamp":"soon"}"#, "string"),
            (r#"{"timestamp":[]}"#, "array"),
            (r#"{"timestamp":true}"#, "boolean"),
        ] {
            let rejection = Fields::default().time(&Object::parse(event.as_bytes()).unwrap()).unwrap_err();
            assert_eq!((rejection.field.as_str(), rejection.found.as_str()), ("/timestamp", found));
        }
    }

    #[test]
    fn configurations_are_checked() {
        assert_eq!(fields("{}"), Fields::default());
        assert!(serde_json::from_str::<Fields>(r#"{"nam":[]}"#).is_err());
        assert!(Fields::default().problems().is_empty());
        let wrong = fields(r#"{"name":["event","/a~2"],"time":[{"pointer":"x","format":"%H"}]}"#);
        assert_eq!(wrong.problems().len(), 4);
    }
}
