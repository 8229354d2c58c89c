//! The members of an object exactly as they are written: every key in its place, repeated and unreadable ones too.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Keys (JSON strings) with their values, in order.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

/// The raw texts of keys and values of an object, or `None` when `text` is none.
///
/// [`super::Object`] refuses keys that are no Unicode (half of a surrogate pair); here they are only text.
pub(crate) fn pairs(text: &str) -> Option<Vec<(&str, &str)>> {
    serde_json::from_str::<Pairs<'_>>(text).ok().map(|pairs| pairs.0)
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs<'de>, M::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    pairs.push((key.get(), value.get()));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there_as_it_was_written() {
        let text = r#" { "a" : 1.10 , "a":[ 1 ], "\ud800":{"x" :null}, "\u0061":"é" } "#;
        let wanted = [
            ("\"a\"", "1.10"),
            ("\"a\"", "[ 1 ]"),
            (r#""\ud800""#, r#"{"x" :null}"#),
            (r#""\u0061""#, "\"é\""),
        ];
        assert_eq!(pairs(text).unwrap(), wanted);
        assert_eq!(pairs("{}"), Some(Vec::new()));
        for none in ["", "[]", "1", "{1:2}", "{\"a\"}"] {
            assert_eq!(pairs(none), None, "{none}");
        }
    }
}
