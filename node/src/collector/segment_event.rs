//! One Segment event completed: ids and times it lacks are added, batch-level members merged under its own, nothing lost.

use std::fmt::Write;

use serde_json::value::RawValue;
use shardmill_connectors::Millis;
use shardmill_connectors::json::Object;

/// What a request says about each of its events.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    /// The type that the path names; `None` in a batch, whose items name it themselves.
    pub(super) kind: Option<&'static str>,
    pub(super) context: Option<&'a RawValue>,
    pub(super) integrations: Option<&'a RawValue>,
    pub(super) sent_at: Option<&'a RawValue>,
    pub(super) received_at: Millis,
}

/// How far after its arrival an event may claim to have happened.
const FUTURE_MS: i64 = 5 * 60_000;

/// The event as it is stored. Members keep their text and order; the write key is left out.
pub(super) fn canonical(event: &Object<'_>, envelope: &Envelope<'_>) -> String {
    let sent_at = event.get("sentAt").filter(|raw| raw.get() != "null").or(envelope.sent_at);
    let times = times(event, sent_at, envelope.received_at);
    let mut out = Writer::new();
    for (key, value) in event.members() {
        match key {
            "writeKey" | "receivedAt" | "timestamp" | "originalTimestamp" | "sentAt" => {}
            "type" if envelope.kind.is_some() => {}
            "messageId" if is_blank(value) => {}
            "context" => out.member(key, &merged(envelope.context, Some(value))),
            "integrations" => out.member(key, &merged(envelope.integrations, Some(value))),
            _ => out.member(key, value.get()),
        }
    }
    if let Some(kind) = envelope.kind {
        out.text("type", kind);
    }
    if event.get("messageId").is_none_or(is_blank) {
        out.text("messageId", &uuid::Uuid::new_v4().to_string());
    }
    for (key, under) in [("context", envelope.context), ("integrations", envelope.integrations)] {
        if let (None, Some(under)) = (event.get(key), under) {
            out.member(key, under.get());
        }
    }
    if let Some(sent_at) = sent_at {
        out.member("sentAt", sent_at.get());
    }
    if let Some(original) = times.original {
        out.member("originalTimestamp", original.get());
    }
    out.member("timestamp", &times.timestamp);
    out.text("receivedAt", &envelope.received_at.to_string());
    out.finish()
}

fn is_blank(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "\"\"")
}

/// The members of two objects, those of `over` winning; whatever is no object is left as it is.
fn merged(under: Option<&RawValue>, over: Option<&RawValue>) -> String {
    let object = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get().starts_with('{'));
    let parse = |raw: &'_ RawValue| -> Option<String> { Some(raw.get().to_owned()) };
    match (under, over) {
        (Some(low), Some(high)) if object(under) && object(over) => {
            join(low.get(), high.get()).or_else(|| parse(high)).unwrap_or_default()
        }
        (Some(low), None) => low.get().to_owned(),
        (Some(low), Some(high)) if high.get() == "null" => low.get().to_owned(),
        (_, Some(high)) => high.get().to_owned(),
        (None, None) => "null".to_owned(),
    }
}

fn join(under: &str, over: &str) -> Option<String> {
    let (under, over) = (Object::parse(under.as_bytes()).ok()?, Object::parse(over.as_bytes()).ok()?);
    let mut out = Writer::new();
    for (key, value) in under.members().filter(|(key, _)| over.get(key).is_none()) {
        out.member(key, value.get());
    }
    for (key, value) in over.members() {
        out.member(key, value.get());
    }
    Some(out.finish())
}

struct Times<'a> {
    original: Option<&'a RawValue>,
    timestamp: String,
}

/// `timestamp = receivedAt − (sentAt − originalTimestamp)`: what the client's clock is wrong by cancels out.
fn times<'a>(event: &Object<'a>, sent_at: Option<&RawValue>, received_at: Millis) -> Times<'a> {
    let written = |key: &str| event.get(key).filter(|raw| !is_blank(raw));
    let (own, kept) = (written("timestamp"), written("originalTimestamp"));
    let Some(original) = kept.or(own) else {
        return Times { original: None, timestamp: quoted(received_at) };
    };
    let Some(happened) = moment(original) else {
        // What is no time stays as it is: whether it may is the table's business.
        return Times { original: kept, timestamp: own.unwrap_or(original).get().to_owned() };
    };
    let timestamp = match sent_at.and_then(moment) {
        None if happened.since(received_at) > FUTURE_MS => quoted(received_at),
        None => original.get().to_owned(),
        Some(sent) if sent < happened => quoted(received_at),
        Some(sent) => quoted(received_at.plus(-sent.since(happened))),
    };
    Times { original: Some(original), timestamp }
}

fn quoted(moment: Millis) -> String {
    format!("\"{moment}\"")
}

/// A moment as clients write it: RFC 3339, or epoch seconds or milliseconds.
fn moment(raw: &RawValue) -> Option<Millis> {
    const SECONDS_END: f64 = 1e11; // the year 5138 in seconds, 1973 in milliseconds
    let text = raw.get();
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).ok()?;
        return text.trim().parse::<jiff::Timestamp>().ok().map(|moment| Millis(moment.as_millisecond()));
    }
    let number: f64 = text.parse().ok()?;
    let ms = if number.abs() < SECONDS_END { number * 1_000.0 } else { number };
    #[allow(clippy::cast_possible_truncation)] // saturates, and Timestamp knows its range
    let ms = ms as i64;
    jiff::Timestamp::from_millisecond(ms).ok().map(|moment| Millis(moment.as_millisecond()))
}

/// Writes a JSON object from raw members.
struct Writer(String);

impl Writer {
    fn new() -> Self {
        Writer(String::from("{"))
    }

    fn member(&mut self, key: &str, raw: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{}:{raw}", serde_json::Value::from(key));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.member(key, &serde_json::Value::from(text).to_string());
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const RECEIVED: &str = "2026-03-14T11:00:05.200Z";

    fn received() -> Millis {
        Millis(RECEIVED.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn complete(event: &str) -> Value {
        let envelope = Envelope { kind: Some("track"), received_at: received(), ..Envelope::default() };
        serde_json::from_str(&canonical(&Object::parse(event.as_bytes()).unwrap(), &envelope)).unwrap()
    }

    fn time(event: &str) -> Value {
        complete(event)["timestamp"].clone()
    }

    #[test]
    fn the_clock_skew_cancels_out() {
        let event = r#"{"timestamp":"2026-03-14T10:00:00.000Z","sentAt":"2026-03-14T10:00:05.000Z"}"#;
        assert_eq!(time(event), "2026-03-14T11:00:00.200Z");
        assert_eq!(complete(event)["originalTimestamp"], "2026-03-14T10:00:00.000Z");
        assert_eq!(time(r#"{"timestamp":1773482400000,"sentAt":1773482405}"#), "2026-03-14T11:00:00.200Z");
    }

    #[test]
    fn times_that_lack_or_lie() {
        assert_eq!(time("{}"), RECEIVED);
        assert_eq!(time(r#"{"timestamp":"2026-03-14 09:00:00.123456Z"}"#), "2026-03-14 09:00:00.123456Z");
        assert_eq!(time(r#"{"timestamp":"2026-03-14T10:00:05Z","sentAt":"2026-03-14T10:00:00Z"}"#), RECEIVED);
        assert_eq!(time(r#"{"timestamp":"2036-03-14T10:00:05Z"}"#), RECEIVED);
        assert_eq!(time(r#"{"timestamp":"yesterday"}"#), "yesterday");
        let original = r#"{"originalTimestamp":"2026-03-14T10:00:00Z","sentAt":"2026-03-14T10:00:05Z"}"#;
        assert_eq!(time(original), "2026-03-14T11:00:00.200Z");
    }

    #[test]
    fn ids_are_added_and_the_write_key_is_not_kept() {
        let whole =
            complete(r#"{"writeKey":"k","messageId":"","event":"Ping","n":1.10,"odd":{"b":1,"a":2}}"#);
        assert!(whole.get("writeKey").is_none());
        assert_eq!(whole["messageId"].as_str().unwrap().len(), 36);
        assert_eq!((&whole["type"], &whole["receivedAt"]), (&json!("track"), &json!(RECEIVED)));
        let event =
            Object::parse(br#"{"messageId":"m","n":1.10,"big":123456789012345678901234567890}"#).unwrap();
        let text = canonical(&event, &Envelope::default());
        assert!(
            text.starts_with(r#"{"messageId":"m","n":1.10,"big":123456789012345678901234567890,"#),
            "{text}"
        );
    }

    #[test]
    fn batch_members_lie_under_the_items_own() {
        let context: Box<RawValue> =
            RawValue::from_string(r#"{"library":{"name":"x"},"locale":"de"}"#.into()).unwrap();
        let envelope = Envelope { context: Some(&context), received_at: received(), ..Envelope::default() };
        let merged = |event: &str| -> Value {
            serde_json::from_str(&canonical(&Object::parse(event.as_bytes()).unwrap(), &envelope)).unwrap()
        };
        let both = merged(r#"{"type":"page","context":{"locale":"en"}}"#);
        assert_eq!(both["context"], json!({"library": {"name": "x"}, "locale": "en"}));
        assert_eq!(both["type"], "page");
        assert_eq!(merged("{}")["context"]["locale"], "de");
        assert_eq!(merged(r#"{"context":null}"#)["context"]["locale"], "de");
        assert_eq!(merged(r#"{"context":"odd"}"#)["context"], "odd");
    }
}
