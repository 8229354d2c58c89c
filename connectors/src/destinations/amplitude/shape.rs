//! An event as Amplitude's, and what it says of groups and ids beside.

use serde_json::{Map, Value, json};

use super::rules;
use super::settings::Amplitude;
use crate::destinations::Event;
use crate::destinations::event::{Call, Item, Shape, Tracked, as_text};
use crate::failure::Failure;

/// Events have no part. What goes to other addresses is sent alone, as this part; its data name what goes where.
pub(super) const ALONE: &str = "alone";

/// What is said of an event's surroundings, and its name at Amplitude: texts.
const SURROUNDINGS: [(&str, &str); 12] = [
    ("/context/ip", "ip"),
    ("/context/locale", "language"),
    ("/context/os/name", "os_name"),
    ("/context/os/version", "os_version"),
    ("/context/device/brand", "device_brand"),
    ("/context/device/manufacturer", "device_manufacturer"),
    ("/context/device/model", "device_model"),
    ("/context/network/carrier", "carrier"),
    ("/context/app/version", "app_version"),
    ("/context/location/country", "country"),
    ("/context/location/region", "region"),
    ("/context/location/city", "city"),
];

/// The same, numbers.
const PLACE: [(&str, &str); 2] =
    [("/context/location/latitude", "location_lat"), ("/context/location/longitude", "location_lng")];

/// Where somebody came from, as Amplitude names it.
const CAMPAIGN: [(&str, &str); 5] = [
    ("/context/campaign/source", "utm_source"),
    ("/context/campaign/medium", "utm_medium"),
    ("/context/campaign/name", "utm_campaign"),
    ("/context/campaign/term", "utm_term"),
    ("/context/campaign/content", "utm_content"),
];

/// What stands beside `revenue` and has a field of its own.
const REVENUE: [&str; 4] = ["revenue", "price", "quantity", "productId"];

/// The item for an event.
pub(super) fn item(settings: &Amplitude, tracked: &Tracked, event: &Event) -> Item {
    let shape = match tracked.call() {
        Call::Track => {
            let name = tracked.text("/event");
            let name = name.ok_or_else(|| Failure::rejected("a track call needs an `event`"))?;
            happened(settings, tracked, event, name)
        }
        Call::Page => viewed(settings, tracked, event, &settings.page_event),
        Call::Screen => viewed(settings, tracked, event, &settings.screen_event),
        Call::Identify => identify(settings, tracked, event),
        Call::Group => group(settings, tracked, event),
        Call::Alias if settings.maps => alias(settings, tracked),
        Call::Alias | Call::Other => Ok(None),
    };
    shape?.map(|shape| rules::small(settings, shape)).transpose()
}

/// A page or a screen; nothing where its event has no name.
fn viewed(settings: &Amplitude, tracked: &Tracked, event: &Event, template: &str) -> Item {
    if template.is_empty() {
        return Ok(None);
    }
    let name = match tracked.text("/name") {
        Some(name) => template.replace("{name}", name),
        None => template.replace("{name}", " ").split_whitespace().collect::<Vec<_>>().join(" "),
    };
    happened(settings, tracked, event, &name)
}

fn happened(settings: &Amplitude, tracked: &Tracked, event: &Event, name: &str) -> Item {
    let mut item = base(settings, tracked, event, name)?;
    let mut properties = tracked.properties();
    if properties.get("revenue").is_some_and(Value::is_number) {
        item.extend(
            REVENUE.iter().filter_map(|field| Some(((*field).to_owned(), properties.remove(*field)?))),
        );
    }
    if !properties.is_empty() {
        item.insert("event_properties".into(), properties.into());
    }
    let campaign = campaign(tracked);
    if !campaign.is_empty() {
        item.insert("user_properties".into(), json!({"$set": campaign}));
    }
    Ok(Some(Shape::json(&fitting(settings, item)?)))
}

/// Who somebody is; nothing where nothing is said of him.
fn identify(settings: &Amplitude, tracked: &Tracked, event: &Event) -> Item {
    let mut item = base(settings, tracked, event, "$identify")?;
    let mut set = campaign(tracked);
    set.extend(tracked.traits());
    if set.is_empty() {
        return Ok(None);
    }
    item.insert("user_properties".into(), json!({"$set": set}));
    Ok(Some(Shape::json(&fitting(settings, item)?)))
}

/// That somebody belongs to a group, an event, and what the group is, which goes elsewhere.
fn group(settings: &Amplitude, tracked: &Tracked, event: &Event) -> Item {
    let Some(kind) = &settings.group_type else { return Ok(None) };
    let id = tracked.id("/groupId").ok_or_else(|| Failure::rejected("a group needs a `groupId`"))?;
    // Not `context.traits`, which are the person's.
    let traits = tracked.value("/traits").and_then(Value::as_object).filter(|traits| !traits.is_empty());
    let about = traits.map(|traits| {
        let about = json!({"group_type": kind, "group_value": id, "group_properties": traits});
        about.as_object().cloned().unwrap_or_default()
    });
    let about = about.map(|about| fitting(settings, about)).transpose()?;
    let nobody = tracked.anybody().or_else(|| tracked.id("/context/device/id")).is_none();
    let member = match nobody {
        true => None,
        false => {
            let mut item = base(settings, tracked, event, "$identify")?;
            item.insert("groups".into(), json!({kind: id}));
            Some(fitting(settings, item)?)
        }
    };
    Ok(match (member, about) {
        (Some(member), None) => Some(Shape::json(&member)),
        (None, None) => None,
        (member, about) => Some(Shape::alone(ALONE, &json!({"event": member, "identification": about}))),
    })
}

fn alias(settings: &Amplitude, tracked: &Tracked) -> Item {
    let ids = tracked.id("/previousId").zip(tracked.user_id());
    let (previous, user) =
        ids.ok_or_else(|| Failure::rejected("an alias needs `userId` and `previousId`"))?;
    let mut mapping = Map::new();
    mapping.insert("user_id".into(), json!(previous));
    mapping.insert("global_user_id".into(), json!(user));
    Ok(Some(Shape::alone(ALONE, &json!({"mapping": fitting(settings, mapping)?}))))
}

fn fitting(settings: &Amplitude, item: Map<String, Value>) -> Result<Value, Failure> {
    let mut item = Value::Object(item);
    rules::fit(settings, &mut item)?;
    Ok(item)
}

/// What every event has: whose it is, when and where it happened.
fn base(
    settings: &Amplitude,
    tracked: &Tracked,
    event: &Event,
    name: &str,
) -> Result<Map<String, Value>, Failure> {
    let (user, device) = who(settings, tracked)?;
    let mut item = Map::new();
    item.insert("event_type".into(), json!(name));
    item.extend(user.map(|id| ("user_id".to_owned(), json!(id))));
    item.extend(device.map(|id| ("device_id".to_owned(), json!(id))));
    item.insert("time".into(), json!(tracked.time().0));
    item.insert("insert_id".into(), json!(event.id.as_str()));
    item.extend(tracked.id("/context/sessionId").and_then(|id| id.parse::<i64>().ok()).map(session));
    item.extend(tracked.text("/context/device/type").map(platform));
    item.extend(named(tracked, &SURROUNDINGS).map(|(name, value)| (name, json!(as_text(value)))));
    item.extend(
        named(tracked, &PLACE)
            .filter(|(_, value)| value.is_number())
            .map(|(name, value)| (name, value.clone())),
    );
    Ok(item)
}

fn session(id: i64) -> (String, Value) {
    ("session_id".to_owned(), json!(id))
}

fn platform(device: &str) -> (String, Value) {
    let name = match device.to_lowercase().as_str() {
        "android" => "Android",
        "ios" => "iOS",
        _ => device,
    };
    ("platform".to_owned(), json!(name))
}

/// The user and the device. At least one of them must have an id that Amplitude looks at; it is left to leave out the other.
fn who(settings: &Amplitude, tracked: &Tracked) -> Result<(Option<String>, Option<String>), Failure> {
    let real = |id: Option<String>| id.filter(|id| rules::is_real(id));
    let device = real(tracked.id("/context/device/id")).or_else(|| real(tracked.anonymous_id()));
    let user = real(tracked.user_id());
    if user.is_none() && device.is_none() {
        let detail = "nobody: `userId`, `anonymousId` and `context.device.id` are missing or all zeros";
        return Err(Failure::rejected(detail));
    }
    let seen = |id: &Option<String>| id.as_ref().is_some_and(|id| rules::is_long_enough(settings, id));
    if !seen(&user) && !seen(&device) {
        return Err(Failure::rejected(format!(
            "its ids have fewer than {} characters; set min_id_length if such short ids are right",
            settings.id_length
        )));
    }
    Ok((user, device))
}

fn campaign(tracked: &Tracked) -> Map<String, Value> {
    named(tracked, &CAMPAIGN).map(|(name, value)| (name, value.clone())).collect()
}

/// What is there of these, by Amplitude's names.
fn named<'a>(tracked: &'a Tracked, names: &'a [(&str, &str)]) -> impl Iterator<Item = (String, &'a Value)> {
    names.iter().filter_map(|(from, to)| Some(((*to).to_owned(), tracked.value(from)?)))
}
