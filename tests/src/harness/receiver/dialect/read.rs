//! Where events stand in the requests of third parties.

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::Dialect;
use crate::harness::receiver::record::Payload;

/// A third party's form of requests, by JSON pointers.
#[derive(Debug)]
pub(super) struct Form {
    /// How the path ends, its query aside.
    pub(super) path: &'static str,
    /// Whether two lines of the body, what to do and a document, make an item.
    pub(super) lines: bool,
    /// The list of items, in the body.
    pub(super) list: &'static str,
    /// The event's id, in an item: what the third party knows a repetition by, where it takes any text for that.
    pub(super) id: &'static str,
    /// Whose it is. Of an address the part before the `@`.
    pub(super) key: &'static str,
    /// Its number among the events of its key.
    pub(super) number: &'static str,
    /// When it was sent to the collector.
    pub(super) sent: &'static str,
}

/// The form of a dialect; none of the plain one.
pub(super) fn form(dialect: Dialect) -> Option<Form> {
    Some(match dialect {
        Dialect::Plain => return None,
        Dialect::Amplitude => Form {
            path: "/2/httpapi",
            lines: false,
            list: "/events",
            id: "/insert_id",
            key: "/user_id",
            number: "/event_properties/number",
            sent: "/event_properties/sentMs",
        },
        // Its own id is a hash, which does not say whose.
        Dialect::Customerio => Form {
            path: "/api/v2/batch",
            lines: false,
            list: "/batch",
            id: "/attributes/messageId",
            key: "/identifiers/id",
            number: "/attributes/number",
            sent: "/attributes/sentMs",
        },
        Dialect::Elasticsearch => Form {
            path: "/_bulk",
            lines: true,
            list: "",
            id: "/action/create/_id",
            key: "/document/user_id",
            number: "/document/properties/number",
            sent: "/document/properties/sentMs",
        },
        Dialect::Hubspot => Form {
            path: "/events/v3/send/batch",
            lines: false,
            list: "/inputs",
            id: "/uuid",
            key: "/email",
            number: "/properties/number",
            sent: "/properties/sent_ms",
        },
        Dialect::Mixpanel => Form {
            path: "/import",
            lines: false,
            list: "",
            id: "/properties/$insert_id",
            key: "/properties/distinct_id",
            number: "/properties/number",
            sent: "/properties/sentMs",
        },
        Dialect::Segment => Form {
            path: "/v1/batch",
            lines: false,
            list: "/batch",
            id: "/messageId",
            key: "/userId",
            number: "/properties/number",
            sent: "/properties/sentMs",
        },
    })
}

/// The events of a body, in order; `None` when it is not of this form, or an event lacks something.
pub(super) fn events(form: &Form, body: &[u8]) -> Option<Vec<Payload>> {
    let body = if form.lines { paired(body)? } else { serde_json::from_slice(body).ok()? };
    body.pointer(form.list)?.as_array()?.iter().map(|item| form.event(item)).collect()
}

/// Lines as a list of pairs; `None` when one is alone or no JSON, or the last does not end.
fn paired(body: &[u8]) -> Option<Value> {
    let lines: Vec<&[u8]> = body.strip_suffix(b"\n")?.split(|byte| *byte == b'\n').collect();
    let read = |line: &[u8]| serde_json::from_slice::<Value>(line).ok();
    let pair = |pair: &[&[u8]]| match pair {
        [action, document] => Some(json!({"action": read(action)?, "document": read(document)?})),
        _ => None,
    };
    lines.chunks(2).map(pair).collect()
}

impl Form {
    fn event(&self, item: &Value) -> Option<Payload> {
        let text = |pointer| item.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        // Where properties are texts, numbers are.
        let number = |pointer| match item.pointer(pointer)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        Some(Payload {
            id: text(self.id)?.to_owned(),
            key: text(self.key)?.split('@').next()?.to_owned(),
            number: number(self.number)?,
            sent: Millis(i64::try_from(number(self.sent)?).ok()?),
            refuse: false,
        })
    }
}
