//! An event as two lines of a bulk request: what to do with a document, and the document.

use serde_json::{Map, Value, json};

use super::settings::Elasticsearch;
use crate::destinations::Event;
use crate::destinations::event::{Item, Shape, Tracked};
use crate::failure::Failure;

/// Bytes of a document's id.
const ID: usize = 512;

/// Names and ids of the usual document, with where they stand in an event. The fields have the names of the lake's columns.
const TEXTS: [(&str, &str); 7] = [
    ("type", "/type"),
    ("event", "/event"),
    ("name", "/name"),
    ("user_id", "/userId"),
    ("anonymous_id", "/anonymousId"),
    ("group_id", "/groupId"),
    ("previous_id", "/previousId"),
];

/// The same of what it says of them. Without `traits` there would be nothing in what an identify or group call tells.
const OBJECTS: [(&str, &str); 2] = [("properties", "/properties"), ("traits", "/traits")];

/// The lines for an event.
pub(super) fn item(settings: &Elasticsearch, tracked: &Tracked, event: &Event) -> Item {
    if event.id.len() > ID {
        let length = event.id.len();
        return Err(Failure::rejected(format!("the id has {length} bytes; Elasticsearch takes {ID}")));
    }
    let mut place = json!({ "_id": event.id });
    if let Some(routing) = settings.routing.as_deref().and_then(|pointer| tracked.id(pointer)) {
        place["routing"] = routing.into();
    }
    let mut document = if settings.whole { whole(tracked) } else { usual(tracked) };
    document.insert("@timestamp".to_owned(), tracked.time().to_string().into());
    let lines = format!("{}\n{}\n", json!({ (settings.op()): place }), Value::Object(document));
    Ok(Some(Shape::bytes(lines.into_bytes())))
}

fn whole(tracked: &Tracked) -> Map<String, Value> {
    tracked.whole().as_object().cloned().unwrap_or_default()
}

fn usual(tracked: &Tracked) -> Map<String, Value> {
    let texts = TEXTS.iter().filter_map(|(field, pointer)| Some((*field, tracked.id(pointer)?.into())));
    let objects = OBJECTS.iter().filter_map(|(field, pointer)| {
        let object = tracked.value(pointer).filter(|value| value.is_object())?;
        Some((*field, object.clone()))
    });
    texts.chain(objects).map(|(field, value)| (field.to_owned(), value)).collect()
}
