//! An event as HubSpot's contact, or as an occurrence of a custom event.

use std::num::NonZeroUsize;

use serde_json::{Map, Value, json};

use super::settings::{Definition, Hubspot};
use crate::destinations::event::{Call, Item, Shape, Tracked, as_text};
use crate::destinations::{Batch, Event};
use crate::failure::Failure;

/// The part of contacts.
const CONTACTS: &str = "contacts";
/// Contacts in a request.
const FEW: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);
/// What the parts of occurrences begin with: one for each custom event, so that one that the account does not have stops no other.
const OCCURRENCES: &str = "occurrences/";

/// The custom event that a batch holds occurrences of; `None`: it holds contacts.
pub(super) fn occurred(batch: Batch<'_>) -> Option<&str> {
    batch.events.first()?.part.name.strip_prefix(OCCURRENCES)
}

/// An address's fields in events, and the properties they become.
const ADDRESS: [(&str, &str); 6] = [
    ("street", "address"),
    ("city", "city"),
    ("state", "state"),
    ("postalcode", "zip"),
    ("postalCode", "zip"),
    ("country", "country"),
];

/// The contact or the occurrence of an event.
pub(super) fn item(settings: &Hubspot, tracked: &Tracked, event: &Event) -> Item {
    let name = match tracked.call() {
        Call::Identify => {
            let contact = contact(settings, tracked, event)?;
            return Ok(Some(Shape::of(CONTACTS, &contact).at_most(FEW)));
        }
        Call::Track => tracked.text("/event"),
        Call::Page | Call::Screen => tracked.text("/name"),
        Call::Group | Call::Alias | Call::Other => None,
    };
    match name.and_then(|name| settings.events.get(name)) {
        Some(definition) => {
            let occurrence = occurrence(settings, tracked, (event, definition))?;
            Ok(Some(Shape::of(format!("{OCCURRENCES}{}", definition.name), &occurrence)))
        }
        None => Ok(None),
    }
}

/// Which item is refused, an answer says by `objectWriteTraceId` only.
fn contact(settings: &Hubspot, tracked: &Tracked, event: &Event) -> Result<Value, Failure> {
    let Some(id) = id(settings, tracked) else {
        let from = &settings.id_trait;
        return Err(Failure::rejected(format!(
            "no identifier: a contact is recognised by `{from}`, which the event does not have"
        )));
    };
    Ok(json!({
        "id": id, "idProperty": settings.id_property, "objectWriteTraceId": event.id,
        "properties": properties(settings, tracked),
    }))
}

fn id(settings: &Hubspot, tracked: &Tracked) -> Option<String> {
    match settings.id_trait.as_str() {
        "email" => tracked.email(),
        "userId" => tracked.user_id(),
        other => {
            let value = tracked.personal(&[other]).filter(|value| value.is_string() || value.is_number())?;
            Some(as_text(value).trim().to_owned()).filter(|id| !id.is_empty())
        }
    }
}

/// The traits that are properties of the account, as texts. Others would have the whole batch refused.
fn properties(settings: &Hubspot, tracked: &Tracked) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut put = |name: &str, value: &Value| {
        if !value.is_null() && settings.properties.contains(name) {
            properties.insert(name.to_owned(), as_text(value).into());
        }
    };
    for (name, value) in &tracked.traits() {
        match (name.as_str(), value) {
            ("company", Value::Object(company)) => {
                put("company", company.get("name").unwrap_or(&Value::Null))
            }
            ("address", Value::Object(address)) => {
                for (field, property) in ADDRESS {
                    put(property, address.get(field).unwrap_or(&Value::Null));
                }
            }
            (name, value) => put(&name.to_lowercase().replace([' ', '.'], "_"), value),
        }
    }
    for (name, value) in [
        ("email", tracked.email()),
        ("firstname", tracked.first_name().map(str::to_owned)),
        ("lastname", tracked.last_name().map(str::to_owned)),
        ("phone", tracked.phone().map(str::to_owned)),
    ] {
        put(name, &value.into());
    }
    properties
}

fn occurrence(
    settings: &Hubspot,
    tracked: &Tracked,
    (event, definition): (&Event, &Definition),
) -> Result<Value, Failure> {
    let (field, who) = who(tracked).ok_or_else(|| {
        Failure::rejected("no identifier: neither an e-mail address nor HubSpot's `objectId` or `utk`")
    })?;
    let mut properties = Map::new();
    let given = tracked.value("/properties");
    for (from, to) in &definition.properties {
        let value = given.and_then(|given| given.get(from)).filter(|value| !value.is_null());
        if let Some(value) = value {
            let long = to.ends_with("url") || to.ends_with("referrer");
            let most = if long { settings.url_chars } else { settings.value_chars };
            properties.insert(to.clone(), as_text(value).chars().take(most).collect::<String>().into());
        }
    }
    Ok(json!({
        "eventName": definition.name, field: who, "occurredAt": tracked.time().to_string(), "uuid": event.id,
        "properties": properties,
    }))
}

/// The record that something happened to: as the event says it for HubSpot, else by address, else by the browser's cookie.
fn who(tracked: &Tracked) -> Option<(&'static str, String)> {
    let object = || tracked.id("/integrations/HubSpot/objectId").map(|id| ("objectId", id));
    let cookie = || tracked.id("/integrations/HubSpot/utk").map(|utk| ("utk", utk));
    object().or_else(|| tracked.email().map(|email| ("email", email))).or_else(cookie)
}
