//! What a destination gets to see of an event: a few steps by JSON pointer, always in the same order.
//!
//! | step | does |
//! |---|---|
//! | `consent` | skips the event unless its person agreed |
//! | `pick` | keeps only what is named |
//! | `drop` | removes what is named |
//! | `rename` | moves values, all at once: names can be swapped |
//! | `hash` | replaces values by the SHA-256 of their trimmed lower-cased text; pointers as they are after renaming |
//! | `constant` | puts in fixed values |
//! | `template` | puts in texts made of parts of the *original* event |
//!
//! Nothing is read that no step names: numbers and texts keep their exact bytes.

mod compile;
mod consent;
mod template;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::json::edit::{Paths, Tree, quoted};
use crate::json::{Object, Pointer};
use crate::schema::text::decode;
use crate::schema::types::Kind;
use consent::Consent;
use template::Template;

/// The mapping of one destination, ready to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    consent: Option<Consent>,
    pick: Option<Paths>,
    drop: Option<Paths>,
    /// In the order in which values are taken out: what lies deeper, and further back in an array, first.
    rename: Vec<(Pointer, Pointer)>,
    hash: Vec<Pointer>,
    constant: Vec<(Pointer, String)>,
    template: Vec<(Pointer, Template)>,
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
}

impl Mapping {
    /// Compiles the table of a mapping, or reports everything that is wrong with it.
    pub fn compile(settings: &Value) -> Result<Mapping, Vec<Problem>> {
        compile::compile(settings)
    }

    /// The event as the destination gets it. `raw` is the text that `event` was read from; a mapping that changes nothing
    /// hands it on uncopied.
    pub fn apply(&self, event: &Object<'_>, raw: &Bytes) -> Mapped {
        if self.consent.as_ref().is_some_and(|consent| !consent.is_given(event)) {
            return Mapped::Skip;
        }
        if !self.changes() {
            return Mapped::Deliver(raw.clone());
        }
        let mut tree = Tree::of(event);
        if let Some(paths) = &self.pick {
            tree.keep(paths);
        }
        if let Some(paths) = &self.drop {
            tree.remove(paths);
        }
        self.rename(&mut tree);
        for pointer in &self.hash {
            tree.change(pointer, hashed);
        }
        for (pointer, json) in &self.constant {
            tree.set(pointer, json.clone());
        }
        for (pointer, template) in &self.template {
            tree.set(pointer, quoted(&template.fill(event)));
        }
        Mapped::Deliver(tree.write().into())
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
        self.pick.is_some() || self.drop.is_some() || puts > 0
    }
}

/// The hash that stands for a value, as advertising and mail services expect it of addresses; nothing stands for null.
fn hashed(json: &str) -> Option<String> {
    let text = match Kind::of(json) {
        Kind::Null => return None,
        // Half of a surrogate pair has no text: its JSON is hashed, so that it does not pass as it is.
        Kind::String => decode(json).map_or_else(|| json.to_owned(), |text| text.trim().to_lowercase()),
        Kind::Boolean | Kind::Number | Kind::Array | Kind::Object => json.to_owned(),
    };
    let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(quoted(&digest))
}
