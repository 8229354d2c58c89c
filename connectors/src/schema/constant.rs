//! Values of `enum` and `const`, compared as JSON values: 1 equals 1.0, and objects are order-free.

use serde_json::value::RawValue;

use super::number::Decimal;
use super::text::decode;
use super::types::{Kind, Types};
use crate::json::{Object, elements};

/// A constant of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Constant {
    Null,
    Boolean(bool),
    Number(Decimal),
    String(String),
    Array(Vec<Constant>),
    Object(Vec<(String, Constant)>),
}

impl Constant {
    /// Reads a constant; `None` when it nests deeper than `depth` or holds half of a surrogate pair.
    pub(crate) fn read(raw: &RawValue, depth: usize) -> Option<Constant> {
        let depth = depth.checked_sub(1)?;
        let text = raw.get();
        Some(match Kind::of(text) {
            Kind::Null => Constant::Null,
            Kind::Boolean => Constant::Boolean(text == "true"),
            Kind::Number => Constant::Number(Decimal::parse(text)),
            Kind::String => Constant::String(decode(text)?.into_owned()),
            Kind::Array => Constant::Array(
                elements(raw)?.into_iter().map(|one| Constant::read(one, depth)).collect::<Option<_>>()?,
            ),
            Kind::Object => {
                let object = Object::parse(text.as_bytes()).ok()?;
                let member =
                    |(key, value): (&str, &RawValue)| Some((key.to_owned(), Constant::read(value, depth)?));
                Constant::Object(object.members().map(member).collect::<Option<_>>()?)
            }
        })
    }

    /// Whether the value with this raw JSON text equals one of the constants: strings and numbers are read once for all of them.
    pub(crate) fn is_among(constants: &[Constant], raw: &str) -> bool {
        match Kind::of(raw) {
            Kind::String => decode(raw).is_some_and(|text| Constant::has(constants, &text)),
            Kind::Number => {
                let number = Decimal::parse(raw);
                constants.iter().any(|one| matches!(one, Constant::Number(constant) if *constant == number))
            }
            _ => constants.iter().any(|constant| constant.equals(raw)),
        }
    }

    /// Whether a string equals one of the constants.
    pub(crate) fn has(constants: &[Constant], text: &str) -> bool {
        constants.iter().any(|one| matches!(one, Constant::String(constant) if constant == text))
    }

    /// The text that it is, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Constant::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number of 64 bits that it is, if it is one.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Constant::Number(number) => number.exact(),
            _ => None,
        }
    }

    /// Whether the value with this raw JSON text equals the constant. Looks no deeper than the constant is.
    pub(crate) fn equals(&self, raw: &str) -> bool {
        match (self, Kind::of(raw)) {
            (Constant::Null, Kind::Null) => true,
            (Constant::Boolean(constant), Kind::Boolean) => *constant == (raw == "true"),
            (Constant::Number(constant), Kind::Number) => *constant == Decimal::parse(raw),
            (Constant::String(constant), Kind::String) => {
                decode(raw).is_some_and(|text| text == constant.as_str())
            }
            (Constant::Array(constants), Kind::Array) => {
                let values: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
                values.len() == constants.len()
                    && constants.iter().zip(values).all(|(constant, value)| constant.equals(value.get()))
            }
            (Constant::Object(_), Kind::Object) => {
                Object::parse(raw.as_bytes()).is_ok_and(|object| self.equals_object(&object))
            }
            _ => false,
        }
    }

    /// Whether an object already read equals the constant.
    pub(crate) fn equals_object(&self, object: &Object<'_>) -> bool {
        let Constant::Object(members) = self else { return false };
        object.members().count() == members.len()
            && members
                .iter()
                .all(|(key, constant)| object.get(key).is_some_and(|value| constant.equals(value.get())))
    }

    /// Whether a value of one of these types can equal the constant.
    pub(crate) fn fits(&self, types: Types) -> bool {
        types.has(match self {
            Constant::Null => Types::NULL,
            Constant::Boolean(_) => Types::BOOLEAN,
            Constant::Number(number) if number.is_whole() => Types::NUMBER.with(Types::INTEGER),
            Constant::Number(_) => Types::NUMBER,
            Constant::String(_) => Types::STRING,
            Constant::Array(_) => Types::ARRAY,
            Constant::Object(_) => Types::OBJECT,
        })
    }
}
