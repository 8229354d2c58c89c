//! Columns of before and after: which are wider, which are others.

use std::collections::{BTreeSet, HashMap};

use super::nodes::{looser, narrower};
use super::{Change, Found};
use crate::schema::{Column, ColumnKind, TableSchema};
use crate::standardise::rejection::pointer_token;

/// Compares the columns by name; answers the properties whose column has another kind, which is judged here.
pub(super) fn compare(found: &mut Found, old: &TableSchema, new: &TableSchema) -> BTreeSet<String> {
    let before: HashMap<String, &Column> =
        old.columns().iter().map(|column| (column.name.to_lowercase(), column)).collect();
    let mut retyped = BTreeSet::new();
    for column in new.columns() {
        let at = format!("/properties{}", pointer_token(&column.property));
        match before.get(&column.name.to_lowercase()) {
            Some(was) => {
                same_name(found, &at, (was, column));
                if was.kind != column.kind {
                    retyped.insert(column.property.clone());
                }
            }
            None => moved(found, &at, old, column),
        }
    }
    retyped
}

/// A column that is there before and after.
fn same_name(found: &mut Found, at: &str, (was, is): (&Column, &Column)) {
    if was.name != is.name {
        let message = format!("the column `{}` is now called `{}`", was.name, is.name);
        let change = Change::model(format!("{at}/x-column"), "names differ in more than case", message);
        found.push(change.fix(format!("keep the name `{}`: engines do not tell cases apart", was.name)));
    }
    if was.property != is.property {
        let message =
            format!("the column `{}` held `{}` and holds `{}` now", is.name, was.property, is.property);
        found.push(Change::revision(format!("{at}/x-column"), "another property feeds the column", message));
    }
    if was.kind != is.kind {
        found.push(retyped(at, (was, is)));
    }
    found.extend(from_string(at, (was, is)));
}

/// A property that goes into another column than before.
fn moved(found: &mut Found, at: &str, old: &TableSchema, column: &Column) {
    let Some(was) = old.columns().iter().find(|was| was.property == column.property) else { return };
    let message = format!(
        "`{}` goes into the column `{}`; rows of before keep it in `{}`",
        column.property, column.name, was.name
    );
    found.push(
        Change::revision(format!("{at}/x-column"), "another column takes the property", message)
            .fix("query both, or keep the name"),
    );
}

fn retyped(at: &str, (was, is): (&Column, &Column)) -> Change {
    if let (ColumnKind::Text, ColumnKind::Uuid) | (ColumnKind::Uuid, ColumnKind::Text) = (was.kind, is.kind) {
        return stored(at, (was, is));
    }
    let pointer = format!("{at}/type");
    let message = format!("the column `{}` held {} and holds {} now", is.name, name(was.kind), name(is.kind));
    let Some(advice) = widening(was.kind, is.kind) else {
        let rule = "a column only becomes wider: integer, double, string";
        return Change::model(pointer, rule, message)
            .fix("keep the type, and give what is new a property of another name");
    };
    Change::revision(pointer, "a wider type", message).fix(advice)
}

/// The same values in another form.
fn stored(at: &str, (was, is): (&Column, &Column)) -> Change {
    let message = format!("the column `{}` held {} and holds {} now", is.name, name(was.kind), name(is.kind));
    let rule = "a column keeps texts or bytes for good: no engine reads the one as the other";
    Change::model(format!("{at}/x-storage"), rule, message).fix(format!(
        "keep the storage; or put the property into a new column with `x-column`, and query both: rows of before stay in `{}`",
        was.name
    ))
}

/// What to know of a column that becomes wider; `None` when it does not.
fn widening(was: ColumnKind, is: ColumnKind) -> Option<&'static str> {
    match (was, is) {
        (ColumnKind::Integer, ColumnKind::Number) => {
            Some("rows of before are read as doubles; beyond 2^53 they lose their last digits")
        }
        (ColumnKind::Integer | ColumnKind::Number, ColumnKind::Text) => {
            Some("rows of before are read as strings; producers must send strings from now on")
        }
        // As JSON they read what they are.
        (ColumnKind::Integer | ColumnKind::Number | ColumnKind::Boolean, ColumnKind::Json) => {
            Some("rows of before are read as JSON text")
        }
        _ => None,
    }
}

/// Whether strings are read as what the column holds.
fn reads_strings(column: &Column) -> bool {
    column.from_string && !matches!(column.kind, ColumnKind::Text | ColumnKind::Json)
}

fn from_string(at: &str, (was, is): (&Column, &Column)) -> Option<Change> {
    let pointer = format!("{at}/x-from-string");
    let takes_strings = |column: &Column| reads_strings(column) || column.kind == ColumnKind::Text;
    if reads_strings(was) && !takes_strings(is) {
        let change = narrower(pointer, format!("`{}` is no longer read from strings", is.property));
        return Some(change.fix("leave `x-from-string` true"));
    }
    let message = || format!("`{}` is read from strings, too", is.property);
    (reads_strings(is) && !takes_strings(was)).then(|| looser(pointer, message()))
}

fn name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "strings",
        ColumnKind::Integer => "integers",
        ColumnKind::Number => "doubles",
        ColumnKind::Boolean => "booleans",
        ColumnKind::Time => "moments",
        ColumnKind::Date => "days",
        ColumnKind::Uuid => "UUIDs as bytes",
        ColumnKind::Json => "JSON text",
    }
}
