//! Mappings: each step, their order, and that nothing else is touched; against a naive reading of the same steps.

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::schema::text::decode;
use crate::schema::types::Kind;

fn mapped(settings: Value, event: &str) -> Option<String> {
    let mapping = Mapping::compile(&settings).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let raw = Bytes::from(event.to_owned());
    match mapping.apply(&Object::parse(event.as_bytes()).unwrap(), &raw) {
        Mapped::Deliver(data) => Some(String::from_utf8(data.to_vec()).unwrap()),
        Mapped::Skip => None,
        Mapped::Refuse(rejection) => panic!("{rejection}"),
    }
}

fn refused(settings: Value, event: &str) -> Rejection {
    let mapping = Mapping::compile(&settings).unwrap_or_else(|problems| panic!("{problems:#?}"));
    match mapping.apply(&Object::parse(event.as_bytes()).unwrap(), &Bytes::new()) {
        Mapped::Refuse(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

const EVENT: &str = r#"{"event":"Paid","userId":"u","properties":{"total":1.10,"n":1180591620717411303424,"l":[{"id":1},{"id":2}]},"context":{"ip":"::1","traits":{"email":" Ada@Example.com "}}}"#;

#[test]
fn each_step_does_its_part() {
    let table = [
        (json!({"pick": ["/event", "/properties/total"]}), r#"{"event":"Paid","properties":{"total":1.10}}"#),
        (json!({"pick": "/properties/l/1"}), r#"{"properties":{"l":[{"id":2}]}}"#),
        (json!({"pick": []}), "{}"),
        (
            json!({"drop": ["/context", "/properties/l/0", "/event"]}),
            r#"{"userId":"u","properties":{"total":1.10,"n":1180591620717411303424,"l":[{"id":2}]}}"#,
        ),
        (
            json!({"pick": ["/event", "/userId"], "rename": {"/event": "/userId", "/userId": "/event"}}),
            r#"{"userId":"Paid","event":"u"}"#,
        ),
        (
            json!({"pick": ["/properties"], "rename": {"/properties/l/0": "/a", "/properties/l/1": "/b", "/properties": "/p"}}),
            r#"{"b":{"id":2},"a":{"id":1},"p":{"total":1.10,"n":1180591620717411303424,"l":[]}}"#,
        ),
        (json!({"pick": ["/event"], "rename": {"/event": "/event/name"}}), r#"{"event":{"name":"Paid"}}"#),
        (
            json!({"pick": ["/event"], "constant": {"/a": {"x": 1.5}, "/a/y": null, "/event/z": ["é\""]}}),
            r#"{"event":{"z":["é\""]},"a":{"x":1.5,"y":null}}"#,
        ),
        (
            json!({"pick": ["/event"], "drop": ["/event"], "rename": {"/event": "/x"}, "constant": {"/event": "c"},
                   "template": {"/t": "{/event} {/properties/total} {/context/none}{{}}"}}),
            r#"{"event":"c","t":"Paid 1.10 {}"}"#,
        ),
    ];
    for (settings, wanted) in table {
        assert_eq!(mapped(settings.clone(), EVENT).as_deref(), Some(wanted), "{settings}");
    }
}

#[test]
fn hashes_are_those_of_trimmed_lower_case_text() {
    // printf 'ada@example.com' | sha256sum, and so on
    let digest = |text: &str| -> String { Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let table = [
        (r#"" Ada@Example.COM\n""#, "ada@example.com"),
        (r#""\u00c9""#, "é"),
        ("1.10", "1.10"),
        ("true", "true"),
        (r#"["A"]"#, r#"["A"]"#),
        (r#""""#, ""),
        (r#""\uD800""#, r#""\uD800""#),
    ];
    for (json, text) in table {
        let event = format!("{{\"v\":{json}}}");
        let wanted = format!("{{\"v\":\"{}\"}}", digest(text));
        assert_eq!(mapped(json!({"hash": ["/v", "/v", "/absent"]}), &event), Some(wanted), "{json}");
    }
    assert_eq!(mapped(json!({"hash": "/v"}), r#"{"v":null}"#).as_deref(), Some(r#"{"v":null}"#));
    let renamed = mapped(json!({"rename": {"/v": "/e"}, "hash": ["/e"]}), r#"{"v":"A"}"#).unwrap();
    assert_eq!(renamed, format!("{{\"e\":\"{}\"}}", digest("a")));
}

#[test]
fn a_key_makes_hashes_that_nobody_else_can_make() {
    let event = r#"{"v":" Ada@Example.com "}"#;
    let with = |key: &str| mapped(json!({"hash": "/v", "hash_key": key}), event).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"k").unwrap();
    mac.update(b"ada@example.com");
    let wanted: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(with("k"), format!("{{\"v\":\"{wanted}\"}}"));
    assert_ne!(with("k"), with("l"));
    let shown = format!("{:?}", Mapping::compile(&json!({"hash": "/v", "hash_key": "geheim"})).unwrap());
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn structure_is_made_first_so_that_the_other_steps_see_it() {
    // printf '{"email":"A"}' | base64, and so on
    let event =
        r#"{"p":"{\"a\":{\"b\":1.10},\"q\":\"[2]\"}","z":"eyJlbWFpbCI6IkEiLCJpcCI6IjEifQ==","n":null}"#;
    let table = [
        (json!({"parse": ["/p"], "pick": ["/p/a"]}), r#"{"p":{"a":{"b":1.10}}}"#),
        (json!({"parse": ["/p/q", "/p"], "pick": ["/p/q"]}), r#"{"p":{"q":[2]}}"#),
        (json!({"unpack": "/z", "drop": ["/p", "/z/ip", "/n"]}), r#"{"z":{"email":"A"}}"#),
        (json!({"parse": ["/n", "/none"], "pick": ["/n"]}), r#"{"n":null}"#),
        (json!({"parse": "/p", "pick": ["/p/a"], "flatten": {"/p": "_", "/p/a": "."}}), r#"{"p_a.b":1.10}"#),
        (
            json!({"unpack": "/z", "pick": ["/z"], "rename": {"/z": "/y"}, "flatten": {"/y": {"separator": "-", "prefix": ""}},
                   "constant": {"/c": 1}}),
            r#"{"email":"A","ip":"1","c":1}"#,
        ),
    ];
    for (settings, wanted) in table {
        assert_eq!(mapped(settings.clone(), event).as_deref(), Some(wanted), "{settings}");
    }
    let hashed = mapped(
        json!({"unpack": "/z", "pick": "/z/email", "hash": "/z/email", "flatten": {"/z": "_"}}),
        event,
    );
    let wanted: String = Sha256::digest("a").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hashed.unwrap(), format!("{{\"z_email\":\"{wanted}\"}}"));
}

#[test]
fn a_step_that_cannot_be_done_refuses_the_event() {
    let event = r#"{"p":"{","o":{"a":1},"o_a":2}"#;
    for (settings, field, told) in [
        (json!({"parse": "/p"}), "/p", "JSON in a string (mapping)"),
        (json!({"unpack": "/p"}), "/p", "JSON in base64"),
        (json!({"flatten": {"/o": "_"}}), "/o", "`o_a` twice"),
    ] {
        let rejection = refused(settings, event);
        assert_eq!(rejection.field, field);
        assert!(rejection.to_string().contains(told), "{rejection}");
    }
}

#[test]
fn without_consent_nothing_is_delivered() {
    let table = [
        (json!("/c"), r#"{"c":true}"#, true),
        (json!("/c"), r#"{"c":["ads"]}"#, true),
        (json!("/c"), r#"{"c":"denied"}"#, false),
        (json!("/c"), "{}", false),
        (json!({"pointer": "/c"}), r#"{"c":1}"#, true),
        (json!({"pointer": "/c", "equals": "opt-in"}), r#"{"c":"opt-in"}"#, true),
        (json!({"pointer": "/c", "equals": "opt-in"}), r#"{"c":true}"#, false),
        (json!({"pointer": "/c", "equals": [2, "x"]}), r#"{"c":2.0}"#, true),
        (json!({"pointer": "/c", "equals": null}), "{}", false),
        (json!({"pointer": "/c/0", "equals": false}), r#"{"c":[false]}"#, true),
    ];
    for (consent, event, wanted) in table {
        let delivered = mapped(json!({"consent": consent}), event);
        assert_eq!(delivered.as_deref(), wanted.then_some(event), "{consent} {event}");
    }
    let dropped = mapped(json!({"consent": "/c", "drop": ["/c"]}), r#"{"c":true,"a":1}"#);
    assert_eq!(dropped.as_deref(), Some(r#"{"a":1}"#), "consent is asked first");
}

#[test]
fn nothing_to_do_copies_nothing() {
    let raw = Bytes::from_static(b" { \"a\" : 1.10, \"a\":2 } ");
    for settings in
        [json!({}), json!({"hash": [], "rename": {}}), json!({"consent": {"pointer": "/a", "equals": 2}})]
    {
        let mapping = Mapping::compile(&settings).unwrap();
        let Mapped::Deliver(data) = mapping.apply(&Object::parse(&raw).unwrap(), &raw) else {
            panic!("skipped")
        };
        assert_eq!((data.as_ptr(), data.len()), (raw.as_ptr(), raw.len()), "{settings}");
    }
}

#[test]
fn everything_wrong_is_told_with_its_key() {
    let settings = json!({
        "pik": ["/a"], "pick": ["a", 7], "drop": 3, "rename": {"x": "/y", "/m": 1, "/a": "/z", "/b": "/z"},
        "hash": ["/a/email", "/ok"], "constant": [1], "template": {"/t": "{", "/u": 5},
        "consent": {"pointr": "/c"}, "parse": [1], "unpack": "z", "hash_key": 7,
        "flatten": {"/f": 1, "/g": {"separator": "_", "prefx": ""}, "/a/h": "_", "i": "_", "/j": {"prefix": "x"}, "/k": {"separator": 1}}
    });
    let problems = Mapping::compile(&settings).unwrap_err();
    let mut found: Vec<&str> = problems.iter().map(|(key, _, _)| key.as_str()).collect();
    found.sort_unstable();
    let wanted = [
        "consent",
        "consent.pointr",
        "constant",
        "drop",
        "flatten./a/h",
        "flatten./f",
        "flatten./g.prefx",
        "flatten./j",
        "flatten./k",
        "flatten.i",
        "hash[0]",
        "hash_key",
        "parse[0]",
        "pick[0]",
        "pick[1]",
        "pik",
        "rename./b",
        "rename./m",
        "rename.x",
        "template./t",
        "template./u",
        "unpack",
    ];
    assert_eq!(found, wanted, "{problems:#?}");
    let fix = |key: &str| {
        problems.iter().find(|(known, _, _)| known == key).map(|(_, _, fix)| fix.as_str()).unwrap()
    };
    assert_eq!((fix("pik"), fix("hash[0]")), ("did you mean `pick`?", "write \"/z/email\""));
    assert!(problems.iter().all(|(_, message, fix)| !message.is_empty() && !fix.is_empty()));
    for wrong in [json!([]), json!({"consent": 1}), json!({"consent": "c"}), json!({"template": "x"})] {
        assert_eq!(Mapping::compile(&wrong).unwrap_err().len(), 1, "{wrong}");
    }
}

/// Values without big numbers, of few names, so that pointers hit.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[A-c é\"]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc0]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc0]", value(), 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn pointers() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("(/[abc01]){1,3}", 0..4)
}

/// `pick` and `drop`, read naively: every leaf and every container with its path, judged one by one.
fn filtered(value: &Value, path: &str, picks: Option<&[String]>, drops: &[String]) -> Option<Value> {
    let within = |list: &[String]| list.iter().any(|pointer| pointer == path);
    if within(drops) {
        return None;
    }
    let picks = picks.filter(|picks| !within(picks));
    let down = |token: String, value: &Value| filtered(value, &format!("{path}/{token}"), picks, drops);
    let kept = match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), down(key.clone(), value)?)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(
            items.iter().enumerate().filter_map(|(place, value)| down(place.to_string(), value)).collect(),
        ),
        other => return picks.is_none().then(|| other.clone()),
    };
    let empty =
        kept.as_object().map_or_else(|| kept.as_array().is_none_or(Vec::is_empty), |map| map.is_empty());
    (picks.is_none() || !empty || path.is_empty()).then_some(kept)
}

proptest! {
    #[test]
    fn picking_and_dropping_agree_with_the_naive_reading(event in object(), picks in pointers(), drops in pointers()) {
        let text = event.to_string();
        let picked = mapped(json!({"pick": picks}), &text).unwrap();
        let wanted = filtered(&event, "", Some(&picks), &[]).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&picked).unwrap(), wanted.clone());
        let both = mapped(json!({"pick": picks, "drop": drops}), &text).unwrap();
        let wanted = filtered(&wanted, "", None, &drops).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&both).unwrap(), wanted);
    }

    #[test]
    fn renames_agree_with_the_naive_reading(event in object(), from in "(/[abc0]){1,3}", to in "/[xyz]") {
        let renamed = mapped(json!({"rename": {from.clone(): to.clone()}}), &event.to_string()).unwrap();
        let mut wanted = event.clone();
        let (holder, last) = from.rsplit_once('/').unwrap();
        let taken = match wanted.pointer_mut(holder) {
            Some(Value::Object(members)) => members.remove(last),
            Some(Value::Array(items)) => last.parse().ok().filter(|place| *place < items.len()).map(|place: usize| items.remove(place)),
            _ => None,
        };
        if let Some(taken) = taken {
            wanted[&to[1..]] = taken;
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&renamed).unwrap(), wanted);
    }

    #[test]
    fn flattening_agrees_with_the_naive_reading(event in object()) {
        let flat = mapped(json!({"pick": ["/a"], "flatten": {"/a": {"separator": ".", "prefix": "a."}}}), &event.to_string());
        let mut wanted = serde_json::Map::new();
        if let Some(value) = event.get("a") {
            naive_leaves("a", value, &mut wanted);
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&flat.unwrap()).unwrap(), Value::Object(wanted));
    }

    #[test]
    fn any_mapping_gives_json_with_each_key_once_and_leaves_the_rest_alone(
        event in object(), drops in pointers(), hash in pointers(),
        rename in prop::collection::btree_map("(/[abc01]){1,3}", "(/[abcx01-]){1,3}", 0..3),
        constant in prop::collection::btree_map("(/[abcx01]){1,3}", value(), 0..3),
        flatten in prop::collection::btree_map("(/[abc01]){1,2}", "[_.]{1}", 0..2),
    ) {
        let settings = json!({"drop": drops, "hash": hash, "rename": rename, "constant": constant, "flatten": flatten});
        prop_assume!(Mapping::compile(&settings).is_ok());
        let body = event.to_string();
        let untouched = r#""untouched": [1.10, 1180591620717411303424, "\ud800" , {"\u0061":-0.0e5}]"#;
        let comma = if body == "{}" { "" } else { "," };
        let text = format!("{{{untouched}{comma}{}", &body[1..]);
        let done = mapped(settings, &text).unwrap();
        prop_assert!(done.contains(untouched.split_once(": ").unwrap().1), "{}", done);
        let lossy = done.replace("\\ud800", "");
        prop_assert!(serde_json::from_str::<Value>(&lossy).is_ok(), "{}", done);
        prop_assert!(keys_once(&lossy), "{}", done);
    }
}

/// Every value inside an object that is no object itself, or an empty one, under its path.
fn naive_leaves(path: &str, value: &Value, found: &mut serde_json::Map<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| naive_leaves(&format!("{path}.{name}"), value, found));
        }
        other => _ = found.insert(path.to_owned(), other.clone()),
    }
}

/// Whether no object anywhere in the text repeats a key.
fn keys_once(text: &str) -> bool {
    let children: Vec<&str> = match Kind::of(text) {
        Kind::Object => {
            let members = crate::json::pairs(text).unwrap();
            let names: std::collections::HashSet<_> = members.iter().map(|(key, _)| decode(key)).collect();
            if names.len() != members.len() {
                return false;
            }
            members.into_iter().map(|(_, value)| value).collect()
        }
        Kind::Array => {
            let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).unwrap();
            items.into_iter().map(|item| item.get()).collect()
        }
        _ => return true,
    };
    children.into_iter().all(keys_once)
}
