//! A condition as it is kept: which fields are compared, and hashes of the values they are compared with.
//!
//! The hashes are salted, so that a document does not say whom it is about. Whoever has the document and a guess can try it, all the
//! same: ids that can be counted through are only hidden from the eye. One lake has one salt, so that an event is hashed once per
//! field and not once per person.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::field::Field;
use super::spelling::{Reading, Value, exact, number};
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
    /// How columns read the fields, by all schemas there are: spellings of one value there are one here.
    pub readings: BTreeSet<Reading>,
}

impl Wanted {
    /// Wants `value` in one of `fields`.
    pub fn new(fields: Vec<Field>, value: String) -> Wanted {
        Wanted { fields, value, is_key: false, readings: BTreeSet::new() }
    }

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
            false => Ok(Wanted::new(vec![Field::parse(field)?], value)),
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
    /// Of the value's exact spelling, in hexadecimal digits.
    pub(super) hash: String,
    /// The partition key counts, where the payload is no JSON object.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_key: bool,
    /// Of what columns make of the value, as far as it is one for them. None in documents that were written when there was no exact
    /// spelling: their hash is of the value as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readings: Option<BTreeMap<Reading, String>>,
}

impl Term {
    fn of(salt: &str, wanted: &Wanted) -> Term {
        let value = wanted.value.as_str();
        let read = |reading: &Reading| Some((*reading, hashed(salt, &reading.read(value)?)));
        Term {
            fields: wanted.fields.iter().map(Field::to_string).collect(),
            hash: hashed(salt, &exact(value)),
            is_key: wanted.is_key,
            readings: Some(wanted.readings.iter().filter_map(read).collect()),
        }
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        self.fields.iter().filter_map(|field| Field::parse(field).ok()).collect()
    }

    /// How its values are read.
    pub(super) fn ways(&self) -> Ways {
        Ways(self.readings.as_ref().map(|readings| readings.keys().copied().collect()))
    }

    /// Its hashes, and what of.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (Option<Reading>, &String)> {
        let read = self.readings.iter().flatten().map(|(reading, hash)| (Some(*reading), hash));
        [(None, &self.hash)].into_iter().chain(read)
    }

    /// Whether a value is the one that was wanted.
    pub(super) fn is(&self, salt: &str, ways: &Ways, value: &Value<'_>) -> bool {
        let hashed = ways.hashes(salt, value);
        self.hashes().any(|(way, hash)| hashed.iter().any(|(of, found)| *of == way && found == hash))
    }

    /// Whether it asks for the same, whatever schemas said at the time.
    fn is_same(&self, salt: &str, (other, wanted): (&Term, &Wanted)) -> bool {
        let given = || hashed(salt, &wanted.value);
        let same = self.hash == other.hash || (self.readings.is_none() && self.hash == given());
        same && self.fields == other.fields && self.is_key == other.is_key
    }
}

/// Which spellings of a value are hashed: the exact one, and what these readings make of it. None: those of documents of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ways(Option<Vec<Reading>>);

impl Ways {
    /// The hashes of a value, and what of.
    pub(super) fn hashes(&self, salt: &str, value: &Value<'_>) -> Vec<(Option<Reading>, String)> {
        let Some(readings) = &self.0 else {
            return value.before().iter().map(|spelling| (None, hashed(salt, spelling))).collect();
        };
        let read = readings.iter().filter_map(|reading| {
            let read = reading.read(value.raw())?;
            Some((Some(*reading), hashed(salt, &read)))
        });
        [(None, hashed(salt, &value.exact()))].into_iter().chain(read).collect()
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
        Seal { salt: salt.to_owned(), terms: wanted.iter().map(|one| Term::of(salt, one)).collect() }
    }

    /// Whether it asks for what is wanted, in the same words, though it may be from a time when schemas read values otherwise.
    pub fn is_of(&self, wanted: &[Wanted]) -> bool {
        let same =
            |(term, one): (&Term, &Wanted)| term.is_same(&self.salt, (&Term::of(&self.salt, one), one));
        self.terms.len() == wanted.len() && self.terms.iter().zip(wanted).all(same)
    }

    /// The same, as it is sealed today; how values were read before is not forgotten.
    pub fn renewed(&self, wanted: &[Wanted]) -> Seal {
        let mut next = Seal::of(&self.salt, wanted);
        for (term, before) in next.terms.iter_mut().zip(&self.terms) {
            let known = before.readings.iter().flatten().map(|(reading, hash)| (*reading, hash.clone()));
            term.readings.get_or_insert_default().extend(known);
        }
        next
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
            let ways = term.ways();
            let mut is = |value: &Value<'_>| term.is(&self.salt, &ways, value);
            (term.is_key && object.is_none() && is(&Value::text(key)))
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
    fn spellings_that_columns_do_not_tell_apart_are_one_value() {
        let event = |user: &str| format!(r#"{{"userId":{user}}}"#);
        let is = |wanted: &str, readings: &[Reading], user: &str| {
            let wanted =
                Wanted { readings: readings.iter().copied().collect(), ..Wanted::parse(wanted).unwrap() };
            Seal::of("5a17", &[wanted]).is_about(event(user).as_bytes(), "")
        };
        let (large, small) =
            ("\"2EB8AA08-AA98-11EA-B4AA-73B441D16380\"", "/userId=2eb8aa08-aa98-11ea-b4aa-73b441d16380");
        assert!(is(small, &[], large) && !is("/userId=ann", &[], "\"Ann\""));
        assert!(is("/userId=7", &[], "7.0") && !is("/userId=7", &[], "\"007\""));
        assert!(
            is("/userId=7", &[Reading::Integer], "\"007\"")
                && is("/userId=\"007\"", &[Reading::Integer], "7")
        );
        assert!(!is("/userId=u7", &[Reading::Integer], "7"));
    }

    #[test]
    fn documents_of_before_are_about_the_same_and_are_found_by_the_same_words() {
        // As they were written: the hash of the value as it was given, and nothing more.
        let before = |value: &str| -> Seal {
            let term = serde_json::json!({"fields": ["/userId"], "hash": hashed("5a17", value)});
            serde_json::from_value(serde_json::json!({"salt": "5a17", "terms": [term]})).unwrap()
        };
        let large = "2EB8AA08-AA98-11EA-B4AA-73B441D16380";
        let small = large.to_lowercase();
        for (value, events) in [
            (large, [format!("\"{large}\""), format!("\"{small}\"")]),
            (&small, [format!("\"{large}\""), format!("\"{small}\"")]),
            ("7", ["7.0".to_owned(), "\"7\"".to_owned()]),
            ("-0", ["-0".to_owned(), "\"-0\"".to_owned()]),
            ("Ann", ["\"Ann\"".to_owned(), "\"\\u0041nn\"".to_owned()]),
        ] {
            for event in events {
                let event = format!(r#"{{"userId":{event}}}"#);
                assert!(before(value).is_about(event.as_bytes(), ""), "{value} {event}");
            }
            let wanted = Wanted::new(vec![Field::parse("/userId").unwrap()], value.to_owned());
            let read = Wanted { readings: [Reading::Integer].into(), ..wanted.clone() };
            assert!(
                before(value).is_of(std::slice::from_ref(&wanted))
                    && before(value).is_of(std::slice::from_ref(&read))
            );
            assert!(Seal::of("5a17", &[wanted]).is_of(&[read]));
        }
        let other = Wanted::parse("/userId=u2").unwrap();
        assert!(
            !before("u1").is_of(std::slice::from_ref(&other)) && !before("u2").is_of(&[other.clone(), other])
        );
        assert!(!before("u1").is_about(br#"{"userId":"U1"}"#, ""));
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for wrong in ["", "a", "a=", "=1", "a != 1", "a == 1", "a >= 1", "a = [1]", "a = null", "/=1"] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong}");
        }
    }
}
