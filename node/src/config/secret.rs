//! Values that never appear in output: single secrets, and the free settings of destinations.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// What is printed in place of a secret.
const HIDDEN: &str = "***";

/// A secret text. Only [`Secret::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends or compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its duration how much of `other` was right.
    pub fn is(&self, other: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), other.as_bytes());
        let differing = a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y));
        differing == 0 && a.len() == b.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// A free table of settings, read by whoever it is for. Printing it hides what came from the environment and what is
/// named like a secret.
#[derive(Clone, PartialEq, Default)]
pub struct Settings {
    values: Map<String, Value>,
    hidden: BTreeSet<String>,
}

/// Parts of a key that tell that its value is secret.
const SECRET_WORDS: [&str; 6] = ["token", "secret", "password", "key", "credential", "auth"];

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
    let key = key.to_lowercase();
    match value {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), redact(name, value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| redact(&key, item)).collect()),
        _ if SECRET_WORDS.iter().any(|word| key.contains(word)) => HIDDEN.into(),
        Value::String(text) => Value::String(without_password(text)),
        other => other.clone(),
    }
}

/// A URL's `user:password@` part replaced.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_ends = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_ends].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", &rest[at..]),
        None => text.to_owned(),
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
    fn secrets_are_never_shown() {
        let secret = Secret::new("abc");
        assert_eq!(
            format!("{secret:?} {secret} {}", serde_json::to_string(&secret).unwrap()),
            "*** *** \"***\""
        );
        assert!(secret.is("abc") && !secret.is("abd") && !secret.is("ab") && !secret.is("abcd"));
    }

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
