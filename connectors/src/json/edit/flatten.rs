//! Flattening: what lies inside an object, however deep, becomes members beside it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Key, Node, Tree};
use crate::json::Pointer;

/// Objects that nest deeper stay objects.
const DEEPEST: usize = 64;
/// Bytes of names that one object is flattened into, at most: long names repeated for every value would fill the memory.
const NAMES: usize = 1 << 20;

/// Why an object cannot be flattened: what was found.
pub(crate) type Unflattened = String;

impl Tree<'_> {
    /// Puts the values inside the object that a pointer leads to beside it, in its place. Their names are `prefix` and the names on
    /// the way to them, joined by `separator`. Arrays and empty objects are values. What is no object, or an element of an array,
    /// stays.
    ///
    /// # Errors
    /// A name that is there already; the tree is not changed then.
    pub(crate) fn flatten(
        &mut self,
        pointer: &Pointer,
        separator: &str,
        prefix: &str,
    ) -> Result<(), Unflattened> {
        let Some((last, way)) = pointer.tokens().split_last() else { return Ok(()) };
        let holder = way.iter().try_fold(&mut self.root, |node, token| node.child(token));
        let Some(holder) = holder else { return Ok(()) };
        let Some(place) = holder.place(last) else { return Ok(()) };
        let Node::Object(members) = holder else { return Ok(()) };
        let Some((_, object)) = members.get_mut(place) else { return Ok(()) };
        let mut values = Values { separator, found: Vec::new(), names: 0 };
        if !is_flat(object) {
            return Ok(());
        }
        let whole = object.clone();
        values.gather(whole, prefix, 0)?;
        let mut names: HashSet<&str> = HashSet::new();
        let others = members.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, (key, _))| key);
        for key in others.chain(values.found.iter().map(|(key, _)| key)) {
            if let Key::Name(name) = key
                && !names.insert(name)
            {
                let name: String = name.chars().take(64).collect();
                return Err(format!("`{name}` twice"));
            }
        }
        members.splice(place..=place, values.found);
        Ok(())
    }
}

/// Whether a value is an object whose members can be named otherwise.
fn is_flat(node: &mut Node<'_>) -> bool {
    node.open();
    let Node::Object(members) = node else { return false };
    !members.is_empty() && members.iter().all(|(key, _)| matches!(key, Key::Name(_)))
}

/// Values found so far, under their new names.
struct Values<'a, 's> {
    separator: &'s str,
    found: Vec<(Key<'a>, Node<'a>)>,
    names: usize,
}

impl<'a> Values<'a, '_> {
    fn gather(&mut self, mut node: Node<'a>, name: &str, depth: usize) -> Result<(), Unflattened> {
        if depth > DEEPEST || !is_flat(&mut node) {
            self.names += name.len();
            if self.names > NAMES {
                return Err(format!("more than {NAMES} bytes of names"));
            }
            self.found.push((Key::Name(Cow::Owned(name.to_owned())), node));
            return Ok(());
        }
        let Node::Object(members) = node else { return Ok(()) };
        for (key, value) in members {
            let Key::Name(inner) = key else { continue }; // cannot be: it was looked at
            // The outermost prefix brings its own separator, or wants none.
            let separator = if depth == 0 { "" } else { self.separator };
            if name.len() + inner.len() > NAMES {
                return Err(format!("more than {NAMES} bytes of names"));
            }
            self.gather(value, &format!("{name}{separator}{inner}"), depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Object;

    fn flat(text: &str, pointer: &str, separator: &str, prefix: &str) -> Result<String, String> {
        let object = Object::parse(text.as_bytes()).unwrap();
        let mut tree = Tree::of(&object);
        tree.flatten(&Pointer::parse(pointer).unwrap(), separator, prefix)?;
        Ok(tree.write())
    }

    #[test]
    fn values_stand_beside_the_object_in_its_place() {
        let event = r#"{"a":1,"c":{"ip":"x","page":{"url":1.10,"l":[{"n":1}],"e":{}},"n":null},"z":{"c":2}}"#;
        for (pointer, separator, prefix, wanted) in [
            (
                "/c",
                "_",
                "c_",
                r#"{"a":1,"c_ip":"x","c_page_url":1.10,"c_page_l":[{"n":1}],"c_page_e":{},"c_n":null,"z":{"c":2}}"#,
            ),
            (
                "/c/page",
                ".",
                "",
                r#"{"a":1,"c":{"ip":"x","url":1.10,"l":[{"n":1}],"e":{},"n":null},"z":{"c":2}}"#,
            ),
            ("/z", "_", "c", &event.replace(r#""z":{"c":2}"#, r#""cc":2"#)),
        ] {
            assert_eq!(flat(event, pointer, separator, prefix).as_deref(), Ok(wanted), "{pointer}");
        }
        for same in ["/a", "/none", "/c/page/l", "/c/page/l/0", "/c/page/e", "/c/n"] {
            assert_eq!(flat(event, same, "_", "").as_deref(), Ok(event), "{same}");
        }
        // A name that is no Unicode cannot be joined: its object stays whole.
        let odd = r#"{"o":{"p":{"\ud800":1},"q":2}}"#;
        assert_eq!(flat(odd, "/o", "_", "o_").unwrap(), r#"{"o_p":{"\ud800":1},"o_q":2}"#);
    }

    #[test]
    fn names_that_are_there_already_and_too_much_of_them_are_told() {
        for event in [r#"{"o_a":1,"o":{"a":2}}"#, r#"{"o":{"a":{"b":1},"a_b":2}}"#] {
            assert!(flat(event, "/o", "_", "o_").unwrap_err().ends_with("twice"), "{event}");
        }
        let long = format!(r#"{{"o":{{"{}":{{"a":1,"b":2}}}}}}"#, "x".repeat(NAMES / 2));
        assert!(flat(&long, "/o", "_", "").unwrap_err().contains("bytes of names"));
        let deep = format!(r#"{{"o":{}1{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
        let told = flat(&deep, "/o", "", "").unwrap();
        assert_eq!(told.matches(r#"{"a":"#).count(), 5_000 - DEEPEST - 1, "what lies deeper stays an object");
    }
}
