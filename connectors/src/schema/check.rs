//! Checking a value, as raw JSON text, against a compiled schema.

use std::cmp::Ordering;

use serde_json::value::RawValue;

use super::constant::Constant;
use super::node::{Additional, Bound, Node, Shape, Side};
use super::number::{Decimal, float};
use super::text::decode;
use super::types::{Kind, Types};
use crate::json::Object;
use crate::standardise::Rejection;

/// The rule broken by a string that is no Unicode text.
pub(crate) const UNICODE: &str = "valid Unicode";

impl Node {
    /// Checks every keyword. Descends only as deep as the schema does, whatever the value.
    pub(crate) fn check(&self, raw: &str) -> Result<(), Rejection> {
        self.check_type(raw)?;
        self.check_constants(raw)?;
        match Kind::of(raw) {
            Kind::Number if !self.bounds.is_empty() => self.check_bounds(raw, float(raw)),
            Kind::String if self.constrains_strings() => {
                let text = decode(raw).ok_or_else(|| Rejection::of(UNICODE, raw))?;
                self.check_text(&text)?;
                self.check_format(&text)
            }
            Kind::Array => self.check_items(raw),
            Kind::Object if !self.shape.is_open() => {
                let object = Object::parse(raw.as_bytes()).map_err(|_| Rejection::of(UNICODE, raw))?;
                self.shape.check(&object)
            }
            _ => Ok(()),
        }
    }

    /// The keyword `type`; also refuses everything when the schema is `false`.
    pub(crate) fn check_type(&self, raw: &str) -> Result<(), Rejection> {
        if self.never {
            return Err(Rejection::of("not allowed", raw));
        }
        let Some(types) = self.types else { return Ok(()) };
        let holds = match Kind::of(raw) {
            Kind::Null => types.has(Types::NULL),
            Kind::Boolean => types.has(Types::BOOLEAN),
            Kind::String => types.has(Types::STRING),
            Kind::Array => types.has(Types::ARRAY),
            Kind::Object => types.has(Types::OBJECT),
            Kind::Number if types.has(Types::NUMBER) => true,
            Kind::Number => types.has(Types::INTEGER) && Decimal::parse(raw).is_whole(),
        };
        if holds { Ok(()) } else { Err(Rejection::of(types.rule(), raw)) }
    }

    /// `enum` and `const`.
    pub(crate) fn check_constants(&self, raw: &str) -> Result<(), Rejection> {
        match self.constants.iter().find(|(_, allowed)| !Constant::is_among(allowed, raw)) {
            Some((rule, _)) => Err(Rejection::of(rule.name(), raw)),
            None => Ok(()),
        }
    }

    /// The bounds of a number, which was read as the double `nearest` to it; `None` when it is beyond doubles.
    pub(crate) fn check_bounds(&self, raw: &str, nearest: Option<f64>) -> Result<(), Rejection> {
        match self.bounds.iter().find(|bound| !bound.holds(raw, nearest)) {
            Some(bound) => Err(Rejection::of(bound.rule.clone(), raw)),
            None => Ok(()),
        }
    }

    /// Length and pattern of a string.
    pub(crate) fn check_text(&self, text: &str) -> Result<(), Rejection> {
        let broken = |rule: String| Err(Rejection::of(rule, "\""));
        // A character has one to four bytes: often that is enough to know.
        let (fewest, most) = (text.len().div_ceil(4) as u64, text.len() as u64);
        if self.min_length.is_some_and(|least| fewest < least)
            || self.max_length.is_some_and(|max| most > max)
        {
            let length = text.chars().count() as u64;
            if let Some(least) = self.min_length.filter(|least| length < *least) {
                return broken(format!("minLength {least}"));
            }
            if let Some(most) = self.max_length.filter(|most| length > *most) {
                return broken(format!("maxLength {most}"));
            }
        }
        match &self.pattern {
            Some((source, pattern)) if !pattern.is_match(text) => broken(format!("pattern {source}")),
            _ => Ok(()),
        }
    }

    /// Whether a string keeps to every rule that there can be for one.
    pub(crate) fn takes(&self, text: &str) -> bool {
        self.check_text(text).is_ok()
            && self.check_format(text).is_ok()
            && self.constants.iter().all(|(_, allowed)| Constant::has(allowed, text))
    }

    /// The format of a string.
    pub(crate) fn check_format(&self, text: &str) -> Result<(), Rejection> {
        match self.format.filter(|format| !format.holds(text)) {
            Some(format) => Err(Rejection::of(format.rule(), "\"")),
            None => Ok(()),
        }
    }

    fn check_items(&self, raw: &str) -> Result<(), Rejection> {
        let Some(items) = &self.items else { return Ok(()) };
        let elements: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| Rejection::of(UNICODE, raw))?;
        for (index, element) in elements.into_iter().enumerate() {
            items.check(element.get()).map_err(|rejection| rejection.under(&index.to_string()))?;
        }
        Ok(())
    }
}

impl Shape {
    /// Checks an object: what must be there, and each member.
    pub(crate) fn check(&self, object: &Object<'_>) -> Result<(), Rejection> {
        let mut expected = 0;
        for (key, value) in object.members() {
            match self.place(key, expected) {
                Some(place) => {
                    expected = place + 1;
                    self.properties[place].1.check(value.get()).map_err(|rejection| rejection.under(key))?;
                }
                None => self.additional.check(key, value.get())?,
            }
        }
        self.check_required(object)
    }

    /// `required`.
    pub(crate) fn check_required(&self, object: &Object<'_>) -> Result<(), Rejection> {
        match self.required.iter().find(|name| object.get(name).is_none()) {
            Some(name) => Err(Rejection::missing(name)),
            None => Ok(()),
        }
    }
}

impl Additional {
    /// Checks a member that `properties` does not name.
    pub(crate) fn check(&self, key: &str, raw: &str) -> Result<(), Rejection> {
        match self {
            Additional::Allowed => Ok(()),
            Additional::Refused => Err(Rejection::of("additionalProperties false", raw).under(key)),
            Additional::Checked(node) => node.check(raw).map_err(|rejection| rejection.under(key)),
        }
    }
}

impl Bound {
    /// Whether a whole number keeps to it.
    #[allow(clippy::cast_precision_loss)] // the nearest double is what is asked for
    pub(crate) fn takes(&self, number: i64) -> bool {
        self.holds(&number.to_string(), Some(number as f64))
    }

    /// Whether a number, as JSON text, keeps to it.
    fn holds(&self, raw: &str, nearest: Option<f64>) -> bool {
        // Rounding to doubles keeps the order, so two that differ decide; only equal ones need their digits compared.
        let rounded =
            nearest.and_then(|number| number.partial_cmp(&self.nearest)).filter(|order| order.is_ne());
        let order = rounded.unwrap_or_else(|| Decimal::parse(raw).cmp(&self.limit));
        match self.side {
            Side::AtLeast => order != Ordering::Less,
            Side::Above => order == Ordering::Greater,
            Side::AtMost => order != Ordering::Greater,
            Side::Below => order == Ordering::Less,
        }
    }
}
