//! What a destination, or the lake, gets to see of an event: a few steps by JSON pointer, always in the same order.
//!
//! | step | does |
//! |---|---|
//! | `consent` | skips the event unless its person agreed (destinations only) |
//! | `unpack` | puts JSON in the place of the base64 it was packed into |
//! | `parse` | puts JSON in the place of the string it was written into |
//! | `pick` | keeps only what is named |
//! | `drop` | removes what is named |
//! | `rename` | moves values, all at once: names can be swapped |
//! | `hash` | replaces values by the SHA-256 of their trimmed lower-cased text, with `hash_key` by its HMAC; pointers as they are after renaming |
//! | `flatten` | puts the values inside an object beside it, under joined names; pointers as they are after renaming |
//! | `constant` | puts in fixed values |
//! | `template` | puts in texts made of parts of the *original* event |
//!
//! Nothing is read that no step names: numbers and texts keep their exact bytes.

mod compile;
mod consent;
mod hash;
mod structure;
mod template;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;

use crate::destinations::hide::Secret;
use crate::json::edit::{Paths, Tree, quoted};
use crate::json::{Object, Pointer};
use crate::standardise::Rejection;
use consent::Consent;
use structure::Form;
use template::Template;

/// The mapping of one destination or of a stream's way to the lake, ready to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    consent: Option<Consent>,
    /// Shallow ones first, `unpack` before `parse`: what was found in one string may hold another.
    structure: Vec<(Pointer, Form)>,
    pick: Option<Paths>,
    drop: Option<Paths>,
    /// In the order in which values are taken out: what lies deeper, and further back in an array, first.
    rename: Vec<(Pointer, Pointer)>,
    hash: Vec<Pointer>,
    hash_key: Option<Secret>,
    flatten: Vec<(Pointer, Flatten)>,
    constant: Vec<(Pointer, String)>,
    template: Vec<(Pointer, Template)>,
    /// A hash of the table it was compiled from.
    version: u128,
}

/// How the names of flattened values are made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flatten {
    separator: String,
    prefix: String,
}

/// Something wrong with a mapping: the key it concerns (dotted, from the mapping's own table), what is wrong, and what
/// would mend it.
pub type Problem = (String, String, String);

/// An event after its mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// What to deliver: a JSON object.
    Deliver(Bytes),
    /// The event is not for this destination: consent is missing.
    Skip,
    /// A step cannot be done with this event, and never will.
    Refuse(Rejection),
}

impl Mapping {
    /// Compiles the table of a mapping, or reports everything that is wrong with it.
    pub fn compile(settings: &Value) -> Result<Mapping, Vec<Problem>> {
        compile::compile(settings)
    }

    /// The same for mappings that were compiled from the same table.
    pub fn version(&self) -> u128 {
        self.version
    }

    /// The event as the destination gets it. `raw` is the text that `event` was read from; a mapping that changes nothing
    /// hands it on uncopied.
    pub fn apply(&self, event: &Object<'_>, raw: &Bytes) -> Mapped {
        if self.consent.as_ref().is_some_and(|consent| !consent.is_given(event)) {
            return Mapped::Skip;
        }
        match self.change(event) {
            Ok(None) => Mapped::Deliver(raw.clone()),
            Ok(Some(text)) => Mapped::Deliver(text.into()),
            Err(rejection) => Mapped::Refuse(rejection),
        }
    }

    /// The event after every step but `consent`: a JSON object; `None`: it stays as it is.
    ///
    /// # Errors
    /// Which step cannot be done with this event, and why.
    pub fn change(&self, event: &Object<'_>) -> Result<Option<String>, Rejection> {
        if !self.changes() {
            return Ok(None);
        }
        let mut tree = Tree::of(event);
        self.open(&mut tree)?;
        if let Some(paths) = &self.pick {
            tree.keep(paths);
        }
        if let Some(paths) = &self.drop {
            tree.remove(paths);
        }
        self.rename(&mut tree);
        for pointer in &self.hash {
            tree.change(pointer, |json| hash::hashed(self.hash_key.as_ref(), json));
        }
        for (pointer, Flatten { separator, prefix }) in &self.flatten {
            let rule = || format!("names that are free, or fewer (mapping, flatten `{pointer}`)");
            let wrong = |found| Rejection { field: pointer.to_string(), rule: rule(), found };
            tree.flatten(pointer, separator, prefix).map_err(wrong)?;
        }
        for (pointer, json) in &self.constant {
            tree.set(pointer, json.clone());
        }
        for (pointer, template) in &self.template {
            tree.set(pointer, quoted(&template.fill(event)));
        }
        Ok(Some(tree.write()))
    }

    /// Whether an event can be skipped: there is a step `consent`.
    pub fn may_skip(&self) -> bool {
        self.consent.is_some()
    }

    /// Puts structure in the place of the strings that hold it.
    fn open(&self, tree: &mut Tree<'_>) -> Result<(), Rejection> {
        for (pointer, form) in &self.structure {
            let mut wrong = None;
            tree.change(pointer, |json| {
                form.read(json).unwrap_or_else(|rejection| {
                    wrong = Some(rejection);
                    None
                })
            });
            if let Some(rejection) = wrong {
                let rule = format!("{} (mapping)", rejection.rule);
                return Err(Rejection { field: pointer.to_string(), rule, ..rejection });
            }
        }
        Ok(())
    }

    /// Everything is taken out before anything is put in; what is put in last lies deepest, so that nothing is covered.
    fn rename(&self, tree: &mut Tree<'_>) {
        let mut taken: Vec<_> =
            self.rename.iter().filter_map(|(from, to)| Some((to, tree.take(from)?))).collect();
        taken.sort_by_key(|(to, _)| to.tokens().len());
        for (to, piece) in taken {
            tree.put(to, piece);
        }
    }

    fn changes(&self) -> bool {
        let puts = self.rename.len() + self.hash.len() + self.constant.len() + self.template.len();
        let forms = self.structure.len() + self.flatten.len();
        self.pick.is_some() || self.drop.is_some() || puts + forms > 0
    }
}
