//! One event as one row: a checked cell per column, and the fields that no column holds.

use super::cell::Cell;
use super::rejection::Rejection;
use crate::json::Object;
use crate::schema::TableSchema;
use crate::schema::node::Node;

/// A row that its table takes.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// One per data column.
    pub(crate) cells: Vec<Cell<'a>>,
    /// A JSON object of the members that are no columns, if there are any.
    pub(crate) extra: Option<String>,
}

impl<'a> Row<'a> {
    /// Reads and checks an event.
    pub(crate) fn read(schema: &TableSchema, event: &Object<'a>) -> Result<Row<'a>, Rejection> {
        let (root, columns) = (schema.root(), schema.columns());
        let mut row = Row { cells: vec![Cell::Null; columns.len()], extra: None };
        let mut expected = 0;
        for (key, value) in event.members() {
            match root.shape.place(key, expected) {
                Some(place) => {
                    expected = place + 1;
                    let node = &root.shape.properties[place].1;
                    let cell = Cell::read(node, &columns[place], value.get());
                    row.cells[place] = cell.map_err(|rejection| rejection.under(key))?;
                }
                None => {
                    root.shape.additional.check(key, value.get())?;
                    row.keep(key, value.get());
                }
            }
        }
        root.shape.check_required(event)?;
        check_constants(root, event)?;
        Ok(row)
    }

    /// Adds a member to `extra`, its value as it was received.
    fn keep(&mut self, key: &str, raw: &str) {
        let extra = self.extra.get_or_insert_with(|| "{}".to_owned());
        extra.pop();
        if extra.len() > 1 {
            extra.push(',');
        }
        extra.push_str(&serde_json::Value::from(key).to_string());
        extra.push(':');
        extra.push_str(raw);
        extra.push('}');
    }
}

fn check_constants(root: &Node, event: &Object<'_>) -> Result<(), Rejection> {
    let holds = |constant: &crate::schema::constant::Constant| constant.equals_object(event);
    match root.constants.iter().find(|(_, allowed)| !allowed.iter().any(holds)) {
        Some((rule, _)) => Err(Rejection::of(rule.name(), "{")),
        None => Ok(()),
    }
}
