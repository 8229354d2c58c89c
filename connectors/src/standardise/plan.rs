//! What a table's schema asks of each member of an event, in the form the fast reader wants it.

use super::rule::rules;
use crate::json::name::Name;
use crate::schema::node::Node;
use crate::schema::types::Types;
use crate::schema::{Column, ColumnKind, TableSchema};

/// Members of an event that become cells, by their places.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) members: Vec<Member>,
    /// The places of the members whose names are so many bytes long.
    by_length: Vec<Vec<usize>>,
    /// The places of those that must be there.
    pub(super) required: Vec<usize>,
}

/// A member that becomes a cell.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name; `None` when it only stands in an event with escapes.
    pub(super) name: Option<Name>,
    pub(super) how: How,
}

/// What has to be done with a value while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// A string or null; the column is asked the rest.
    Text,
    /// A whole number; the column is asked the rest.
    Whole,
    /// A number; the column is asked the rest.
    Number,
    /// JSON text of one of these types, nothing else is asked.
    Json(Types),
    /// Everything the schema says.
    Check,
}

impl Plan {
    /// The plan of a schema; `None` when it asks something of events as a whole.
    pub(super) fn of(schema: &TableSchema) -> Option<Plan> {
        let shape = &schema.root().shape;
        if !schema.root().constants.is_empty() {
            return None;
        }
        let required: Option<Vec<usize>> =
            shape.required.iter().map(|name| shape.places.get(name).copied()).collect();
        let members = shape
            .properties
            .iter()
            .zip(schema.columns())
            .map(|((name, node), column)| Member { name: Name::new(name), how: how(node, column) });
        let members: Vec<Member> = members.collect();
        let length = |member: &Member| member.name.as_ref().map(|name| name.bytes().len());
        let longest = members.iter().filter_map(length).max().unwrap_or_default();
        let mut by_length = vec![Vec::new(); longest + 1];
        for (place, member) in members.iter().enumerate() {
            if let Some(length) = length(member) {
                by_length[length].push(place);
            }
        }
        Some(Plan { members, by_length, required: required? })
    }

    /// The place of the member with this name, which stands in its event without escapes.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        let places = self.by_length.get(name.len())?;
        let is_it = |place: &usize| {
            self.members[*place].name.as_ref().is_some_and(|member| member.bytes() == name.as_bytes())
        };
        places.iter().copied().find(is_it)
    }
}

fn how(node: &Node, column: &Column) -> How {
    if column.kind == ColumnKind::Json {
        return json(node);
    }
    match (rules(node, column), column.kind) {
        (Some(_), ColumnKind::Text) => How::Text,
        (Some(_), ColumnKind::Integer) => How::Whole,
        (Some(_), ColumnKind::Number) => How::Number,
        _ => How::Check,
    }
}

fn json(node: &Node) -> How {
    let plain = !node.never && node.constants.is_empty() && !node.constrains_strings();
    if !plain || !node.bounds.is_empty() || node.items.is_some() || !node.shape.is_open() {
        return How::Check;
    }
    let types = node.types.unwrap_or_else(Types::all);
    // Whether a number is a whole one takes a look at it.
    let by_kind = types.has(Types::NUMBER) || !types.has(Types::INTEGER);
    if by_kind { How::Json(types) } else { How::Check }
}

/// Whether a value that begins with this byte is of one of `types`; of numbers only what `how` lets through.
pub(super) fn is_of(types: Types, first: u8) -> bool {
    let kind = match first {
        b'"' => Types::STRING,
        b'{' => Types::OBJECT,
        b'[' => Types::ARRAY,
        b't' | b'f' => Types::BOOLEAN,
        b'n' => Types::NULL,
        _ => Types::NUMBER,
    };
    types.has(kind)
}
