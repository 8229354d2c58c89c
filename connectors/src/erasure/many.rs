//! All erasures of a lake at once, asked of every event that comes back by another way than its stream.

use std::collections::HashMap;

use super::field::Field;
use super::seal::{Seal, Ways};
use super::spelling::{Reading, Value};
use crate::clock::Millis;
use crate::json::Object;

/// Every erasure there is.
#[derive(Debug, Clone, Default)]
pub struct Erasures {
    /// Those of one term, by what is compared: an event is hashed once for all of a group.
    groups: Vec<Group>,
    /// The others, one by one.
    others: Vec<(Seal, Millis)>,
}

#[derive(Debug, Clone)]
struct Group {
    salt: String,
    names: Vec<String>,
    fields: Vec<Field>,
    is_key: bool,
    ways: Ways,
    /// Until when, by the hashes of the value.
    until: HashMap<(Option<Reading>, String), Millis>,
}

impl Erasures {
    /// These: each condition with the moment before which its events must have arrived.
    pub fn new(all: impl IntoIterator<Item = (Seal, Millis)>) -> Self {
        let mut erasures = Erasures::default();
        for (seal, until) in all {
            erasures.add(seal, until);
        }
        erasures
    }

    fn add(&mut self, seal: Seal, until: Millis) {
        let [term] = seal.terms() else {
            self.others.push((seal, until));
            return;
        };
        let ways = term.ways();
        let alike = |group: &&mut Group| {
            group.salt == seal.salt()
                && group.names == term.fields
                && group.is_key == term.is_key
                && group.ways == ways
        };
        let latest = |group: &mut Group| {
            for (way, hash) in term.hashes() {
                let known = group.until.entry((way, hash.clone())).or_insert(until);
                *known = until.max(*known);
            }
        };
        if let Some(group) = self.groups.iter_mut().find(alike) {
            return latest(group);
        }
        let mut group = Group {
            salt: seal.salt().to_owned(),
            names: term.fields.clone(),
            fields: term.fields(),
            is_key: term.is_key,
            ways: ways.clone(),
            until: HashMap::new(),
        };
        latest(&mut group);
        self.groups.push(group);
    }

    /// Whether nothing was ever erased.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others.is_empty()
    }

    /// Whether an event that arrived at `arrived_at` is erased: it must not become a row, be delivered, or be shown again.
    pub fn cover(&self, data: &[u8], key: &str, arrived_at: Millis) -> bool {
        if self.is_empty() {
            return false;
        }
        let object = Object::parse(data).ok();
        let grouped = self.groups.iter().any(|group| {
            let mut is = |value: &Value<'_>| {
                let hashes = group.ways.hashes(&group.salt, value);
                hashes.iter().any(|hash| group.until.get(hash).is_some_and(|until| arrived_at < *until))
            };
            (group.is_key && object.is_none() && is(&Value::text(key)))
                || object
                    .as_ref()
                    .is_some_and(|object| group.fields.iter().any(|field| field.any(object, &mut is)))
        });
        grouped || self.others.iter().any(|(seal, until)| arrived_at < *until && seal.is_about(data, key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Wanted;
    use super::*;

    fn seal(conditions: &[String]) -> Seal {
        let wanted: Vec<Wanted> = conditions.iter().map(|text| Wanted::parse(text).unwrap()).collect();
        Seal::of("5a17", &wanted)
    }

    #[test]
    fn a_person_may_come_back() {
        let all = Erasures::new([(seal(&["/userId=u1".into()]), Millis(10))]);
        let event = br#"{"user_id":"u1"}"#;
        assert!(all.cover(event, "", Millis(9)) && !all.cover(event, "", Millis(10)));
        assert!(!all.cover(br#"{"user_id":"u2"}"#, "u1", Millis(9)));
        assert!(!Erasures::default().cover(event, "", Millis(9)));
    }

    proptest! {
        /// Asked all at once, erasures say what each by itself says.
        #[test]
        fn all_at_once_are_each_by_itself(
            asked in proptest::collection::vec((0u8..4, proptest::option::of(0u8..2), 0i64..20), 0..8),
            user in 0u8..5, plan in 0u8..3, at in 0i64..20,
        ) {
            let one = |(user, plan, until): &(u8, Option<u8>, i64)| {
                let mut conditions = vec![format!("/userId=u{user}")];
                conditions.extend(plan.map(|plan| format!("/plan={plan}")));
                (seal(&conditions), Millis(*until))
            };
            let event = format!(r#"{{"userId":"u{user}","plan":{plan}}}"#);
            let covers = |of: &[_]| Erasures::new(of.iter().map(one)).cover(event.as_bytes(), "", Millis(at));
            let expected = asked.iter().any(|(who, which, until)| {
                *who == user && which.is_none_or(|which| which == plan) && at < *until
            });
            prop_assert_eq!(covers(&asked), expected);
            prop_assert_eq!(asked.iter().any(|one| covers(std::slice::from_ref(one))), expected);
        }
    }
}
