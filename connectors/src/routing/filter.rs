//! A choice of events by the conditions of a rule, for commands: written short on a command line, or as a rule is.

use std::fmt;
use std::str::FromStr;

use serde_json::json;
use serde_json::value::RawValue;

use super::Rule;
use super::parse::parse;
use crate::json::Object;

/// What a rule's conditions are read as being for; never shown.
const NAME: &str = "filter";

/// Some events: `Order *` (a pattern of event names), `/context/consent=true` (what a JSON pointer leads to: JSON, or else a
/// text), or the conditions of a rule, `{"enabled_events": ["Order *"], "where": {"/amount": [1, 2]}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    rule: Rule,
}

impl Filter {
    /// Whether an event called `name` of the key `key` is among them. What the event itself wishes for is not asked.
    pub fn admits(&self, event: &Object<'_>, name: Option<&str>, key: &str) -> bool {
        self.rule.admits(event, name, key)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = as_rule(text.trim())?;
        let (mut rules, _) = parse(&format!("[{rule}]")).map_err(|problems| {
            let told = problems.into_iter().map(|problem| format!("{} ({})", problem.message, problem.fix));
            told.collect::<Vec<_>>().join("; ")
        })?;
        let named = rules.remove(NAME).map(|named| named.rules).unwrap_or_default();
        match named.into_iter().next() {
            Some(rule) => Ok(Filter { text: text.trim().to_owned(), rule }),
            None => Err("a filter names no destination".to_owned()),
        }
    }
}

/// The filter in the form of a rule.
fn as_rule(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty: write a pattern of event names, or /pointer=value".to_owned());
    }
    if let Some(rest) = text.strip_prefix('{') {
        let more = if rest.trim_start().starts_with('}') { "" } else { "," };
        return Ok(format!("{{\"destination_name\":\"{NAME}\"{more}{rest}"));
    }
    if !text.starts_with('/') {
        return Ok(json!({"destination_name": NAME, "enabled_events": [text]}).to_string());
    }
    let Some((pointer, value)) = text.split_once('=') else {
        return Err(format!("`{text}` names no value: write it like /context/consent=true"));
    };
    // As it stands: a number keeps its digits.
    let json = serde_json::from_str::<&RawValue>(value).map(|json| json.get().to_owned());
    let value = json.unwrap_or_else(|_| json!(value).to_string());
    Ok(format!("{{\"destination_name\":\"{NAME}\",\"where\":{{{}:{value}}}}}", json!(pointer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(filter: &str, event: &str, name: &str) -> bool {
        let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
        filter.admits(&Object::parse(event.as_bytes()).unwrap(), Some(name), "key")
    }

    #[test]
    fn events_are_chosen_by_name_and_by_value() {
        for (filter, event, name, wanted) in [
            ("Order *", "{}", "Order Paid", true),
            ("Order *", "{}", "Page", false),
            ("*", "{}", "Page", true),
            ("/context/consent=true", r#"{"context":{"consent":true}}"#, "x", true),
            ("/context/consent=true", r#"{"context":{"consent":"true"}}"#, "x", false),
            ("/userId=ann", r#"{"userId":"ann"}"#, "x", true),
            ("/userId=ann = bob", r#"{"userId":"ann = bob"}"#, "x", true),
            ("/userId=7", r#"{"userId":7}"#, "x", true),
            ("/a=[1, 2]", r#"{"a":2}"#, "x", true),
            ("/a=null", "{}", "x", true),
            (r#"{"enabled_events": ["a"], "where": {"/b": 1}}"#, r#"{"b":1}"#, "a", true),
            (r#"{"enabled_events": ["a"], "where": {"/b": 1}}"#, r#"{"b":1}"#, "b", false),
            ("{}", "{}", "x", true),
            // Its wish not to be delivered is about deliveries.
            ("x", r#"{"integrations":{"All":false}}"#, "x", true),
        ] {
            assert_eq!(admits(filter, event, name), wanted, "{filter} {event} {name}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_told() {
        for (filter, why) in [
            ("", "empty"),
            ("/a", "names no value"),
            ("{\"were\": 1}", "unknown key `were`"),
            ("{\"destination_name\": \"x\"}", "written twice"),
            ("{\"a\"", "not JSON"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err();
            assert!(error.contains(why), "{filter}: {error}");
        }
        assert_eq!(" Order * ".parse::<Filter>().unwrap().to_string(), "Order *");
    }
}
