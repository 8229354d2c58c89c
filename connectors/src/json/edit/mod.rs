//! Editing an object without reading it: a tree that is opened only along the pointers that are followed.
//!
//! What is not opened stays the text that was received, so `1.10` stays `1.10`, 2⁷⁰ stays 2⁷⁰ and half of a surrogate
//! pair stays what it is. An object that is opened loses white space between its members, and of a repeated key only the
//! last value is kept, in the place of the first: no pointer can then miss a second one.

mod flatten;

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::pairs::pairs;
use super::pointer::index;
use super::{Object, Pointer};
use crate::schema::text::decode;

/// An object being edited.
#[derive(Debug, Clone)]
pub struct Tree<'a> {
    root: Node<'a>,
}

/// A value taken out of a [`Tree`].
#[derive(Debug, Clone)]
pub struct Piece<'a>(Node<'a>);

/// Several pointers as one tree, so that they all mean the same version of an object: removing the first element of an
/// array does not change which one the second is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    chosen: bool,
    below: Vec<(String, Paths)>,
}

#[derive(Debug, Clone)]
enum Node<'a> {
    /// Not opened.
    Raw(&'a str),
    /// Put in from elsewhere, not opened.
    Text(String),
    Object(Vec<(Key<'a>, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key<'a> {
    Name(Cow<'a, str>),
    /// A JSON string that is no Unicode: no pointer names it, and it stays as it is.
    Raw(Cow<'a, str>),
}

const NULL: Node<'static> = Node::Raw("null");

/// Objects with more members than this find repeated keys by a hash map.
const FEW: usize = 24;

impl Paths {
    /// The paths of these pointers.
    pub fn of<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Paths {
        let mut paths = Paths::default();
        for pointer in pointers {
            paths.add(pointer.tokens());
        }
        paths
    }

    fn add(&mut self, tokens: &[String]) {
        let Some((first, rest)) = tokens.split_first() else {
            self.chosen = true;
            return;
        };
        match self.below.iter_mut().find(|(token, _)| token == first) {
            Some((_, below)) => below.add(rest),
            None => {
                let mut below = Paths::default();
                below.add(rest);
                self.below.push((first.clone(), below));
            }
        }
    }

    fn member(&self, key: &Key<'_>) -> Option<&Paths> {
        self.below.iter().find(|(token, _)| key.is(token)).map(|(_, paths)| paths)
    }

    fn element(&self, place: usize) -> Option<&Paths> {
        self.below.iter().find(|(token, _)| index(token) == Some(place)).map(|(_, paths)| paths)
    }
}

impl<'a> Tree<'a> {
    /// The tree of an object.
    pub fn of(object: &'a Object<'a>) -> Self {
        let member =
            |(name, value): (&'a str, &'a RawValue)| (Key::Name(Cow::Borrowed(name)), Node::Raw(value.get()));
        Tree { root: Node::Object(object.members().map(member).collect()) }
    }

    /// Removes everything but what the pointers lead to. Elements of arrays close up.
    pub fn keep(&mut self, paths: &Paths) {
        self.root.keep(paths);
    }

    /// Removes what the pointers lead to. Elements of arrays close up.
    pub fn remove(&mut self, paths: &Paths) {
        self.root.remove(paths);
    }

    /// Removes a value and hands it out.
    pub fn take(&mut self, pointer: &Pointer) -> Option<Piece<'a>> {
        let (last, way) = pointer.tokens().split_last()?;
        let holder = way.iter().try_fold(&mut self.root, |node, token| node.child(token))?;
        let place = holder.place(last)?;
        match holder {
            Node::Object(members) => Some(Piece(members.remove(place).1)),
            Node::Array(items) => Some(Piece(items.remove(place))),
            Node::Raw(_) | Node::Text(_) => None,
        }
    }

    /// Puts a value where a pointer leads. Objects that are missing on the way are made; what stands on the way and can
    /// hold no such name (a string, an array where the token is no index of it) gives way to an object. The token after
    /// the last element, or `-`, appends to an array.
    pub fn put(&mut self, pointer: &Pointer, piece: Piece<'a>) {
        let place = pointer.tokens().iter().fold(&mut self.root, |node, token| node.child_or_new(token));
        *place = piece.0;
    }

    /// Puts a JSON text where a pointer leads, as [`Tree::put`] does.
    pub fn set(&mut self, pointer: &Pointer, json: String) {
        self.put(pointer, Piece(Node::Text(json)));
    }

    /// Replaces a value by what `change` makes of its JSON text; one that does not exist, or of which it makes nothing,
    /// stays as it is.
    pub fn change(&mut self, pointer: &Pointer, change: impl FnOnce(&str) -> Option<String>) {
        let found = pointer.tokens().iter().try_fold(&mut self.root, |node, token| node.child(token));
        let Some(node) = found else { return };
        let changed = change(&node.text());
        if let Some(text) = changed {
            *node = Node::Text(text);
        }
    }

    /// The object as JSON, each key of what was opened once.
    pub fn write(&self) -> String {
        let mut out = String::new();
        self.root.write(&mut out);
        out
    }
}

impl<'a> Node<'a> {
    /// Reads one level of a value that has not been read yet.
    fn open(&mut self) {
        let opened = match self {
            Node::Raw(text) => open(text, Key::read, Node::Raw),
            Node::Text(text) => {
                open(text, |key| Key::read(key).into_owned(), |value| Node::Text(value.to_owned()))
            }
            Node::Object(_) | Node::Array(_) => None,
        };
        if let Some(opened) = opened {
            *self = opened;
        }
    }

    /// Where the member or element is that a token names.
    fn place(&mut self, token: &str) -> Option<usize> {
        self.open();
        match self {
            Node::Object(members) => members.iter().position(|(key, _)| key.is(token)),
            Node::Array(items) => index(token).filter(|place| *place < items.len()),
            Node::Raw(_) | Node::Text(_) => None,
        }
    }

    fn child(&mut self, token: &str) -> Option<&mut Node<'a>> {
        let place = self.place(token)?;
        self.nth(place)
    }

    fn nth(&mut self, place: usize) -> Option<&mut Node<'a>> {
        match self {
            Node::Object(members) => members.get_mut(place).map(|(_, node)| node),
            Node::Array(items) => items.get_mut(place),
            Node::Raw(_) | Node::Text(_) => None,
        }
    }

    fn child_or_new(&mut self, token: &str) -> &mut Node<'a> {
        let place = match self.place(token) {
            Some(place) => place,
            None => self.grow(token),
        };
        match self {
            Node::Object(members) => &mut members[place].1,
            Node::Array(items) => &mut items[place],
            other => other, // cannot be: only objects and arrays have places
        }
    }

    /// Makes room for a name that is not there yet, and says where.
    fn grow(&mut self, token: &str) -> usize {
        if let Node::Array(items) = self
            && (token == "-" || index(token) == Some(items.len()))
        {
            items.push(NULL);
            return items.len() - 1;
        }
        if !matches!(self, Node::Object(_)) {
            *self = Node::Object(Vec::new());
        }
        let Node::Object(members) = self else { return 0 };
        members.push((Key::Name(Cow::Owned(token.to_owned())), NULL));
        members.len() - 1
    }

    /// Whether anything is kept.
    fn keep(&mut self, paths: &Paths) -> bool {
        if paths.chosen {
            return true;
        }
        self.open();
        match self {
            Node::Object(members) => {
                members.retain_mut(|(key, node)| paths.member(key).is_some_and(|paths| node.keep(paths)));
                !members.is_empty()
            }
            Node::Array(items) => {
                retain(items, |place, node| paths.element(place).is_some_and(|paths| node.keep(paths)));
                !items.is_empty()
            }
            Node::Raw(_) | Node::Text(_) => false,
        }
    }

    /// Removes what is chosen below this value, and says whether the value itself stays.
    fn remove(&mut self, paths: &Paths) -> bool {
        if paths.chosen {
            return false;
        }
        self.open();
        match self {
            Node::Object(members) => {
                members.retain_mut(|(key, node)| paths.member(key).is_none_or(|paths| node.remove(paths)));
            }
            Node::Array(items) => {
                retain(items, |place, node| paths.element(place).is_none_or(|paths| node.remove(paths)));
            }
            Node::Raw(_) | Node::Text(_) => {}
        }
        true
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Node::Raw(text) => Cow::Borrowed(text),
            Node::Text(text) => Cow::Borrowed(text),
            Node::Object(_) | Node::Array(_) => {
                let mut out = String::new();
                self.write(&mut out);
                Cow::Owned(out)
            }
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Node::Raw(text) => out.push_str(text),
            Node::Text(text) => out.push_str(text),
            Node::Object(members) => {
                out.push('{');
                for (place, (key, node)) in members.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    key.write(out);
                    out.push(':');
                    node.write(out);
                }
                out.push('}');
            }
            Node::Array(items) => {
                out.push('[');
                for (place, node) in items.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    node.write(out);
                }
                out.push(']');
            }
        }
    }
}

impl<'a> Key<'a> {
    fn read(raw: &'a str) -> Self {
        decode(raw).map_or(Key::Raw(Cow::Borrowed(raw)), Key::Name)
    }

    fn into_owned<'b>(self) -> Key<'b> {
        match self {
            Key::Name(name) => Key::Name(Cow::Owned(name.into_owned())),
            Key::Raw(raw) => Key::Raw(Cow::Owned(raw.into_owned())),
        }
    }

    fn is(&self, token: &str) -> bool {
        matches!(self, Key::Name(name) if name == token)
    }

    fn write(&self, out: &mut String) {
        match self {
            Key::Name(name) => out.push_str(&quoted(name)),
            Key::Raw(raw) => out.push_str(raw),
        }
    }
}

/// The JSON string that stands for a text.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One level of an object or array; `None` for anything else.
fn open<'t, 'n>(
    text: &'t str,
    key: impl Fn(&'t str) -> Key<'n>,
    value: impl Fn(&'t str) -> Node<'n>,
) -> Option<Node<'n>> {
    match text.as_bytes().first()? {
        b'{' => {
            let members = pairs(text)?.into_iter().map(|(name, one)| (key(name), value(one)));
            Some(Node::Object(each_once(members.collect())))
        }
        b'[' => {
            let items: Vec<&'t RawValue> = serde_json::from_str(text).ok()?;
            Some(Node::Array(items.into_iter().map(|one| value(one.get())).collect()))
        }
        _ => None,
    }
}

/// Of a repeated key the last value counts, in the place of the first.
fn each_once<'n>(pairs: Vec<(Key<'n>, Node<'n>)>) -> Vec<(Key<'n>, Node<'n>)> {
    let mut members: Vec<(Key<'n>, Node<'n>)> = Vec::with_capacity(pairs.len());
    let mut places: HashMap<Key<'n>, usize> = HashMap::new();
    let many = pairs.len() > FEW;
    for (key, node) in pairs {
        let place = match many {
            true => places.get(&key).copied(),
            false => members.iter().position(|(known, _)| *known == key),
        };
        match place {
            Some(place) => members[place].1 = node,
            None => {
                if many {
                    places.insert(key.clone(), members.len());
                }
                members.push((key, node));
            }
        }
    }
    members
}

fn retain<'a>(items: &mut Vec<Node<'a>>, mut stays: impl FnMut(usize, &mut Node<'a>) -> bool) {
    let mut place = 0;
    items.retain_mut(|node| {
        place += 1;
        stays(place - 1, node)
    });
}

#[cfg(test)]
mod tests;
