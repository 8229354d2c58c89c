//! Consent: whether the event says that its person agreed. What is not plainly a yes is a no.

use crate::json::{Object, Pointer};
use crate::schema::constant::Constant;
use crate::schema::number::Decimal;
use crate::schema::text::decode;
use crate::schema::types::Kind;

/// Where consent is written, and what counts as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Consent {
    pub(super) pointer: Pointer,
    /// The values that count; `None`: the customary ways to say yes.
    pub(super) equals: Option<Vec<Constant>>,
}

impl Consent {
    /// Whether the event says yes. A value that is missing says no, whatever is wanted.
    pub(super) fn is_given(&self, event: &Object<'_>) -> bool {
        let Some(value) = event.at(&self.pointer).map(|value| value.get()) else { return false };
        match &self.equals {
            Some(wanted) => wanted.iter().any(|wanted| wanted.equals(value)),
            None => says_yes(value),
        }
    }
}

/// `true`, a list that is not empty (of the purposes agreed to), `"granted"` and `"true"` in any mixture of cases, and 1.
fn says_yes(json: &str) -> bool {
    match Kind::of(json) {
        Kind::Boolean => json == "true",
        Kind::Number => Decimal::parse(json) == Decimal::parse("1"),
        Kind::String => decode(json)
            .is_some_and(|text| ["granted", "true"].iter().any(|yes| text.eq_ignore_ascii_case(yes))),
        Kind::Array => json.get(1..json.len() - 1).is_some_and(|inside| !inside.trim().is_empty()),
        Kind::Null | Kind::Object => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        for yes in
            ["true", "1", "1.0", "10e-1", r#""granted""#, r#""Granted""#, r#""TRUE""#, r#"["ads"]"#, "[[]]"]
        {
            assert!(says_yes(yes), "{yes}");
        }
        for no in [
            "false",
            "null",
            "0",
            "2",
            r#""""#,
            r#""denied""#,
            r#""yes?""#,
            r#""1""#,
            "[]",
            "[ ]",
            "{}",
            r#"{"a":1}"#,
        ] {
            assert!(!says_yes(no), "{no}");
        }
    }
}
