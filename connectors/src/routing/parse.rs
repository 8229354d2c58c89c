//! From the text of a list of rules to rules, with everything that is wrong in it and the line where it is.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::commas::without_trailing_commas;
use super::patterns::Patterns;
use super::{Condition, DestinationArn, Named, Rule, RuleProblem};
use crate::json::{Pointer, pairs};
use crate::nearest::advice;
use crate::schema::constant::Constant;
use crate::schema::text::decode;
use crate::schema::types::Kind;

/// What a rule may say.
const KEYS: [&str; 6] =
    ["destination_name", "enabled_events", "disabled_events", "where", "sample", "destination_arn"];

/// How deep a value may be that events are compared with.
const DEEPEST: usize = 64;

/// What a list holds: the rules by their destination, and the ARNs in the order of the text.
type List = (HashMap<String, Named>, Vec<DestinationArn>);

/// Reads the list, or reports everything that is wrong with it.
pub(super) fn parse(text: &str) -> Result<List, Vec<RuleProblem>> {
    let text = without_trailing_commas(text);
    let list: Vec<&RawValue> = serde_json::from_str(&text).map_err(|error| {
        let (message, fix) = match error.is_data() {
            true => ("the rules are not a JSON array".to_owned(), "write [{\"destination_name\": …}]"),
            false => (format!("not JSON: {error}"), "mend the JSON"),
        };
        vec![RuleProblem { line: error.line().max(1), rule: None, message, fix: fix.to_owned() }]
    })?;
    let mut reader = Reader { text: &text, rule: 0, problems: Vec::new() };
    let (mut by_destination, mut arns) = (HashMap::<String, Named>::new(), Vec::new());
    for (place, raw) in list.into_iter().enumerate() {
        reader.rule = place;
        if let Some((name, rule, arn)) = reader.rule(raw.get()) {
            let line = reader.line(raw.get());
            arns.extend(arn.map(|arn| DestinationArn { destination: name.clone(), arn, line, rule: place }));
            let named = by_destination.entry(name).or_insert_with(|| Named { line, rules: Vec::new() });
            named.rules.push(rule);
        }
    }
    let Reader { mut problems, .. } = reader;
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok((by_destination, arns)) } else { Err(problems) }
}

/// The text being read, and what was found wrong so far. Slices of the text tell their line by their address.
struct Reader<'t> {
    text: &'t str,
    rule: usize,
    problems: Vec<RuleProblem>,
}

impl<'t> Reader<'t> {
    fn line(&self, slice: &str) -> usize {
        let offset = (slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn report(&mut self, slice: &str, message: impl Into<String>, fix: impl Into<String>) {
        let (message, fix) = (message.into(), fix.into());
        self.problems.push(RuleProblem { line: self.line(slice), rule: Some(self.rule), message, fix });
    }

    /// One rule with the destination it is for, and its ARN. What is wrong is reported; what is returned then is of no use.
    fn rule(&mut self, raw: &'t str) -> Option<(String, Rule, Option<String>)> {
        let Some(members) = pairs(raw) else {
            let message = format!("rule {} is not an object", self.rule);
            self.report(raw, message, "write {\"destination_name\": …}");
            return None;
        };
        let (mut name, mut rule, mut arn, mut seen) = (None, Rule::default(), None, Vec::new());
        for (key, value) in members {
            let Some(known) = self.key(key, &mut seen) else { continue };
            match known {
                "destination_name" => name = self.string(value, known),
                "enabled_events" => rule.enabled = Some(self.patterns(value, known)),
                "disabled_events" => rule.disabled = self.patterns(value, known),
                "where" => rule.conditions = self.conditions(value),
                "sample" => rule.sample = self.share(value),
                // Whether it is one is asked when nothing else says what the destination is.
                _ => arn = text(value),
            }
        }
        if !seen.contains(&KEYS[0]) {
            self.report(raw, "`destination_name` is missing", "add \"destination_name\": \"…\"");
        }
        Some((name?, rule, arn))
    }

    /// The key, if it is known and new.
    fn key(&mut self, raw: &'t str, seen: &mut Vec<&'static str>) -> Option<&'static str> {
        let name = decode(raw).unwrap_or_default();
        let Some(known) = KEYS.into_iter().find(|known| *known == name) else {
            self.report(raw, format!("unknown key `{name}`"), advice(&name, &KEYS));
            return None;
        };
        if seen.contains(&known) {
            self.report(raw, format!("`{known}` is written twice"), "keep one of them");
            return None;
        }
        seen.push(known);
        Some(known)
    }

    fn string(&mut self, raw: &'t str, key: &str) -> Option<String> {
        let text = text(raw);
        if text.is_none() {
            self.report(raw, format!("`{key}` must be a text, and not empty"), "put it in quotes");
        }
        text
    }

    fn patterns(&mut self, raw: &'t str, key: &str) -> Patterns {
        let Some(items) = elements(raw) else {
            self.report(raw, format!("`{key}` is not a list"), "write it like [\"page_view\", \"Order *\"]");
            return Patterns::default();
        };
        let texts: Vec<String> = items.into_iter().filter_map(|item| self.string(item, key)).collect();
        Patterns::of(texts.iter().map(String::as_str))
    }

    fn conditions(&mut self, raw: &'t str) -> Vec<Condition> {
        let Some(members) = pairs(raw) else {
            self.report(raw, "`where` is not an object", "write it like {\"/context/consent\": true}");
            return Vec::new();
        };
        let mut conditions = Vec::new();
        for (key, value) in members {
            let pointer = Pointer::parse(&decode(key).unwrap_or_default());
            let wanted = self.wanted(value);
            match pointer {
                Ok(pointer) => conditions.push(Condition { pointer, wanted }),
                Err(no) => self.report(key, no.message, no.fix),
            }
        }
        conditions
    }

    /// A value, or a list of values of which any will do.
    fn wanted(&mut self, raw: &'t str) -> Vec<Constant> {
        let items = elements(raw).unwrap_or_else(|| vec![raw]);
        if items.is_empty() {
            self.report(raw, "an empty list admits nothing", "list the values that are wanted");
        }
        let mut wanted = Vec::new();
        for item in items {
            let value = serde_json::from_str::<&RawValue>(item).ok();
            match value.and_then(|value| Constant::read(value, DEEPEST)) {
                Some(constant) => wanted.push(constant),
                None => self.report(item, "events cannot be compared with this value", "write a plainer one"),
            }
        }
        wanted
    }

    fn share(&mut self, raw: &'t str) -> Option<f64> {
        let share = raw.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.report(raw, "`sample` is not a share", "write a number from 0 to 1, like 0.1");
        }
        share
    }
}

/// A text that is not empty.
fn text(raw: &str) -> Option<String> {
    let text = if Kind::of(raw) == Kind::String { decode(raw) } else { None };
    text.filter(|text| !text.is_empty()).map(|text| text.into_owned())
}

/// The elements of an array, or `None` when it is none.
fn elements(raw: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}
