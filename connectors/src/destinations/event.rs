//! An event as trackers send it, for the mappings of vendors: who, what, when, and the fields they all look up.
//!
//! The form is the one that Segment's libraries send and others have taken over: `type`, `userId`, `anonymousId`, `event`,
//! `properties`, `traits`, `context`, `timestamp`. What is missing or of another type is simply not there.

use std::num::NonZeroUsize;

use compact_str::CompactString;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Event, Part, Shaped};
use crate::clock::Millis;
use crate::failure::Failure;

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Somebody did something.
    Track,
    /// Who somebody is.
    Identify,
    /// A page was seen.
    Page,
    /// A screen of an app was seen.
    Screen,
    /// Somebody belongs to a group.
    Group,
    /// Two ids are one person.
    Alias,
    /// Something else, or nothing is said.
    Other,
}

/// An event's JSON with its common fields.
#[derive(Debug, Clone)]
pub struct Tracked {
    whole: Value,
    arrived_at: Millis,
}

/// What a vendor makes of an event: its own form with what sets it apart, or nothing.
pub type Item = Result<Option<Shape>, Failure>;

/// An event in a vendor's own form.
#[derive(Debug, Clone)]
pub struct Shape {
    /// See [`Event::part`].
    pub part: Part,
    /// The bytes that stand for it in a request.
    pub data: Vec<u8>,
}

impl Shape {
    /// These bytes, of the only part there is.
    pub fn bytes(data: Vec<u8>) -> Self {
        Shape { part: Part::default(), data }
    }

    /// A JSON value of the only part there is.
    pub fn json(value: &Value) -> Self {
        Shape::of("", value)
    }

    /// A JSON value that is sent alone.
    pub fn alone(part: impl Into<CompactString>, value: &Value) -> Self {
        Shape::of(part, value).at_most(NonZeroUsize::MIN)
    }

    /// A JSON value of a part.
    pub fn of(part: impl Into<CompactString>, value: &Value) -> Self {
        Shape { part: Part::named(part), data: value.to_string().into_bytes() }
    }

    /// The same in batches of so many events at most.
    #[must_use]
    pub fn at_most(mut self, events: NonZeroUsize) -> Self {
        self.part.most = Some(events);
        self
    }
}

/// Turns an event into a vendor's form by `item`: `Ok(None)` leaves it out, a failure refuses it for good.
pub fn shape(event: Event, item: impl FnOnce(&Tracked, &Event) -> Item) -> Shaped {
    let shaped = Tracked::read(&event).and_then(|tracked| item(&tracked, &event));
    shaped_as(event, shaped)
}

/// The same for what is handed on with its bytes, whatever numbers and texts it holds.
pub fn shape_unread(event: Event, item: impl FnOnce(&Event) -> Item) -> Shaped {
    let shaped = item(&event);
    shaped_as(event, shaped)
}

fn shaped_as(event: Event, shaped: Item) -> Shaped {
    match shaped {
        Ok(Some(Shape { part, data })) => Shaped::Send(Event { part, data: data.into(), ..event }),
        Ok(None) => Shaped::Skip,
        Err(failure) => Shaped::Refuse(event, failure),
    }
}

impl Tracked {
    /// Reads an event.
    ///
    /// # Errors
    /// `Rejected` when it is no JSON object.
    pub fn read(event: &Event) -> Result<Self, Failure> {
        let whole: Value = serde_json::from_slice(&event.data)
            .map_err(|error| Failure::rejected(format!("the event is not JSON: {error}")))?;
        if !whole.is_object() {
            return Err(Failure::rejected("the event is not a JSON object"));
        }
        Ok(Tracked { whole, arrived_at: event.origin.arrived_at })
    }

    /// What it says. An event with a name and no type is a track call.
    pub fn call(&self) -> Call {
        match self.text("/type") {
            Some("track") => Call::Track,
            Some("identify") => Call::Identify,
            Some("page") => Call::Page,
            Some("screen") => Call::Screen,
            Some("group") => Call::Group,
            Some("alias") => Call::Alias,
            None if self.text("/event").is_some() => Call::Track,
            _ => Call::Other,
        }
    }

    /// The whole event.
    pub fn whole(&self) -> &Value {
        &self.whole
    }

    /// What a JSON pointer leads to, unless it is null.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        self.whole.pointer(pointer).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    /// The first of several texts.
    pub fn first<'a>(&'a self, pointers: &[&str]) -> Option<&'a str> {
        pointers.iter().find_map(|pointer| self.text(pointer))
    }

    /// An id: a text that is not empty, or a whole number of at most 64 bits.
    pub fn id(&self, pointer: &str) -> Option<String> {
        match self.value(pointer)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            // One with more digits than it can be known by would be somebody else's, too.
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        }
    }

    /// Who did it, if known.
    pub fn user_id(&self) -> Option<String> {
        self.id("/userId")
    }

    /// The device's or browser's id.
    pub fn anonymous_id(&self) -> Option<String> {
        self.id("/anonymousId")
    }

    /// Who did it, or from where.
    pub fn anybody(&self) -> Option<String> {
        self.user_id().or_else(|| self.anonymous_id())
    }

    /// When it happened: `timestamp`, or `originalTimestamp`; else when it arrived.
    pub fn time(&self) -> Millis {
        let written = self.first(&["/timestamp", "/originalTimestamp"]);
        written.and_then(moment).unwrap_or(self.arrived_at)
    }

    /// `properties`; empty when there are none.
    pub fn properties(&self) -> Map<String, Value> {
        self.object("/properties")
    }

    /// `traits`, on calls without them `context.traits`.
    pub fn traits(&self) -> Map<String, Value> {
        let own = self.object("/traits");
        if own.is_empty() { self.object("/context/traits") } else { own }
    }

    fn object(&self, pointer: &str) -> Map<String, Value> {
        self.value(pointer).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// One of a person's fields, wherever it stands: in `traits`, `context.traits` or `properties`, under any of these names.
    pub fn personal(&self, names: &[&str]) -> Option<&Value> {
        let places = ["/traits", "/context/traits", "/properties"];
        let objects = places.iter().filter_map(|place| self.value(place)?.as_object());
        // An empty text says nothing: perhaps another place does.
        let said = |value: &&Value| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        };
        objects.flat_map(|object| names.iter().filter_map(|name| object.get(*name))).find(said)
    }

    /// The e-mail address, trimmed and in lower case.
    pub fn email(&self) -> Option<String> {
        let email = self.personal(&["email"])?.as_str()?.trim().to_lowercase();
        (!email.is_empty()).then_some(email)
    }

    /// The phone number.
    pub fn phone(&self) -> Option<&str> {
        self.personal(&["phone"])?.as_str()
    }

    /// The first name.
    pub fn first_name(&self) -> Option<&str> {
        self.personal(&["firstName", "firstname", "first_name"])?.as_str()
    }

    /// The last name.
    pub fn last_name(&self) -> Option<&str> {
        self.personal(&["lastName", "lastname", "last_name"])?.as_str()
    }

    /// When the person's account was made.
    pub fn created_at(&self) -> Option<Millis> {
        let at = self.personal(&["createdAt", "created_at"])?;
        at.as_str().and_then(moment).or_else(|| at.as_i64().map(Millis))
    }
}

/// A date and time with its zone (RFC 3339).
pub fn moment(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(|moment| Millis(moment.as_millisecond()))
}

/// A scalar as text: vendors that take only texts get numbers and flags as such. Lists and objects become JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing;
    use super::*;

    fn tracked(value: &Value) -> Tracked {
        Tracked::read(&testing::event("id", &value.to_string())).unwrap()
    }

    #[test]
    fn what_an_event_says() {
        for (event, call) in [
            (json!({"type": "identify"}), Call::Identify),
            (json!({"event": "Tested"}), Call::Track),
            (json!({"type": "what"}), Call::Other),
            (json!({"type": 7, "event": ""}), Call::Other),
        ] {
            assert_eq!(tracked(&event).call(), call, "{event}");
        }
    }

    #[test]
    fn who_and_when_wherever_it_stands() {
        let event = json!({
            "userId": 48213, "anonymousId": "", "timestamp": "2026-03-14T09:26:53.589Z",
            "properties": {"email": "later@example.com", "phone": null},
            "context": {"traits": {"email": " Ada@Example.com ", "first_name": "Ada", "createdAt": 1_767_600_000_000_i64}},
        });
        let event = tracked(&event);
        assert_eq!((event.user_id().as_deref(), event.anonymous_id()), (Some("48213"), None));
        assert_eq!(event.time(), Millis(1_773_480_413_589));
        assert_eq!(event.email().as_deref(), Some("ada@example.com"));
        assert_eq!((event.first_name(), event.phone()), (Some("Ada"), None));
        assert_eq!(event.created_at(), Some(Millis(1_767_600_000_000)));
        assert_eq!(event.traits()["first_name"], "Ada");
        assert_eq!(tracked(&json!({})).time(), Millis(1_773_480_413_589), "when it arrived");
    }

    #[test]
    fn a_number_too_long_to_be_known_is_nobody_and_an_empty_text_is_no_address() {
        let event = tracked(&json!({
            "userId": 123_456_789_012_345_678_901_u128 as f64, "traits": {"email": ""},
            "context": {"traits": {"email": "a@b.c"}},
        }));
        assert_eq!((event.user_id(), event.email().as_deref()), (None, Some("a@b.c")));
    }

    #[test]
    fn what_is_no_event_is_refused_for_good() {
        for data in ["[]", "7", "{", ""] {
            let shaped = shape(testing::event("id", data), |_, _| Ok(None));
            assert!(matches!(shaped, Shaped::Refuse(event, _) if event.id == "id"), "{data}");
        }
    }
}
