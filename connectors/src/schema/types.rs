//! The types of JSON values, and sets of them as the keyword `type` names them.

/// The type of a JSON value, told by the first byte of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// The type of the value with this (valid) JSON text.
    pub(crate) fn of(raw: &str) -> Kind {
        match raw.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }
}

/// A set of the seven types of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const NULL: Types = Types(1);
    pub(crate) const BOOLEAN: Types = Types(2);
    pub(crate) const INTEGER: Types = Types(4);
    pub(crate) const NUMBER: Types = Types(8);
    pub(crate) const STRING: Types = Types(16);
    pub(crate) const ARRAY: Types = Types(32);
    pub(crate) const OBJECT: Types = Types(64);

    /// Every type with its name, in the order they are shown.
    pub(crate) const NAMES: [(&'static str, Types); 7] = [
        ("boolean", Types::BOOLEAN),
        ("integer", Types::INTEGER),
        ("number", Types::NUMBER),
        ("string", Types::STRING),
        ("array", Types::ARRAY),
        ("object", Types::OBJECT),
        ("null", Types::NULL),
    ];

    /// Every type.
    pub(crate) fn all() -> Types {
        Types::NAMES.iter().fold(Types::default(), |all, (_, one)| all.with(*one))
    }

    /// The type of this name.
    pub(crate) fn named(name: &str) -> Option<Types> {
        Types::NAMES.iter().find(|(known, _)| *known == name).map(|(_, one)| *one)
    }

    /// The names in the set.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Types::NAMES.iter().filter(move |(_, one)| self.has(*one)).map(|(name, _)| *name)
    }

    pub(crate) fn has(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn with(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set for the columns' sake: without null, and with `integer` taken up by `number`.
    pub(crate) fn essential(self) -> Types {
        let values = self.without(Types::NULL);
        if values.has(Types::NUMBER) { values.without(Types::INTEGER) } else { values }
    }

    /// As a rule reads: `type string or null`.
    pub(crate) fn rule(self) -> String {
        format!("type {}", self.names().collect::<Vec<_>>().join(" or "))
    }
}
