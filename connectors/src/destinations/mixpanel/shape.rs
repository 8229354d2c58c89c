//! An event as Mixpanel's: an event of its own, a person's profile, a group's, or two of these.

use std::num::NonZeroUsize;

use serde_json::{Map, Value, json};

use super::rules;
use super::settings::Mixpanel;
use crate::destinations::Event;
use crate::destinations::event::{Call, Item, Shape, Tracked};
use crate::failure::Failure;

/// Where items go: events.
pub(super) const IMPORT: &str = "import";
/// Merges of two ids: events of a special kind.
pub(super) const MERGE: &str = "merge";
/// People's profiles.
pub(super) const ENGAGE: &str = "engage";
/// Groups' profiles.
pub(super) const GROUPS: &str = "groups";
/// Groups in a request.
const FEW: NonZeroUsize = NonZeroUsize::MIN.saturating_add(199);
/// Parts the addresses of an event that goes to several; its data are a list of its items then.
pub(super) const AND: char = '+';

/// What is said of an event's surroundings, and its name at Mixpanel.
const SURROUNDINGS: [(&str, &str); 19] = [
    ("/context/ip", "ip"),
    ("/context/page/url", "$current_url"),
    ("/context/page/referrer", "$referrer"),
    ("/context/os/name", "$os"),
    ("/context/os/version", "$os_version"),
    ("/context/device/model", "$model"),
    ("/context/device/manufacturer", "$manufacturer"),
    ("/context/network/carrier", "$carrier"),
    ("/context/app/version", "$app_version_string"),
    ("/context/app/build", "$app_build_number"),
    ("/context/screen/width", "$screen_width"),
    ("/context/screen/height", "$screen_height"),
    ("/context/screen/density", "$screen_dpi"),
    ("/context/campaign/source", "utm_source"),
    ("/context/campaign/medium", "utm_medium"),
    ("/context/campaign/name", "utm_campaign"),
    ("/context/campaign/term", "utm_term"),
    ("/context/campaign/content", "utm_content"),
    ("/context/library/name", "mp_lib"),
];

/// Traits that have a name of their own at Mixpanel; of several spellings the first that is there.
const TRAITS: [(&str, &str); 13] = [
    ("email", "$email"),
    ("firstName", "$first_name"),
    ("firstname", "$first_name"),
    ("first_name", "$first_name"),
    ("lastName", "$last_name"),
    ("lastname", "$last_name"),
    ("last_name", "$last_name"),
    ("name", "$name"),
    ("phone", "$phone"),
    ("avatar", "$avatar"),
    ("createdAt", "$created"),
    ("created_at", "$created"),
    ("username", "$username"),
];

/// The same within the trait `address`.
const ADDRESS: [(&str, &str); 3] = [("city", "$city"), ("state", "$region"), ("country", "$country_code")];

/// The item or items for an event.
pub(super) fn item(settings: &Mixpanel, tracked: &Tracked, event: &Event) -> Item {
    let call = tracked.call();
    if call == Call::Other || call == Call::Alias && settings.simplified {
        return Ok(None);
    }
    let who = Who::of(settings, tracked)?;
    let shape = match call {
        Call::Track => {
            let name = tracked.text("/event");
            let name = name.ok_or_else(|| Failure::rejected("a track call needs an `event`"))?;
            Some(happened(tracked, event, &who, name)?)
        }
        Call::Page => Some(happened(tracked, event, &who, &settings.page_event)?),
        Call::Screen => Some(happened(tracked, event, &who, &settings.screen_event)?),
        Call::Identify => identify(settings, tracked, &who)?,
        Call::Group => group(settings, tracked, &who)?,
        Call::Alias | Call::Other => Some(alias(tracked, &who)?),
    };
    shape.map(rules::small).transpose()
}

/// Whom an event is about.
struct Who {
    user: Option<String>,
    device: Option<String>,
    /// The one id that Mixpanel goes by.
    distinct: Option<String>,
    simplified: bool,
}

impl Who {
    fn of(settings: &Mixpanel, tracked: &Tracked) -> Result<Self, Failure> {
        let (user, device) = (tracked.user_id(), tracked.anonymous_id());
        let simplified = settings.simplified;
        // Beside a user a device that is none is left out; alone it is nobody.
        let is_none = |id: &String| rules::no_placeholder("anonymousId", Some(id)).is_err();
        let device = device.filter(|id| user.is_none() || !is_none(id));
        let by_device = |id: &String| if simplified { format!("$device:{id}") } else { id.clone() };
        let distinct = user.clone().or_else(|| device.as_ref().map(by_device));
        rules::no_placeholder("userId", user.as_deref())?;
        rules::no_placeholder("anonymousId", device.as_deref())?;
        Ok(Who { user, device, distinct, simplified })
    }
}

/// Something that happened, perhaps to nobody.
fn happened(tracked: &Tracked, event: &Event, who: &Who, name: &str) -> Result<Shape, Failure> {
    let mut properties = tracked.properties();
    let mut add = |name: &str, value: Option<&Value>| {
        if let Some(value) = value
            && !properties.contains_key(name)
        {
            properties.insert(name.to_owned(), value.clone());
        }
    };
    SURROUNDINGS.iter().for_each(|(from, to)| add(to, tracked.value(from)));
    if matches!(tracked.call(), Call::Page | Call::Screen) {
        add("name", tracked.value("/name"));
        add("category", tracked.value("/category"));
    }
    if tracked.call() == Call::Page {
        add("$current_url", tracked.value("/properties/url"));
    }
    properties.insert("time".into(), json!(rules::time(tracked.time(), event.origin.arrived_at)?.0));
    properties.insert("distinct_id".into(), json!(who.distinct.as_deref().unwrap_or_default()));
    properties.insert("$insert_id".into(), json!(rules::insert_id(&event.id)));
    if who.simplified {
        properties.extend(who.user.as_ref().map(|id| ("$user_id".to_owned(), json!(id))));
        properties.extend(who.device.as_ref().map(|id| ("$device_id".to_owned(), json!(id))));
    }
    rules::allowed(&properties)?;
    Ok(Shape::of(IMPORT, &json!({"event": name, "properties": properties})))
}

/// A person's profile; where ids are merged by request, that of the two ids as well. Nothing where nothing is said.
fn identify(settings: &Mixpanel, tracked: &Tracked, who: &Who) -> Result<Option<Shape>, Failure> {
    let distinct = who.distinct.as_ref();
    let id = distinct.ok_or_else(|| Failure::rejected("a person needs a `userId` or an `anonymousId`"))?;
    let set = named(tracked.traits());
    let profile = (!set.is_empty()).then(|| json!({"$distinct_id": id, "$set": set}));
    let both = who.user.as_ref().zip(who.device.as_ref());
    let merge = both.filter(|(user, device)| !settings.simplified && user != device).map(merge);
    Ok(together((MERGE, merge), (ENGAGE, profile)))
}

/// A group's profile, and that somebody belongs to it.
fn group(settings: &Mixpanel, tracked: &Tracked, who: &Who) -> Result<Option<Shape>, Failure> {
    let Some(key) = &settings.group_key else { return Ok(None) };
    let id = tracked.id("/groupId").ok_or_else(|| Failure::rejected("a group needs a `groupId`"))?;
    // Not `context.traits`, which are the person's.
    let traits = tracked.value("/traits").and_then(Value::as_object).filter(|traits| !traits.is_empty());
    let group = traits.map(|traits| json!({"$group_key": key, "$group_id": id, "$set": traits}));
    let member = who.distinct.as_ref().map(|who| json!({"$distinct_id": who, "$set": {key: [id]}}));
    Ok(together((GROUPS, group), (ENGAGE, member)))
}

fn alias(tracked: &Tracked, who: &Who) -> Result<Shape, Failure> {
    let (previous, user) = (tracked.id("/previousId"), who.user.as_ref());
    rules::no_placeholder("previousId", previous.as_deref())?;
    let ids = previous.as_ref().zip(user);
    let ids = ids.ok_or_else(|| Failure::rejected("an alias needs `userId` and `previousId`"))?;
    Ok(Shape::of(MERGE, &merge(ids)))
}

/// The properties of a merge, to which its request adds the token.
fn merge((one, other): (&String, &String)) -> Value {
    json!({"$distinct_ids": [one, other]})
}

/// What goes to two addresses in turn, as far as there is something for them.
fn together(first: (&str, Option<Value>), second: (&str, Option<Value>)) -> Option<Shape> {
    match (first, second) {
        ((here, Some(one)), (there, Some(other))) => {
            Some(to(&format!("{here}{AND}{there}"), &json!([one, other])))
        }
        ((address, Some(item)), _) | (_, (address, Some(item))) => Some(to(address, &item)),
        _ => None,
    }
}

/// What goes to these addresses; few groups fit into a request.
fn to(addresses: &str, item: &Value) -> Shape {
    let shape = Shape::of(addresses, item);
    if addresses.split(AND).any(|address| address == GROUPS) { shape.at_most(FEW) } else { shape }
}

/// Traits under Mixpanel's names.
fn named(mut traits: Map<String, Value>) -> Map<String, Value> {
    let mut set = Map::new();
    move_to(&mut set, &mut traits, &TRAITS);
    if let Some(Value::Object(address)) = traits.get_mut("address") {
        move_to(&mut set, address, &ADDRESS);
        if address.is_empty() {
            traits.remove("address");
        }
    }
    // What already has Mixpanel's name was meant to.
    set.extend(traits);
    set
}

fn move_to(set: &mut Map<String, Value>, from: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (name, to) in names {
        if let Some(value) = from.remove(*name).filter(|value| !value.is_null())
            && !set.contains_key(*to)
        {
            set.insert((*to).to_owned(), value);
        }
    }
}
