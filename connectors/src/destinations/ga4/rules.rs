//! What GA4 takes: names, lengths, numbers. It would drop everything else without a word.

use super::mapping::{PERSONAL, snake_case};
use crate::failure::Failure;

/// Parameters of an event.
pub(super) const PARAMETERS: usize = 25;
/// Items of an event.
pub(super) const ITEMS: usize = 200;
/// Parameters of an item under names of one's own.
pub(super) const ITEM_PARAMETERS: usize = 10;
/// Characters of a user's id.
pub(super) const USER_ID: usize = 256;
/// Characters of a user property's value.
pub(super) const USER_PROPERTY: usize = 36;
/// Bytes of a request.
pub(super) const REQUEST: usize = 130_000;
/// Milliseconds that an event may lie back.
pub(super) const PAST: i64 = 72 * 3_600_000;
/// Milliseconds that an event may lie ahead: clocks differ. Google does not say; this is what RudderStack refuses.
pub(super) const FUTURE: i64 = 15 * 60_000;

/// Characters of an event's name, and of a parameter's.
const NAME: usize = 40;
/// Characters of a user property's name.
const USER_PROPERTY_NAME: usize = 24;
/// User properties of a request.
const USER_PROPERTIES: usize = 25;

const RESERVED: [&str; 26] = [
    "ad_activeview",
    "ad_click",
    "ad_exposure",
    "ad_impression",
    "ad_query",
    "adunit_exposure",
    "app_clear_data",
    "app_install",
    "app_update",
    "app_remove",
    "app_store_refund",
    "app_store_subscription_cancel",
    "app_store_subscription_convert",
    "app_store_subscription_renew",
    "error",
    "first_open",
    "first_visit",
    "in_app_purchase",
    "notification_dismiss",
    "notification_foreground",
    "notification_open",
    "notification_receive",
    "os_update",
    "screen_view",
    "session_start",
    "user_engagement",
];

const RESERVED_PREFIXES: [&str; 5] = ["_", "firebase_", "ga_", "google_", "gtag."];

const RESERVED_PARAMETER_PREFIXES: [&str; 3] = ["google_", "ga_", "firebase_"];

const RESERVED_USER_PROPERTIES: [&str; 5] =
    ["first_open_time", "first_visit_time", "last_deep_link_referrer", "user_id", "first_open_after_install"];

/// Whether items have a parameter of this name by themselves.
pub(super) fn is_of_item(name: &str) -> bool {
    let others = ["affiliation", "coupon", "creative_name", "creative_slot", "currency", "discount", "index"];
    let more = ["location_id", "price", "promotion_id", "promotion_name", "quantity"];
    name.starts_with("item_") || others.contains(&name) || more.contains(&name)
}

/// Checks an event's name, which was made of the name `written`.
pub(super) fn event(name: &str, written: &str) -> Result<(), Failure> {
    let written = written.trim().to_lowercase();
    let reserved = |prefix: &&str| name.to_lowercase().starts_with(*prefix) || written.starts_with(*prefix);
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(reserved) {
        return Err(Failure::rejected(format!("reserved name: GA4 keeps `{name}` for itself")));
    }
    plain("event", name)
}

/// The name that a parameter gets: one that GA4 takes as it is, else one made of it.
pub(super) fn parameter(written: &str) -> Result<String, Failure> {
    let name = if is_plain(written) { written.to_owned() } else { snake_case(written) };
    if RESERVED_PARAMETER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Failure::rejected(format!("reserved name: GA4 keeps the parameter `{name}` for itself")));
    }
    plain("parameter", &name)?;
    Ok(name)
}

/// How many characters the value of a parameter may have, where most may have `longest`.
pub(super) fn longest(parameter: &str, longest: usize) -> usize {
    match parameter {
        "page_location" => 1_000,
        "page_referrer" => 420,
        "page_title" => 300,
        _ => longest,
    }
}

/// What is wrong with the names of user properties.
pub(super) fn user_properties(names: &[String]) -> Option<String> {
    if names.len() > USER_PROPERTIES {
        return Some(format!("holds {} names; GA4 takes {USER_PROPERTIES}", names.len()));
    }
    names.iter().find_map(|name| {
        if PERSONAL.contains(&name.as_str()) {
            return Some(format!("`{name}` is personal data, which Google forbids"));
        }
        if RESERVED_USER_PROPERTIES.contains(&name.as_str()) {
            return Some(format!("GA4 keeps `{name}` for itself"));
        }
        let long = name.is_empty() || name.chars().count() > USER_PROPERTY_NAME;
        long.then(|| format!("`{name}` has not between 1 and {USER_PROPERTY_NAME} characters"))
    })
}

fn plain(what: &str, name: &str) -> Result<(), Failure> {
    let length = name.chars().count();
    if length > NAME {
        return Err(Failure::rejected(format!(
            "the {what} `{name}` has {length} characters; GA4 takes {NAME}"
        )));
    }
    if !is_plain(name) {
        let rule = "a letter first, then letters of ASCII, digits and `_`";
        return Err(Failure::rejected(format!("GA4 takes no {what} named `{name}`: {rule}")));
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
