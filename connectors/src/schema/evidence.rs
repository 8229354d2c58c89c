//! What the values of one field have shown of its type.

use super::format::Format;
use super::number::{Integer, float, integer};
use super::text::{boolean, decode, is_nullish, is_plain_number};
use super::types::{Kind, Types};

/// The evidence about one field.
#[derive(Debug)]
pub(super) struct Evidence {
    events: u64,
    /// The types of the values as they are.
    types: Types,
    /// The types that the strings among them show.
    shown: Types,
    /// A value that no typed column can hold: a number beyond doubles, half of a surrogate pair.
    untypable: bool,
    /// Formats that all strings have: all of them, and all but the null-ish ones.
    formats: Formats,
    shown_formats: Formats,
}

/// The formats worth detecting that no string seen has contradicted.
#[derive(Debug, Clone)]
struct Formats(Vec<Format>);

impl Formats {
    fn all() -> Self {
        Formats(vec![Format::DateTime, Format::Date, Format::Uuid])
    }

    fn observe(&mut self, text: &str) {
        self.0.retain(|format| format.holds(text));
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence {
            events: 0,
            types: Types::default(),
            shown: Types::default(),
            untypable: false,
            formats: Formats::all(),
            shown_formats: Formats::all(),
        }
    }
}

impl Evidence {
    /// How many events have had the field.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Takes one more value into account.
    pub(super) fn observe(&mut self, raw: &str) {
        self.events += 1;
        let seen = match Kind::of(raw) {
            Kind::Null => Types::NULL,
            Kind::Boolean => Types::BOOLEAN,
            Kind::Array => Types::ARRAY,
            Kind::Object => Types::OBJECT,
            Kind::Number => {
                self.untypable |= float(raw).is_none();
                number_type(raw)
            }
            Kind::String => {
                match decode(raw) {
                    Some(text) => self.observe_text(&text),
                    None => self.untypable = true,
                }
                Types::STRING
            }
        };
        self.types = self.types.with(seen);
    }

    fn observe_text(&mut self, text: &str) {
        self.formats.observe(text);
        let shown = match text {
            _ if is_nullish(text) => Types::NULL,
            _ if boolean(text).is_some() => Types::BOOLEAN,
            _ if is_plain_number(text) => number_type(text),
            _ => Types::STRING,
        };
        if shown != Types::NULL {
            self.shown_formats.observe(text);
        }
        self.shown = self.shown.with(shown);
    }

    /// The type and format to demand; `None` when only an untyped column holds all values.
    pub(super) fn conclude(&self, from_strings: bool) -> Option<(Types, Option<Format>)> {
        if self.untypable {
            return None;
        }
        if from_strings
            && self.types.has(Types::STRING)
            && let Some(concluded) = self.behind_strings()
        {
            return Some(concluded);
        }
        let format =
            if self.types.essential() == Types::STRING { self.formats.0.first().copied() } else { None };
        Some((simplified(self.types), format))
    }

    /// What all strings show, if it is one and the same thing that a column can read from them.
    fn behind_strings(&self) -> Option<(Types, Option<Format>)> {
        let types = self.types.without(Types::STRING).with(self.shown);
        let format = self.shown_formats.0.first().copied();
        match types.essential() {
            Types::INTEGER | Types::NUMBER | Types::BOOLEAN => Some((simplified(types), None)),
            Types::STRING if matches!(format, Some(Format::DateTime | Format::Date)) => {
                Some((simplified(types), format))
            }
            _ => None,
        }
    }
}

fn number_type(raw: &str) -> Types {
    if matches!(integer(raw), Integer::Exact(_)) { Types::INTEGER } else { Types::NUMBER }
}

/// `integer` beside `number` says nothing more.
fn simplified(types: Types) -> Types {
    if types.has(Types::NUMBER) { types.without(Types::INTEGER) } else { types }
}
