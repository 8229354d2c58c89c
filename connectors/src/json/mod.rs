//! A JSON object read lazily: checked whole, its top level indexed, its values left as the text that was received.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

pub(crate) mod digits;
pub mod edit;
pub(crate) mod name;
mod pairs;
mod pointer;
pub(crate) mod scan;

pub(crate) use pairs::pairs;
pub use pointer::{NoPointer, Pointer};

/// The members of a JSON object in order of first appearance; of a repeated key the last value counts.
#[derive(Debug, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Objects with more members than this find repeated keys by a hash map.
const FEW: usize = 24;

impl<'a> Object<'a> {
    /// Parses one object. The error says what is wrong and where (line and column).
    pub fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The members, each key once.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The raw text of the member `key`.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The raw text that an RFC 6901 JSON pointer names, if it exists.
    pub fn pointer(&self, pointer: &str) -> Option<&'a RawValue> {
        let mut tokens = pointer.strip_prefix('/')?.split('/').map(pointer::unescape);
        let first = tokens.next()?;
        tokens.try_fold(self.get(&first)?, |value, token| descend(value, &token))
    }

    /// The raw text that a pointer names, if it exists.
    pub fn at(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        let (first, rest) = pointer.tokens().split_first()?;
        rest.iter().try_fold(self.get(first)?, |value, token| descend(value, token))
    }

    fn from_pairs(pairs: Vec<(Cow<'a, str>, &'a RawValue)>) -> Self {
        let mut members: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::with_capacity(pairs.len());
        if pairs.len() <= FEW {
            for (key, value) in pairs {
                match members.iter_mut().find(|(name, _)| *name == key) {
                    Some(member) => member.1 = value,
                    None => members.push((key, value)),
                }
            }
            return Object { members };
        }
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            match places.get(&key) {
                Some(place) => members[*place].1 = value,
                None => {
                    places.insert(key.clone(), members.len());
                    members.push((key, value));
                }
            }
        }
        Object { members }
    }
}

/// The elements of a JSON array as raw text, or `None` when `value` is not an array.
pub fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

fn descend<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    match value.get().as_bytes().first()? {
        b'{' => Object::parse(value.get().as_bytes()).ok()?.get(token),
        b'[' => elements(value)?.get(pointer::index(token)?).copied(),
        _ => None,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut pairs = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Object::from_pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key that borrows from the input unless it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_duplicate_wins_in_small_and_large_objects() {
        let small = Object::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(small.members().map(|(k, v)| format!("{k}{v}")).collect::<Vec<_>>(), ["a3", "b2"]);
        let many = (0..60).map(|i| format!("\"k{}\":{i}", i % 40)).collect::<Vec<_>>().join(",");
        let text = format!("{{{many}}}");
        let large = Object::parse(text.as_bytes()).unwrap();
        assert_eq!(large.members().count(), 40);
        assert_eq!(large.get("k5").unwrap().get(), "45");
    }

    #[test]
    fn pointers_descend_objects_and_arrays() {
        let text = br#"{"a":{"b/c":[10,{"~":true}]},"n":null}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.pointer("/a/b~1c/0").unwrap().get(), "10");
        assert_eq!(object.pointer("/a/b~1c/1/~0").unwrap().get(), "true");
        assert_eq!(object.pointer("/n").unwrap().get(), "null");
        assert!(object.pointer("/a/x").is_none() && object.pointer("a").is_none());
        assert!(object.pointer("/a/b~1c/00").is_none() && object.pointer("/a/b~1c/+1").is_none());
        for pointer in ["/a/b~1c/0", "/a/b~1c/1/~0", "/n", "/a/x", "/a/b~1c/00"] {
            let found = object.at(&Pointer::parse(pointer).unwrap()).map(RawValue::get);
            assert_eq!(found, object.pointer(pointer).map(RawValue::get), "{pointer}");
        }
    }

    #[test]
    fn only_whole_valid_objects_parse() {
        for wrong in [&b"[1]"[..], b"{", b"{} x", b"{\"a\":tru}", b"{\"a\":\"\xff\"}", b""] {
            assert!(Object::parse(wrong).is_err(), "{wrong:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Object::parse(deep.as_bytes()).is_ok());
    }
}
