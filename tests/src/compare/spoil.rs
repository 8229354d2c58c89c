//! What each side really checks: every rule of a schema is broken once, by one event, and each side is shown that.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::events::Events;
use super::turns::Side;

/// Events in a file; the last one is broken.
const AROUND: usize = 20;

/// A file with an event that breaks one rule.
#[derive(Debug)]
pub(super) struct Spoilt {
    /// The rule.
    pub(super) rule: &'static str,
    pub(super) file: PathBuf,
}

/// Writes such a file for every kind of rule in the schema of `events`.
pub(super) fn files(events: &Events, folder: &Path) -> Result<Vec<Spoilt>, String> {
    let schema: Value = serde_json::from_str(events.schema.text()).map_err(|error| error.to_string())?;
    let around = events.first(AROUND)?;
    let mut spoilt: Vec<Spoilt> = Vec::new();
    for (member, rules) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array().is_some_and(|list| list.contains(&json!(member)));
        for (rule, value) in breaks(rules, required) {
            if spoilt.iter().any(|known| known.rule == rule) {
                continue;
            }
            let file = folder.join(format!("{}-{rule}.ndjson", events.name));
            write(&file, &around, member, value)?;
            spoilt.push(Spoilt { rule, file });
        }
    }
    Ok(spoilt)
}

/// Values that break the rules of a property; `None` leaves it out.
fn breaks(rules: &Value, required: bool) -> Vec<(&'static str, Option<Value>)> {
    let types: Vec<&str> = match &rules["type"] {
        Value::String(one) => vec![one.as_str()],
        several => several.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let only =
        |kind: &str| types.iter().all(|known| *known == kind || *known == "null") && types.contains(&kind);
    let mut broken: Vec<(&'static str, Option<Value>)> = Vec::new();
    let mut add = |rule, value| broken.push((rule, Some(value)));
    if only("string") && rules["format"] == "date-time" {
        add("date-time", json!("yesterday"));
    } else if only("string") && rules["enum"].is_null() && rules["format"].is_null() {
        add("string", json!(123_456_789));
    }
    if only("object") {
        add("object", json!("none"));
    }
    if only("integer") {
        add("integer", json!(200.5));
    }
    if only("number") {
        add("number", json!("many"));
    }
    if rules["enum"].is_array() {
        add("enum", json!("none of them"));
    }
    if let Some(least) = rules["minimum"].as_i64() {
        add("minimum", json!(least - 1));
    }
    if let Some(most) = rules["maximum"].as_i64() {
        add("maximum", json!(most + 1));
    }
    if rules["minLength"].as_u64() > Some(0) {
        add("minLength", json!(""));
    }
    if let Some(longest) = rules["maxLength"].as_u64() {
        add("maxLength", json!("x".repeat(usize::try_from(longest).unwrap_or(0) + 1)));
    }
    if required && !types.contains(&"null") {
        broken.push(("required", None));
    }
    broken
}

fn write(file: &Path, around: &[Value], member: &str, value: Option<Value>) -> Result<(), String> {
    let mut events = around.to_vec();
    if let Some(last) = events.last_mut().and_then(Value::as_object_mut) {
        match value {
            Some(value) => last.insert(member.to_owned(), value),
            None => last.remove(member),
        };
    }
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Shows every side every broken rule; `of` makes the side that is shown a file. Which rules each one refused; the first side
/// has to refuse all.
pub(super) async fn show(
    spoilt: &[Spoilt],
    of: impl Fn(&Path) -> Vec<Box<dyn Side>>,
) -> Result<Value, String> {
    let mut refused: Map<String, Value> = Map::new();
    for Spoilt { rule, file } in spoilt {
        for (place, side) in of(file).into_iter().enumerate() {
            let refuses = side.run().await.is_err();
            if place == 0 && !refuses {
                return Err(format!("{} took an event that breaks `{rule}`", side.name()));
            }
            let list = refused.entry(side.name().to_owned()).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut().filter(|_| refuses) {
                list.push(json!(rule));
            }
        }
    }
    let rules: Vec<&str> = spoilt.iter().map(|spoilt| spoilt.rule).collect();
    Ok(json!({"rules": rules, "refused_by": refused}))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shardmill_connectors::json::Object;
    use shardmill_connectors::schema::TableSchema;

    use super::*;
    use crate::compare::plan::Plan;
    use crate::harness::peers;

    #[test]
    fn each_file_breaks_a_rule_of_its_schema_by_its_last_event() {
        let folder = tempfile::tempdir().unwrap();
        let plan =
            Plan { events: 200, rounds: 1, segments: 1, seed: 1, only: vec![], data: None, peers: vec![] };
        let mut events = Events::generate(&plan, folder.path()).unwrap();
        let schema = events.schema.clone();
        check(&events, &schema, folder.path(), &["string", "date-time", "object"]);

        let text = std::fs::read_to_string(peers::script("schemas/apache.schema.json")).unwrap();
        let event = r#"{"ip":"1.2.3.4","ts":"17/May/2015:10:05:03 +0000","method":"GET","path":"/","proto":"HTTP/1.1","status":200}"#;
        std::fs::write(&events.file, format!("{event}\n{event}\n")).unwrap();
        events.schema = Arc::new(TableSchema::load(&text).unwrap());
        let schema = events.schema.clone();
        let rules = ["minLength", "maxLength", "required", "enum", "integer", "minimum", "maximum", "string"];
        check(&events, &schema, folder.path(), &rules);
    }

    fn check(events: &Events, schema: &TableSchema, folder: &Path, wanted: &[&str]) {
        let spoilt = files(events, folder).unwrap();
        for rule in wanted {
            assert!(spoilt.iter().any(|known| known.rule == *rule), "{rule}: {spoilt:?}");
        }
        for Spoilt { rule, file } in spoilt {
            let text = std::fs::read_to_string(file).unwrap();
            let taken: Vec<bool> = text
                .lines()
                .map(|line| schema.check(&Object::parse(line.as_bytes()).unwrap()).is_ok())
                .collect();
            let (last, others) = taken.split_last().unwrap();
            assert!(!last && others.iter().all(|taken| *taken), "{rule}: {text}");
        }
    }
}
