//! Reading a destination's settings: each key once, every problem reported with what would mend it.

use std::time::Duration;

use serde_json::{Map, Value};

use super::hide::Secret;
use super::{aws, endpoint};
use crate::nearest::advice;
use crate::units::{Period, Size};

/// What is wrong with one setting of a destination. Never shows a value: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The setting, dotted where it is within a table; empty for the destination as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    pub fix: String,
}

impl SettingProblem {
    /// A problem with the setting `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        SettingProblem { key: key.into(), message: message.into(), fix: fix.into() }
    }
}

/// A setting that a kind knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its name, dotted where it is within a table.
    pub key: &'static str,
    /// What holds when it is not there; `required` where something must be.
    pub default: &'static str,
    /// What it is.
    pub about: &'static str,
}

impl Known {
    /// A setting with what holds without it.
    pub const fn new(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Known { key, default, about }
    }

    /// A setting that must be there.
    pub const fn required(key: &'static str, about: &'static str) -> Self {
        Known { key, default: "required", about }
    }
}

/// A table of settings while it is read. What nobody asked for by the end is unknown.
pub struct Settings {
    prefix: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    described: &'static [Known],
    problems: Vec<SettingProblem>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Settings {
    /// Starts to read a destination's settings, which are `described` so. To read one that is not is a bug, and reported.
    pub fn new(values: Map<String, Value>, described: &'static [Known]) -> Self {
        Settings { prefix: String::new(), values, known: Vec::new(), described, problems: Vec::new() }
    }

    /// Reports a problem with `key`.
    pub fn report(&mut self, key: &str, message: impl Into<String>, fix: impl Into<String>) {
        let key = format!("{}{key}", self.prefix);
        self.problems.push(SettingProblem { key, message: message.into(), fix: fix.into() });
    }

    /// The value under `key`, whatever it is.
    pub fn value(&mut self, key: &'static str) -> Option<Value> {
        let name = format!("{}{key}", self.prefix);
        let mut described = self.described.iter().chain(endpoint::SETTINGS).chain(aws::SETTINGS);
        if !described.any(|known| known.key == name) {
            self.report(key, "is read and not described", "this is a bug of shardmill: report it");
        }
        self.known.push(key);
        self.values.remove(key)
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => {
                self.report(key, format!("a text is wanted, not {}", kind(&other)), "write it in quotes");
                None
            }
        }
    }

    /// A secret text.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    /// A text that must be there; `example` shows one.
    pub fn required(&mut self, key: &'static str, example: &str) -> Option<String> {
        let there = self.has(key);
        let text = self.text(key);
        if !there || text.as_deref() == Some("") {
            self.report(key, "is missing", format!("add {key} = \"{example}\""));
        }
        text.filter(|text| !text.is_empty())
    }

    /// `true` or `false`; `false` when it is not there.
    pub fn flag(&mut self, key: &'static str) -> bool {
        match self.value(key) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.report(key, format!("a flag is wanted, not {}", kind(&other)), "write true or false");
                false
            }
        }
    }

    /// One of `names`; the first when it is not there.
    pub fn choice(&mut self, key: &'static str, names: &[&'static str]) -> &'static str {
        let first = names.first().copied().unwrap_or_default();
        let Some(text) = self.text(key) else { return first };
        let found = names.iter().find(|name| name.eq_ignore_ascii_case(&text));
        if found.is_none() {
            self.report(key, "is none of the values it may have", format!("write {}", either(names)));
        }
        found.copied().unwrap_or(first)
    }

    /// A duration, written as `30s`, `500ms` or `2m`.
    pub fn period(&mut self, key: &'static str, otherwise: Duration) -> Duration {
        let Some(text) = self.text(key) else { return otherwise };
        let period = text.parse().ok().map(|period: Period| period.0).filter(|period| !period.is_zero());
        if period.is_none() {
            self.report(key, "is not a duration above zero", "write it as \"30s\", \"500ms\" or \"2m\"");
        }
        period.unwrap_or(otherwise)
    }

    /// A number of bytes, written as `64MiB`.
    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let size = text.parse().ok().map(|size: Size| size.0).filter(|size| *size > 0);
        if size.is_none() {
            self.report(key, "is not a number of bytes above zero", "write it as \"64MiB\" or \"500KB\"");
        }
        size
    }

    /// A table within; its problems come back with [`Settings::absorb`].
    pub fn table(&mut self, key: &'static str) -> Option<Settings> {
        match self.value(key)? {
            Value::Object(values) => Some(Settings {
                prefix: format!("{}{key}.", self.prefix),
                ..Settings::new(values, self.described)
            }),
            other => {
                self.report(
                    key,
                    format!("a table is wanted, not {}", kind(&other)),
                    "write it as { name = … }",
                );
                None
            }
        }
    }

    /// What is left in the table, for tables with free names.
    pub fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.values)
    }

    /// Takes over the problems of a table within, unknown keys included.
    pub fn absorb(&mut self, table: Settings) {
        self.problems.extend(table.finish());
    }

    /// Every problem, unknown keys included; empty when all is well.
    pub fn finish(mut self) -> Vec<SettingProblem> {
        let unknown: Vec<String> = self.values.keys().cloned().collect();
        for key in unknown {
            let fix = advice(&key, &self.known);
            self.report(&key, "unknown setting", fix);
        }
        self.problems
    }
}

fn either(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 13] =
        ["text", "flag", "time", "size", "choice", "table", "table.in", "flat", "needed", "a", "f", "t", "s"];
    const DESCRIBED: &[Known] = &{
        let mut known = [Known::new("c", "", ""); 14];
        let mut at = 0;
        while at < NAMES.len() {
            known[at] = Known::new(NAMES[at], "", "");
            at += 1;
        }
        known
    };

    fn settings(json: &str) -> Settings {
        Settings::new(serde_json::from_str(json).unwrap(), DESCRIBED)
    }

    #[test]
    fn a_setting_that_nobody_described_is_a_bug() {
        let mut settings = settings("{}");
        settings.text("secretly");
        assert_eq!(settings.finish()[0].message, "is read and not described");
    }

    #[test]
    fn every_problem_is_told_and_no_value_shown() {
        let mut settings = settings(
            r#"{"text":1,"flag":"s3cr3t","time":"s3cr3t","size":"s3cr3t","choice":"s3cr3t",
                "table":{"in":2,"other":"s3cr3t"},"flat":"s3cr3t","tmeout":"s3cr3t"}"#,
        );
        assert_eq!(settings.text("text"), None);
        assert!(!settings.flag("flag"));
        assert_eq!(settings.period("time", Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(settings.size("size"), None);
        assert_eq!(settings.choice("choice", &["one", "two"]), "one");
        let mut table = settings.table("table").unwrap();
        assert_eq!(table.text("in"), None);
        settings.absorb(table);
        assert!(settings.table("flat").is_none());
        assert_eq!(settings.required("needed", "example"), None);
        settings.period("timeout", Duration::ZERO);
        assert!(!format!("{settings:?}").contains("s3cr3t"));
        let problems = settings.finish();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        let wanted =
            ["text", "flag", "time", "size", "choice", "table.in", "table.other", "flat", "needed", "tmeout"];
        assert_eq!(keys, wanted);
        assert_eq!(problems[9].fix, "did you mean `timeout`?");
        assert_eq!(problems[8].fix, "add needed = \"example\"");
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
    }

    #[test]
    fn good_settings_have_no_problem() {
        let mut settings = settings(r#"{"a":"x","f":true,"t":"2s","s":"1KiB","c":"TWO"}"#);
        assert_eq!(settings.required("a", "").as_deref(), Some("x"));
        assert!(settings.flag("f"));
        assert_eq!(settings.period("t", Duration::ZERO), Duration::from_secs(2));
        assert_eq!(settings.size("s"), Some(1024));
        assert_eq!(settings.choice("c", &["one", "two"]), "two");
        assert_eq!(settings.finish(), []);
    }
}
