//! The events of the storm, and the three versions of their schema.

use serde_json::{Map, Value, json};

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The second version of the schema takes it.
    Early,
    /// An edit mends it.
    Torn,
    /// Nothing mends it.
    Hopeless,
}

/// The flaw of the event with this index.
pub(super) fn flaw(index: u64) -> Option<Flaw> {
    match (index % 20, index % 50) {
        (3, _) => Some(Flaw::Early),
        (8, _) => Some(Flaw::Torn),
        (_, 17) => Some(Flaw::Hopeless),
        _ => None,
    }
}

/// Gives an event what the schema speaks of, and its flaw.
pub(super) fn shape(index: u64, event: &mut Map<String, Value>) {
    let flaw = flaw(index);
    let name = match flaw {
        Some(Flaw::Torn) => "Torn",
        Some(Flaw::Hopeless) => "Hopeless",
        _ => "Ordered",
    };
    let torn = matches!(flaw, Some(Flaw::Torn | Flaw::Hopeless));
    event.insert("event".into(), name.into());
    event.insert("code".into(), if torn { json!("torn") } else { json!(index) });
    event.insert("amount".into(), if flaw == Some(Flaw::Early) { json!(1.5) } else { json!(index) });
    event.insert("coupon".into(), format!("c{}", index % 7).into());
    event.insert("channel".into(), "web".into());
}

/// What mends a torn event.
pub(super) const PATCH: &str = r#"[{"op": "replace", "path": "/code", "value": 7}]"#;

/// The schema in its version 1, 2 or 3: each has an optional column more than the one before, the second a wider one, too.
pub(super) fn schema(version: u64) -> Value {
    let mut properties = json!({
        "messageId": {"type": "string", "x-column": "message_id"},
        "userId": {"type": "string", "x-column": "user_id"},
        "timestamp": {"type": "string", "format": "date-time"},
        "code": {"type": "integer"},
        "amount": {"type": if version < 2 { "integer" } else { "number" }},
    });
    for (column, since) in [("coupon", 2), ("channel", 3)] {
        if version >= since {
            properties[column] = json!({"type": "string"});
        }
    }
    json!({"$id": "storm", "type": "object", "required": ["messageId", "code"], "properties": properties})
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::schema::TableSchema;

    use super::*;

    #[test]
    fn the_schema_only_grows() {
        let text = |version| schema(version).to_string();
        for version in 1..=3 {
            assert!(TableSchema::load(&text(version)).is_ok(), "{version}");
        }
        for version in 1..=2 {
            let grown = schema(version + 1)["properties"].as_object().unwrap().len();
            assert_eq!(grown, schema(version)["properties"].as_object().unwrap().len() + 1);
        }
    }

    #[test]
    fn every_flaw_is_there() {
        for wanted in [Flaw::Early, Flaw::Torn, Flaw::Hopeless] {
            assert!((0..100).filter(|index| flaw(*index) == Some(wanted)).count() >= 2, "{wanted:?}");
        }
        let mut event = Map::new();
        shape(8, &mut event);
        assert_eq!((&event["event"], &event["code"]), (&json!("Torn"), &json!("torn")));
        shape(3, &mut event);
        assert_eq!((&event["amount"], &event["code"]), (&json!(1.5), &json!(3)));
    }
}
