//! When two spellings are of one value.
//!
//! Exactly taken, a UUID is in lower case, a JSON number has its shortest digits, and any other text is only itself. Rows cannot always
//! tell as much: a column of integers keeps 7 of `"007"`, one of moments keeps no offset. So where a column of some table keeps a
//! field, the field's values are read as that column reads them, too, in rows and in events alike: what the lake does not tell
//! apart is erased on both sides or on none.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::schema::ColumnKind;
use crate::schema::number::{Integer, float, integer};
use crate::schema::text::{boolean, decode, number as shown};
use crate::schema::types::Kind;
use crate::standardise::time;
use crate::uuids;

/// How a column reads values that have several spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// As a 64-bit integer.
    Integer,
    /// As the nearest double.
    Double,
    /// As a moment, to the microsecond.
    Moment,
    /// As true or false.
    Truth,
}

impl Reading {
    /// That of a column; `None` when it keeps values exactly.
    pub(super) fn of(kind: ColumnKind) -> Option<Reading> {
        match kind {
            ColumnKind::Integer => Some(Reading::Integer),
            ColumnKind::Number => Some(Reading::Double),
            ColumnKind::Time => Some(Reading::Moment),
            ColumnKind::Boolean => Some(Reading::Truth),
            ColumnKind::Text | ColumnKind::Date | ColumnKind::Uuid | ColumnKind::Json => None,
        }
    }

    /// What a column makes of a text, in one spelling.
    pub(super) fn read(self, text: &str) -> Option<String> {
        let whole = |text: &str| match integer(text) {
            Integer::Exact(number) => Some(number.to_string()),
            Integer::Beyond | Integer::Fraction => None,
        };
        match self {
            Reading::Integer => whole(&shown(text)?),
            // Zero has no sign that anybody means.
            Reading::Double => float(&shown(text)?).map(|number| (number + 0.0).to_string()),
            Reading::Moment => {
                let micros = time::rfc3339(text).or_else(|| time::epoch(&shown(text)?));
                micros.map(|micros| micros.to_string())
            }
            Reading::Truth => boolean(text).map(|truth| truth.to_string()),
        }
    }
}

/// A value as it was met: in an event, in a column, or as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value<'v> {
    text: Cow<'v, str>,
    /// It is a number, not a text that shows one.
    is_number: bool,
}

impl<'v> Value<'v> {
    /// A text.
    pub(super) fn text(text: &'v str) -> Self {
        Value { text: Cow::Borrowed(text), is_number: false }
    }

    /// A JSON number, or what a column of numbers shows.
    pub(super) fn number(text: &'v str) -> Self {
        Value { text: Cow::Borrowed(text), is_number: true }
    }

    /// The value with this JSON text. Lists, objects and null are none.
    pub(super) fn of_json(json: &'v str) -> Option<Self> {
        match Kind::of(json) {
            Kind::String => Some(Value { text: decode(json).unwrap_or_default(), is_number: false }),
            Kind::Number => Some(Value::number(json)),
            Kind::Boolean => Some(Value::text(json)),
            Kind::Null | Kind::Array | Kind::Object => None,
        }
    }

    /// As it was met.
    pub(super) fn raw(&self) -> &str {
        &self.text
    }

    /// Its one exact spelling.
    pub(super) fn exact(&self) -> Cow<'_, str> {
        match self.is_number {
            true => Cow::Owned(number(&self.text)),
            false => exact(&self.text),
        }
    }

    /// The spellings by which it may have been remembered before there was an exact one: its own, and a UUID's in either case.
    pub(super) fn before(&self) -> Vec<String> {
        if self.is_number {
            return vec![number_before(&self.text)];
        }
        let mut spellings = vec![self.text.clone().into_owned()];
        if uuids::parse(&self.text).is_some() {
            spellings.extend([self.text.to_ascii_lowercase(), self.text.to_ascii_uppercase()]);
        }
        spellings
    }
}

/// The exact spelling of a text: that of a UUID has small letters.
pub fn exact(text: &str) -> Cow<'_, str> {
    match uuids::parse(text) {
        Some(_) => Cow::Owned(text.to_ascii_lowercase()),
        None => Cow::Borrowed(text),
    }
}

/// The exact spelling of a JSON number: `7`, `7.0` and `70e-1` are the same.
pub(super) fn number(text: &str) -> String {
    match shown(text).map(|plain| integer(&plain)) {
        Some(Integer::Exact(number)) => number.to_string(),
        _ => number_before(text),
    }
}

/// The same, as it was before: of whole numbers that are written with a point it had the digits that a double has.
fn number_before(text: &str) -> String {
    if text.parse::<i128>().is_ok() {
        return text.to_owned();
    }
    float(text).map_or_else(|| text.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_uuid_have_one_exact_spelling() {
        for (json, wanted) in [
            ("7.0", "7"),
            ("70e-1", "7"),
            ("-0", "0"),
            ("7.50", "7.5"),
            ("9007199254740993.0", "9007199254740993"),
            ("\"007\"", "007"),
            ("\"7.0\"", "7.0"),
            ("true", "true"),
            ("\"2EB8AA08-AA98-11EA-B4AA-73B441D16380\"", "2eb8aa08-aa98-11ea-b4aa-73b441d16380"),
            ("\"2EB8AA08AA9811EAB4AA73B441D16380\"", "2EB8AA08AA9811EAB4AA73B441D16380"),
            ("\"Ann\"", "Ann"),
        ] {
            assert_eq!(Value::of_json(json).unwrap().exact(), wanted, "{json}");
        }
        assert!(["null", "[7]", "{}"].iter().all(|json| Value::of_json(json).is_none()));
    }

    #[test]
    fn columns_read_several_spellings_as_one_value() {
        for (reading, texts, value) in [
            (Reading::Integer, &["7", "007", "+7", "7.0", "70e-1"][..], Some("7")),
            (Reading::Integer, &["7.5", "u7", "", "99999999999999999999"], None),
            (Reading::Double, &["9007199254740993", "9007199254740992.0"], Some("9007199254740992")),
            (Reading::Double, &["-0", "0.0"], Some("0")),
            (Reading::Moment, &["1970-01-01T00:00:07Z", "1970-01-01 01:00:07+01:00", "7"], Some("7000000")),
            (Reading::Moment, &["yesterday", "7.5"], None),
            (Reading::Truth, &["true", "TRUE"], Some("true")),
            (Reading::Truth, &["1"], None),
        ] {
            for text in texts {
                assert_eq!(reading.read(text).as_deref(), value, "{reading:?} {text}");
            }
        }
    }
}
