//! What trackers call things, in GA4's words.

use serde_json::{Map, Value};

use crate::destinations::event::{Call, Tracked};
use crate::failure::Failure;

/// Properties that say who somebody is: Google forbids them among parameters.
pub(super) const PERSONAL: [&str; 8] =
    ["email", "phone", "firstName", "firstname", "first_name", "lastName", "lastname", "last_name"];

/// Events with a name of their own, and whether their properties are those of one product.
const EVENTS: [(&str, &str, bool); 19] = [
    ("Products Searched", "search", false),
    ("Product List Viewed", "view_item_list", false),
    ("Product Clicked", "select_item", true),
    ("Product Viewed", "view_item", true),
    ("Product Added", "add_to_cart", true),
    ("Product Removed", "remove_from_cart", true),
    ("Cart Viewed", "view_cart", false),
    ("Checkout Started", "begin_checkout", false),
    ("Payment Info Entered", "add_payment_info", false),
    ("Checkout Step Completed", "add_shipping_info", false),
    ("Order Completed", "purchase", false),
    ("Order Refunded", "refund", false),
    ("Product Added To Wishlist", "add_to_wishlist", true),
    ("Promotion Viewed", "view_promotion", false),
    ("Promotion Clicked", "select_promotion", false),
    ("Product Shared", "share", false),
    ("Cart Shared", "share", false),
    ("Signed Up", "sign_up", false),
    ("Logged In", "login", false),
];

/// Their properties with a name of their own.
const PROPERTIES: [(&str, &str); 3] =
    [("order_id", "transaction_id"), ("total", "value"), ("query", "search_term")];

/// What is known of a product.
const ITEM: [(&str, &str); 9] = [
    ("product_id", "item_id"),
    ("name", "item_name"),
    ("brand", "item_brand"),
    ("category", "item_category"),
    ("variant", "item_variant"),
    ("coupon", "coupon"),
    ("price", "price"),
    ("quantity", "quantity"),
    ("position", "index"),
];

/// Where a page is described: as a parameter, by the call that tells of it, by every other call.
const PAGE: [(&str, &str, &str); 3] = [
    ("page_location", "/properties/url", "/context/page/url"),
    ("page_referrer", "/properties/referrer", "/context/page/referrer"),
    ("page_title", "/properties/title", "/context/page/title"),
];

/// Parameters that an event may have for ours to be added: GA4 takes 25.
const ADDED: usize = 21;

/// Properties of a page that are parameters under other names, or parts of them.
const PAGE_PROPERTIES: [&str; 5] = ["url", "referrer", "title", "path", "search"];

/// What happened, in GA4's words; the values are as they were.
#[derive(Debug)]
pub(in crate::destinations) struct Happened {
    /// The event's name.
    pub(in crate::destinations) name: String,
    /// Its parameters.
    pub(in crate::destinations) params: Map<String, Value>,
}

/// What happened; `None` where nothing did: who somebody is goes with what they do. Screens become events named `screen`.
pub(in crate::destinations) fn happened(
    tracked: &Tracked,
    screen: &str,
) -> Result<Option<Happened>, Failure> {
    let mut properties = tracked.properties();
    properties.retain(|name, value| !value.is_null() && !PERSONAL.contains(&name.as_str()));
    let call = tracked.call();
    let (name, mut params) = match call {
        Call::Track => track(tracked, properties)?,
        Call::Page => {
            properties.retain(|name, _| !PAGE_PROPERTIES.contains(&name.as_str()));
            ("page_view".to_owned(), properties)
        }
        Call::Screen => {
            let name = tracked.text("/name").map(|name| ("screen_name".to_owned(), Value::from(name)));
            properties.extend(name);
            (screen.to_owned(), properties)
        }
        Call::Group => {
            let id = tracked.id("/groupId").ok_or_else(|| Failure::rejected("a group needs a `groupId`"))?;
            ("join_group".to_owned(), Map::from_iter([("group_id".to_owned(), Value::from(id))]))
        }
        Call::Identify | Call::Alias | Call::Other => return Ok(None),
    };
    for (param, own, context) in PAGE {
        let own = if call == Call::Page { own } else { context };
        // What we add never makes an event too large.
        let fits = call == Call::Page || params.len() < ADDED;
        if let Some(text) = tracked.first(&[own, context]).filter(|_| fits) {
            params.entry(param).or_insert_with(|| text.into());
        }
    }
    Ok(Some(Happened { name, params }))
}

fn track(
    tracked: &Tracked,
    mut properties: Map<String, Value>,
) -> Result<(String, Map<String, Value>), Failure> {
    let event = tracked.text("/event").ok_or_else(|| Failure::rejected("a track call needs an `event`"))?;
    let known = EVENTS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(event.trim()));
    let name = known.map_or_else(|| snake_case(event), |(_, name, _)| (*name).to_owned());
    if name.is_empty() {
        return Err(Failure::rejected(format!("no name can be made of `{event}`")));
    }
    if let Some((_, _, product)) = known {
        for (from, to) in PROPERTIES {
            if !properties.contains_key(to)
                && let Some(value) = properties.remove(from)
            {
                properties.insert(to.to_owned(), value);
            }
        }
        if *product && !properties.contains_key("products") && !properties.contains_key("items") {
            properties = one_product(properties);
        }
    }
    if !properties.contains_key("items")
        && let Some(items) = properties.get("products").and_then(items)
    {
        properties.remove("products");
        properties.insert("items".to_owned(), items);
    }
    Ok((name, properties))
}

/// Products as items; `None` when they are none.
fn items(products: &Value) -> Option<Value> {
    let items = products.as_array()?.iter().map(|product| Some(item(product.as_object()?)));
    Some(Value::Array(items.collect::<Option<_>>()?))
}

/// Properties of one product as an item among the others.
fn one_product(properties: Map<String, Value>) -> Map<String, Value> {
    let of_product = |name: &String| ITEM.iter().any(|(from, _)| from == name);
    let (product, mut others): (Map<_, _>, Map<_, _>) =
        properties.into_iter().partition(|(name, _)| of_product(name));
    if !product.is_empty() {
        others.insert("items".to_owned(), Value::Array(vec![item(&product)]));
    }
    others
}

/// What an item may hold of a product. The rest is left out: few free fields are taken, and none as long as a picture's address.
fn item(product: &Map<String, Value>) -> Value {
    let name_of = |name: &str| {
        let own = name.starts_with("item_") || name == "index" || name == "currency";
        let known = ITEM.iter().find(|(from, _)| *from == name).map(|(_, to)| (*to).to_owned());
        known.or_else(|| own.then(|| name.to_owned()))
    };
    let fields = product.iter().filter(|(_, value)| value.is_string() || value.is_number());
    Value::Object(fields.filter_map(|(name, value)| Some((name_of(name)?, value.clone()))).collect())
}

/// `Video Started` and `videoStarted` as `video_started`. Letters that GA4 does not know stay, for its rules to refuse: two names must
/// not become one.
pub(super) fn snake_case(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut after_word = false;
    for c in text.trim().chars() {
        match c {
            '_' => name.push(c),
            c if c.is_alphanumeric() => {
                if c.is_uppercase() && after_word {
                    name.push('_');
                }
                name.extend(c.to_lowercase());
            }
            _ if name.is_empty() || name.ends_with('_') => {}
            _ => name.push('_'),
        }
        after_word = c.is_lowercase() || c.is_numeric();
    }
    name.trim_end_matches('_').to_owned()
}
