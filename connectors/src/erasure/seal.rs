//! A condition as it is kept: which fields are compared, and hashes of the values they are compared with.
//!
//! The hashes are salted, so that a document does not say whom it is about. Whoever has the document and a guess can try it, all the
//! same: ids that can be counted through are only hidden from the eye. One lake has one salt, so that an event is hashed once per
//! field and not once per person.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::field::{Field, number};
use crate::json::Object;

/// One thing that must hold of an event: one of these fields has this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The fields.
    pub fields: Vec<Field>,
    /// The value.
    pub value: String,
    /// The partition key counts, where the payload is no JSON object and nothing else tells whose it is.
    pub is_key: bool,
}

impl Wanted {
    /// Reads `field = value`; the value is JSON, or else a text.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Wanted, String> {
        let Some((field, value)) = text.split_once('=') else {
            return Err(format!("`{text}` names no value: write it like 'user_id = \"u1\"'"));
        };
        if field.ends_with(['!', '<', '>']) || value.starts_with(['=', '~']) {
            return Err(format!("`{text}`: only `=` is understood, and several conditions must all hold"));
        }
        let value = value.trim();
        let value = match serde_json::from_str::<serde_json::Value>(value) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(serde_json::Value::Number(_)) => number(value),
            Ok(serde_json::Value::Bool(truth)) => truth.to_string(),
            Ok(_) => return Err(format!("`{text}`: a value is a text, a number, true or false")),
            Err(_) => value.to_owned(),
        };
        match value.is_empty() {
            true => Err(format!("`{text}` names no value: write it like 'user_id = \"u1\"'")),
            false => Ok(Wanted { fields: vec![Field::parse(field)?], value, is_key: false }),
        }
    }
}

/// See the [module](self). All of its terms must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// In hexadecimal digits.
    salt: String,
    terms: Vec<Term>,
}

/// One of several fields has a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Term {
    /// As they were written.
    pub(super) fields: Vec<String>,
    /// Of the value, in hexadecimal digits.
    pub(super) hash: String,
    /// The partition key counts, where the payload is no JSON object.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_key: bool,
}

impl Term {
    pub(super) fn fields(&self) -> Vec<Field> {
        self.fields.iter().filter_map(|field| Field::parse(field).ok()).collect()
    }
}

/// The salted hash of a value.
pub(super) fn hashed(salt: &str, value: &str) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update([0]).chain_update(value).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Seal {
    /// Seals a condition.
    pub fn of(salt: &str, wanted: &[Wanted]) -> Seal {
        let term = |one: &Wanted| Term {
            fields: one.fields.iter().map(Field::to_string).collect(),
            hash: hashed(salt, &one.value),
            is_key: one.is_key,
        };
        Seal { salt: salt.to_owned(), terms: wanted.iter().map(term).collect() }
    }

    /// Its salt.
    pub fn salt(&self) -> &str {
        &self.salt
    }

    pub(super) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it is about the event in `data`, which has the partition key `key`. What is no JSON object has only a key.
    pub fn is_about(&self, data: &[u8], key: &str) -> bool {
        let object = Object::parse(data).ok();
        let holds = |term: &Term| {
            let mut is = |value: &str| hashed(&self.salt, value) == term.hash;
            (term.is_key && object.is_none() && is(key))
                || object
                    .as_ref()
                    .is_some_and(|object| term.fields().iter().any(|field| field.any(object, &mut is)))
        };
        !self.terms.is_empty() && self.terms.iter().all(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(conditions: &[&str]) -> Seal {
        let wanted: Vec<Wanted> = conditions.iter().map(|text| Wanted::parse(text).unwrap()).collect();
        Seal::of("5a17", &wanted)
    }

    #[test]
    fn all_conditions_must_hold_and_values_are_read_as_json_or_text() {
        let event = br#"{"userId":"u1","context":{"n":7.0,"ok":true}}"#;
        for (conditions, is) in [
            (&["user_id = \"u1\""][..], true),
            (&["/userId=u1", "/context/n = 7"], true),
            (&["/userId=u1", "/context/n = 8"], false),
            (&["/context/ok = true"], true),
            (&["/userId = u"], false),
            (&["/userId = U1"], false),
        ] {
            assert_eq!(seal(conditions).is_about(event, "u1"), is, "{conditions:?}");
        }
    }

    #[test]
    fn the_key_counts_where_it_is_meant_even_if_the_payload_is_broken() {
        let mut wanted = Wanted::parse("/userId=u1").unwrap();
        assert!(!Seal::of("5a17", std::slice::from_ref(&wanted)).is_about(b"broken", "u1"));
        wanted.is_key = true;
        let seal = Seal::of("5a17", &[wanted]);
        assert!(seal.is_about(b"broken", "u1") && !seal.is_about(b"broken", "u2"));
        assert!(!seal.is_about(br#"{"userId":"u2"}"#, "u1"), "the payload tells");
    }

    #[test]
    fn a_sealed_condition_does_not_show_its_values() {
        let text = serde_json::to_string(&seal(&["/userId=ann@example.com"])).unwrap();
        assert!(text.contains("/userId") && !text.contains("ann"), "{text}");
        assert_eq!(serde_json::from_str::<Seal>(&text).unwrap(), seal(&["/userId=ann@example.com"]));
        assert_ne!(hashed("1", "u1"), hashed("2", "u1"));
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for wrong in ["", "a", "a=", "=1", "a != 1", "a == 1", "a >= 1", "a = [1]", "a = null", "/=1"] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong}");
        }
    }
}
