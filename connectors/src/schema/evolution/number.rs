//! The number of a version: SchemaVer's model, revision and addition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Class;

/// `1-0-2`: model, revision, addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Number {
    /// Rises with what breaks.
    pub model: u32,
    /// Rises with what some data is told apart by.
    pub revision: u32,
    /// Rises with what is only more.
    pub addition: u32,
}

impl Number {
    /// The first version of a table; SchemaVer begins at one.
    pub const FIRST: Number = Number::of_model(1);

    /// The first version of a model.
    pub const fn of_model(model: u32) -> Number {
        Number { model, revision: 0, addition: 0 }
    }

    /// The number after a change of `class`. New words alone count as an addition: every text has a number of its own.
    #[must_use]
    pub fn next(self, class: Option<Class>) -> Number {
        match class {
            Some(Class::Model) => Number::of_model(self.model.saturating_add(1)),
            Some(Class::Revision) => {
                Number { revision: self.revision.saturating_add(1), addition: 0, ..self }
            }
            Some(Class::Addition) | None => Number { addition: self.addition.saturating_add(1), ..self },
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.model, self.revision, self.addition)
    }
}

impl From<Number> for String {
    fn from(number: Number) -> String {
        number.to_string()
    }
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Number, String> {
        text.parse()
    }
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Number, String> {
        let wrong = || format!("`{text}` is no version: write MODEL-REVISION-ADDITION, as in 1-0-0");
        let mut parts = text.split('-').map(|part| part.parse::<u32>().ok());
        let mut part = || parts.next().flatten().ok_or_else(wrong);
        let number = Number { model: part()?, revision: part()?, addition: part()? };
        // One way to write each: it is the name of an object.
        if number.to_string() == text { Ok(number) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_change_decides_which_number_rises() {
        let number: Number = "2-3-4".parse().unwrap();
        for (class, next) in [
            (None, "2-3-5"),
            (Some(Class::Addition), "2-3-5"),
            (Some(Class::Revision), "2-4-0"),
            (Some(Class::Model), "3-0-0"),
        ] {
            assert_eq!(number.next(class).to_string(), next);
            assert!(number.next(class) > number);
        }
    }

    #[test]
    fn numbers_are_written_in_one_way() {
        assert_eq!(Number::FIRST.to_string(), "1-0-0");
        for wrong in ["", "1", "1-0", "1-0-0-0", "01-0-0", "1-0-+1", "a-b-c", "1-0-99999999999"] {
            assert!(wrong.parse::<Number>().is_err(), "{wrong}");
        }
        let shown = serde_json::to_string(&Number::FIRST).unwrap();
        assert_eq!((shown.as_str(), serde_json::from_str(&shown).ok()), ("\"1-0-0\"", Some(Number::FIRST)));
    }
}
