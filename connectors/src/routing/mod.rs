//! Which event goes to which destination: a list of rules, and the wishes of the event itself.
//!
//! A destination gets an event when one of its rules admits it and the event's `integrations` object does not forbid it.
//! The rules are compiled once, by destination; what an event costs does not depend on the rules of other destinations.

mod commas;
mod filter;
mod parse;
mod patterns;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::json::{Object, Pointer};
use crate::schema::constant::Constant;
pub use filter::Filter;
pub use patterns::Patterns;

/// The routing rules of a stream, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// `None`: no rules are configured, everything is admitted.
    by_destination: Option<HashMap<String, Named>>,
    arns: Vec<DestinationArn>,
}

/// What a rule says of the function that its destination is or was: its `destination_arn`, whatever it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationArn {
    /// The destination that the rule is for.
    pub destination: String,
    /// The text.
    pub arn: String,
    /// The line that the rule begins on, from 1.
    pub line: usize,
    /// The place of the rule in the list, from 0.
    pub rule: usize,
}

/// Something wrong with a list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The line of the text, from 1.
    pub line: usize,
    /// The place of the rule in the list, from 0; `None` when it concerns the list.
    pub rule: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    pub fix: String,
}

/// The rules of one destination.
#[derive(Debug, Clone, Default, PartialEq)]
struct Named {
    /// The line that names the destination first.
    line: usize,
    rules: Vec<Rule>,
}

/// One rule: all of its conditions must hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rule {
    enabled: Option<Patterns>,
    disabled: Patterns,
    conditions: Vec<Condition>,
    sample: Option<f64>,
}

/// One value of the event must be one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    pointer: Pointer,
    wanted: Vec<Constant>,
}

impl Rules {
    /// No rules: every event goes to every destination that it does not forbid itself.
    pub fn everything() -> Rules {
        Rules { by_destination: None, arns: Vec::new() }
    }

    /// Reads the JSON list of rules (trailing commas are let pass), or reports everything that is wrong with it, in the
    /// order of the text.
    pub fn parse(text: &str) -> Result<Rules, Vec<RuleProblem>> {
        parse::parse(text).map(|(by_destination, arns)| Rules { by_destination: Some(by_destination), arns })
    }

    /// The ARNs that rules give, in the order of the text.
    pub fn arns(&self) -> &[DestinationArn] {
        &self.arns
    }

    /// The destinations that rules name, each with the line that does so first, in the order of the text.
    pub fn destinations(&self) -> Vec<(&str, usize)> {
        let named = self.by_destination.iter().flatten();
        let mut found: Vec<(&str, usize)> = named.map(|(name, rules)| (name.as_str(), rules.line)).collect();
        found.sort_by_key(|(name, line)| (*line, *name));
        found
    }

    /// Whether `destination` gets an event called `name` of the key `key` (what samples are drawn by).
    pub fn routes(&self, destination: &str, event: &Object<'_>, name: Option<&str>, key: &str) -> bool {
        let admitted = match &self.by_destination {
            None => true,
            Some(by_destination) => by_destination
                .get(destination)
                .is_some_and(|named| named.rules.iter().any(|rule| rule.admits(event, name, key))),
        };
        admitted && wishes::allow(destination, event)
    }
}

impl Rule {
    /// What is cheap is asked first.
    fn admits(&self, event: &Object<'_>, name: Option<&str>, key: &str) -> bool {
        self.enabled.as_ref().is_none_or(|enabled| enabled.matches(name))
            && !self.disabled.matches(name)
            && self.sample.is_none_or(|share| in_sample(key, share))
            && self.conditions.iter().all(|condition| condition.holds(event))
    }
}

impl Condition {
    /// A value that does not exist counts as null.
    fn holds(&self, event: &Object<'_>) -> bool {
        let value = event.at(&self.pointer).map_or("null", |value| value.get());
        self.wanted.iter().any(|wanted| wanted.equals(value))
    }
}

/// Whether a key is in a sample. All events of a key are, or none, on every node and for ever; and a larger share holds
/// everything that a smaller one does, because only the limit moves.
fn in_sample(key: &str, share: f64) -> bool {
    // The upper 53 bits, as a fraction from 0 up to but not 1: a double holds them exactly.
    let place = (xxh3_64(key.as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
    place < share
}
