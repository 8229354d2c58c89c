//! The free settings of destinations, whose secrets never appear in output.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use shardmill_connectors::destinations::hide::{self, HIDDEN};

/// A free table of settings, read by whoever it is for. Printing it hides what came from the environment and what is
/// named like a secret.
#[derive(Clone, PartialEq, Default)]
pub struct Settings {
    values: Map<String, Value>,
    hidden: BTreeSet<String>,
}

impl Settings {
    /// Settings of which the top-level keys in `hidden` are secret whatever they are called.
    pub(super) fn new(values: Map<String, Value>, hidden: BTreeSet<String>) -> Self {
        Settings { values, hidden }
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The raw values, secrets included, for the component they are for.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The same with one more setting, which is no secret.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The settings as the type of the component they are for.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.values.clone()))
    }

    fn redacted(&self) -> Value {
        let shown = |(key, value): (&String, &Value)| {
            let value = if self.hidden.contains(key) { HIDDEN.into() } else { redact(key, value) };
            (key.clone(), value)
        };
        Value::Object(self.values.iter().map(shown).collect())
    }
}

fn redact(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), redact(name, value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| redact(key, item)).collect()),
        _ if hide::is_secret_name(key) => HIDDEN.into(),
        Value::String(text) => Value::String(hide::text(text)),
        other => other.clone(),
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.redacted())
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_hide_what_looks_secret() {
        let values = serde_json::json!({
            "url": "http://me:pw@host/in", "api_key": "k", "plain": 1, "from_env": "e",
            "headers": {"Authorization": "Bearer x", "x-team": "t"}
        });
        let settings = Settings::new(values.as_object().unwrap().clone(), ["from_env".to_owned()].into());
        let shown = serde_json::to_value(&settings).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "url": "http://***@host/in", "api_key": "***", "plain": 1, "from_env": "***",
                "headers": {"Authorization": "***", "x-team": "t"}
            })
        );
        assert_eq!(settings.get("api_key").unwrap(), "k");
        assert_eq!(settings.values()["from_env"], "e");
    }
}
