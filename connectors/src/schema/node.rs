//! A compiled schema: what each keyword left behind, ready to be checked.

use std::collections::HashMap;

use regex::Regex;

use super::constant::Constant;
use super::format::Format;
use super::number::Decimal;
use super::types::Types;

/// One schema or subschema. The default allows everything.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The schema `false`, which nothing satisfies.
    pub(crate) never: bool,
    /// `type`.
    pub(crate) types: Option<Types>,
    /// `enum` and `const`.
    pub(crate) constants: Vec<(ConstantRule, Vec<Constant>)>,
    /// `minimum`, `maximum` and their exclusive siblings.
    pub(crate) bounds: Vec<Bound>,
    /// `minLength`.
    pub(crate) min_length: Option<u64>,
    /// `maxLength`.
    pub(crate) max_length: Option<u64>,
    /// `pattern`, as written and as compiled.
    pub(crate) pattern: Option<(String, Regex)>,
    /// `format`.
    pub(crate) format: Option<Format>,
    /// `items`.
    pub(crate) items: Option<Box<Node>>,
    /// `properties`, `required` and `additionalProperties`.
    pub(crate) shape: Shape,
    /// `x-column`.
    pub(crate) column: Option<String>,
    /// `x-from-string`.
    pub(crate) from_string: Option<bool>,
    /// `x-storage`.
    pub(crate) storage: Option<Storage>,
}

/// How a column keeps strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// As they are.
    Text,
    /// UUIDs as 16 bytes.
    Bytes,
}

/// Which of the two keywords a list of constants came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConstantRule {
    Enum,
    Const,
}

impl ConstantRule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ConstantRule::Enum => "enum",
            ConstantRule::Const => "const",
        }
    }
}

/// One limit on numbers.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) side: Side,
    pub(crate) limit: Decimal,
    /// The limit's nearest double (infinite beyond doubles): most comparisons need no more.
    pub(crate) nearest: f64,
    /// As a rule reads: `minimum 0`.
    pub(crate) rule: String,
}

/// Which side of its limit a number must be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl Side {
    /// Whether numbers must be on its upper side.
    pub(crate) fn is_lower(self) -> bool {
        matches!(self, Side::AtLeast | Side::Above)
    }
}

/// What an object must look like.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The properties in the schema's order.
    pub(crate) properties: Vec<(String, Node)>,
    /// Where each property stands in `properties`.
    pub(crate) places: HashMap<String, usize>,
    /// Names that must be there.
    pub(crate) required: Vec<String>,
    /// What is asked of members that `properties` does not name.
    pub(crate) additional: Additional,
}

/// The keyword `additionalProperties`.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Absent or `true`.
    #[default]
    Allowed,
    /// `false`.
    Refused,
    /// A schema that each must satisfy.
    Checked(Box<Node>),
}

impl Shape {
    /// The place of the property `key`, looked for at `expected` first: producers keep the order of their fields.
    pub(crate) fn place(&self, key: &str, expected: usize) -> Option<usize> {
        match self.properties.get(expected) {
            Some((name, _)) if name == key => Some(expected),
            _ => self.places.get(key).copied(),
        }
    }

    /// Whether every object satisfies it.
    pub(crate) fn is_open(&self) -> bool {
        self.properties.is_empty()
            && self.required.is_empty()
            && matches!(self.additional, Additional::Allowed)
    }
}

impl Node {
    /// Whether strings must be decoded to be checked.
    pub(crate) fn constrains_strings(&self) -> bool {
        self.min_length.is_some()
            || self.max_length.is_some()
            || self.pattern.is_some()
            || self.format.is_some()
    }

    /// Whether null satisfies the keyword `type`.
    pub(crate) fn nullable(&self) -> bool {
        self.types.is_none_or(|types| types.has(Types::NULL))
    }
}
