//! An event as a member of the audience, or as something that a member did.

use jiff::Timestamp;
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::settings::{Mailchimp, STATUSES};
use crate::destinations::event::{Call, Item, Shape, Tracked, as_text};
use crate::failure::Failure;

/// The part of members whose status is said: they go together. Others go alone, to an address of their own: their parts are one of the
/// following, a slash and the member's hash.
pub(super) const MEMBERS: &str = "members";
/// A member whose status stays what it is.
pub(super) const MEMBER: &str = "member";
/// Something that a member did.
pub(super) const HAPPENED: &str = "event";

/// Characters of an event's name.
const NAME: std::ops::RangeInclusive<usize> = 2..=30;

/// An address's fields as Mailchimp wants them, and as events have them; without the first four none is taken.
const ADDRESS: [(&str, &[&str]); 6] = [
    ("addr1", &["addr1", "street"]),
    ("city", &["city"]),
    ("state", &["state"]),
    ("zip", &["zip", "postalCode", "postalcode"]),
    ("addr2", &["addr2"]),
    ("country", &["country"]),
];

/// The member or the event of a member.
pub(super) fn item(settings: &Mailchimp, tracked: &Tracked) -> Item {
    let shape = match tracked.call() {
        Call::Identify => member(settings, tracked)?,
        Call::Track => happened(settings, tracked, tracked.text("/event"))?,
        Call::Page | Call::Screen if settings.pages => happened(settings, tracked, tracked.text("/name"))?,
        _ => return Ok(None),
    };
    Ok(Some(shape))
}

fn member(settings: &Mailchimp, tracked: &Tracked) -> Result<Shape, Failure> {
    let email = tracked.email().ok_or_else(|| Failure::rejected("a member needs an e-mail address"))?;
    let mut member = json!({ "email_address": email });
    let fields = merge_fields(settings, tracked);
    if !fields.is_empty() {
        member["merge_fields"] = fields.into();
    }
    let of_event = tracked.value("/integrations/Mailchimp/subscriptionStatus");
    let Some(status) = of_event.map(as_text).or_else(|| explicit(settings)) else {
        member["status_if_new"] = settings.status.into();
        return Ok(Shape::alone(of(MEMBER, &email), &member));
    };
    if !STATUSES.contains(&status.as_str()) {
        let known = STATUSES.join(", ");
        return Err(Failure::rejected(format!("`subscriptionStatus` is none of {known}")));
    }
    member["status"] = status.into();
    Ok(Shape::of(MEMBERS, &member))
}

fn explicit(settings: &Mailchimp) -> Option<String> {
    settings.explicit.then(|| settings.status.to_owned())
}

/// The part of a member.
fn of(what: &str, email: &str) -> String {
    let hash: String = Md5::digest(email).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{what}/{hash}")
}

fn merge_fields(settings: &Mailchimp, tracked: &Tracked) -> Map<String, Value> {
    let text = |text: Option<&str>| text.map(Value::from);
    let common = [
        ("FNAME", text(tracked.first_name())),
        ("LNAME", text(tracked.last_name())),
        ("PHONE", text(tracked.phone())),
        ("BIRTHDAY", tracked.personal(&["birthday"]).and_then(birthday)),
    ];
    let mut fields: Map<String, Value> =
        common.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?))).collect();
    for (name, tag) in &settings.merge_fields {
        let value = tracked.personal(&[name]).and_then(|value| match tag.as_str() {
            "ADDRESS" => address(value),
            "BIRTHDAY" => birthday(value),
            _ if value.is_number() => Some(value.clone()),
            _ => Some(as_text(value).into()),
        });
        fields.extend(value.map(|value| (tag.clone(), value)));
    }
    fields
}

/// A day without its year, `MM/DD`. What is none is left out: the member is worth more than the birthday.
fn birthday(value: &Value) -> Option<Value> {
    let text = value.as_str()?.trim();
    let (month, day) = match text.split_once('/') {
        Some(parts) => parts,
        None => (text.get(5..7)?, text.get(8..10)?),
    };
    let (month, day): (u8, u8) = (month.parse().ok()?, day.parse().ok()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| format!("{month:02}/{day:02}").into())
}

/// An address; one that lacks what Mailchimp needs is left out, as a birthday is.
fn address(value: &Value) -> Option<Value> {
    let given = |names: &[&str]| {
        let value = names.iter().find_map(|name| value.get(name).filter(|value| !value.is_null()))?;
        Some(as_text(value)).filter(|text| !text.is_empty())
    };
    let mut address = Map::new();
    for (index, (field, names)) in ADDRESS.iter().enumerate() {
        match given(names) {
            Some(text) => _ = address.insert((*field).to_owned(), text.into()),
            None if index < 4 => return None,
            None => {}
        }
    }
    Some(address.into())
}

/// Something that a member did; `name` is what the event is called.
fn happened(settings: &Mailchimp, tracked: &Tracked, name: Option<&str>) -> Result<Shape, Failure> {
    let email = tracked
        .email()
        .ok_or_else(|| Failure::rejected("no e-mail address, which says whose event it is"))?;
    let name = name.unwrap_or_default().trim().chars().take(*NAME.end());
    let name: String = name.map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    if !NAME.contains(&name.chars().count()) {
        return Err(Failure::rejected("an event needs a name of at least 2 characters"));
    }
    let mut body = json!({ "name": name });
    if let Ok(at) = Timestamp::from_millisecond(tracked.time().0) {
        body["occurred_at"] = at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string().into();
    }
    let given = tracked.properties().into_iter().filter(|(_, value)| !value.is_null());
    let properties: Map<String, Value> = given.map(|(name, value)| (name, as_text(&value).into())).collect();
    let length = |(name, value): (&String, &Value)| {
        name.chars().count() + value.as_str().map_or(0, |value| value.chars().count())
    };
    let (chars, most) = (properties.iter().map(length).sum::<usize>(), settings.property_chars);
    if chars > most {
        return Err(Failure::rejected(format!(
            "the properties have {chars} characters; Mailchimp takes about {most}: leave some out by the destination's mapping"
        )));
    }
    if !properties.is_empty() {
        body["properties"] = properties.into();
    }
    if settings.syncing {
        body["is_syncing"] = true.into();
    }
    Ok(Shape::alone(of(HAPPENED, &email), &body))
}
