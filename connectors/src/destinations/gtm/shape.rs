//! An event as the Data Client's object: GA4's names and parameters, flat, with what is known of the visitor.

use serde_json::{Map, Value, json};

use crate::destinations::Event;
use crate::destinations::event::{Call, Item, Shape, Tracked};
use crate::destinations::ga4;
use crate::failure::Failure;

/// Bytes of an object, and of the objects in a request, soft by one: together they stay below the megabyte that any host takes.
pub(super) const BYTES: usize = 480_000;

/// The object for an event.
pub(super) fn item(screen: &str, tracked: &Tracked, event: &Event) -> Item {
    let Some(happened) = ga4::happened(tracked, screen)? else { return Ok(None) };
    let mut item = happened.params;
    let text = |pointer| tracked.text(pointer).map(str::to_owned);
    let language = text("/context/locale").map(|locale| {
        locale.split(['-', '_']).next().unwrap_or_default().to_owned() // as browsers are asked for it
    });
    let path = tracked.first(&["/properties/path", "/context/page/path"]).map(str::to_owned);
    for (name, value) in [
        ("event_name", Some(happened.name)),
        ("client_id", ga4::client_id(tracked)),
        ("user_id", tracked.user_id()),
        ("unique_event_id", Some(event.id.to_string())),
        ("ip_override", text("/context/ip")),
        ("user_agent", text("/context/userAgent")),
        ("language", language),
        ("page_path", path.filter(|_| tracked.call() == Call::Page)),
    ] {
        item.extend(value.map(|value| (name.to_owned(), Value::String(value))));
    }
    item.insert("timestamp".to_owned(), json!(tracked.time().0.div_euclid(1_000)));
    let user = user(tracked);
    if !user.is_empty() {
        item.insert("user_data".to_owned(), user.into());
    }
    let shape = Shape::json(&Value::Object(item));
    match shape.data.len() {
        size if size > BYTES => {
            Err(Failure::rejected(format!("the event has {size} bytes; at most {BYTES} are sent")))
        }
        _ => Ok(Some(shape)),
    }
}

/// Who somebody is, for the tags that may know it.
fn user(tracked: &Tracked) -> Map<String, Value> {
    let named = |name: &str, text: Option<&str>| {
        let text = text.map(str::trim).filter(|text| !text.is_empty())?;
        Some((name.to_owned(), Value::from(text)))
    };
    let mut user = Map::new();
    user.extend(named("email_address", tracked.email().as_deref()));
    user.extend(named("phone_number", tracked.phone()));
    let mut address = Map::new();
    address.extend(named("first_name", tracked.first_name()));
    address.extend(named("last_name", tracked.last_name()));
    if !address.is_empty() {
        user.insert("address".to_owned(), address.into());
    }
    user
}
