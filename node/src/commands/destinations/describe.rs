//! `destinations describe`: every setting of a kind, with what holds without it.

use serde_json::{Value, json};
use shardmill_connectors::destinations::registry::{Kind, RetryDefaults};
use shardmill_connectors::destinations::settings::Known;

use crate::config::Period;
use crate::output;

/// The settings that every destination has; `node/src/config/README.md` tells more.
const COMMON: &[Known] = &[
    Known::required("kind", "which connector delivers"),
    Known::new(
        "rate",
        "the third party's",
        "how much in a period over all nodes, as \"100/s\" or \"100 requests/10s\"",
    ),
    Known::new("retry", "", "how failures are repeated"),
    Known::new(
        "park_after",
        "\"30s\"",
        "how long a key may fail, while others get through, before it is parked",
    ),
    Known::new("batch", "the kind's", "events of a batch at most, 1 to 10,000"),
    Known::new("batch_bytes", "the kind's", "bytes of a batch at most"),
    Known::new("batch_age", "the kind's", "how long an incomplete batch waits"),
    Known::new("concurrency", "the kind's", "requests under way at a time and node, 1 to 256"),
    Known::new("key", "the partition key", "JSON pointers to what order is kept by; the first value counts"),
    Known::new(
        "start",
        "\"lake\"",
        "where a new destination begins: with the lake, \"trim_horizon\", or a time",
    ),
    Known::new("on_outage", "\"hold\"", "\"dead_letter\": events are given up when their attempts are"),
    Known::new("on_unknown", "\"repeat\"", "\"dead_letter\": what may have been taken is not sent again"),
    Known::new("map", "everything as it is", "what the destination gets to see of an event"),
];

/// A kind with all that it may be told.
pub(super) fn describe(kind: &Kind) -> Value {
    let setting = |known: &Known| match known.key {
        "retry" => json!({"key": known.key, "default": retry(kind.retry), "about": known.about}),
        _ => json!({"key": known.key, "default": known.default, "about": known.about}),
    };
    json!({
        "kind": kind.name,
        "summary": kind.summary,
        "settings": kind.settings.iter().chain(kind.shared).map(setting).collect::<Vec<_>>(),
        "common": COMMON.iter().map(setting).collect::<Vec<_>>(),
    })
}

fn retry(defaults: RetryDefaults) -> String {
    let RetryDefaults { base, max, attempts, max_age } = defaults;
    let (base, max, max_age) = (Period(base), Period(max), Period(max_age));
    format!("{{ base = \"{base}\", max = \"{max}\", attempts = {attempts}, max_age = \"{max_age}\" }}")
}

/// A description for people.
pub(super) fn told(described: &Value) -> String {
    let table = |key: &str| output::value(&described[key], &["key", "default", "about"]);
    let text = |key: &str| described[key].as_str().unwrap_or_default();
    format!(
        "{}: {}\n\n{}\nas every destination:\n\n{}",
        text("kind"),
        text("summary"),
        table("settings"),
        table("common")
    )
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::destinations::registry;

    use super::super::known;
    use super::*;

    #[test]
    fn every_kind_is_described() {
        for kind in registry::KINDS {
            let described = describe(kind);
            let keys = |list: &str| -> Vec<String> {
                described[list].as_array().unwrap().iter().map(|known| output::cell(&known["key"])).collect()
            };
            assert!(!keys("settings").is_empty(), "{}", kind.name);
            assert!(keys("common").contains(&"on_unknown".to_owned()));
            assert!(told(&described).contains(kind.summary), "{}", kind.name);
        }
        let (hook, file) = (describe(known("webhook").unwrap()), describe(known("file").unwrap()));
        assert!(hook.to_string().contains("allow_private") && !file.to_string().contains("allow_private"));
        let default = output::cell(&hook["common"][2]["default"]);
        assert!(default.starts_with("{ base = \"1s\", max = \"15m\", attempts = 100, "), "{default}");
    }
}
