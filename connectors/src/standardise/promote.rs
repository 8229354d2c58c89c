//! Promoting rows of before: values that stand in `extra` because the schema did not name them then, moved into the columns that it has
//! for them now.
//!
//! A value is moved when the schema takes it, as if the event came today. What it does not take stays in `extra` and is counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::compute::kernels::zip::zip;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use serde::Serialize;
use serde_json::value::RawValue;

use super::cell::Cell;
use super::column::Column;
use crate::json::Object;
use crate::schema::{EXTRA, TableSchema};

/// How many values were moved or left, by column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Moves {
    /// Moved out of `extra`.
    pub moved: BTreeMap<String, u64>,
    /// Left there, because the schema does not take them or the column has a value already.
    pub kept: BTreeMap<String, u64>,
}

impl Moves {
    /// Whether nothing was moved.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty()
    }

    /// Counts those of `other`, too.
    pub fn add(&mut self, other: &Moves) {
        let sides = [(&mut self.moved, &other.moved), (&mut self.kept, &other.kept)];
        for (mine, others) in sides {
            for (column, count) in others {
                *mine.entry(column.clone()).or_default() += count;
            }
        }
    }
}

/// The promotion of rows to the columns of a schema.
#[derive(Debug, Clone)]
pub struct Promotion {
    schema: Arc<TableSchema>,
}

impl Promotion {
    /// To the columns of `schema`.
    pub fn new(schema: Arc<TableSchema>) -> Self {
        Promotion { schema }
    }

    /// The schema.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Promotes the rows of `batch`, which has at least the schema's columns, and counts.
    ///
    /// # Errors
    /// When the columns are not what the schema makes of them, nor anything that they can be cast to.
    pub fn apply(&self, batch: &RecordBatch, moves: &mut Moves) -> Result<RecordBatch, ArrowError> {
        let Some(extra) = batch.column_by_name(EXTRA).and_then(|column| column.as_string_opt::<i32>()) else {
            return Ok(batch.clone());
        };
        let mut moving = Moving { batch, schema: &self.schema, columns: BTreeMap::new() };
        let mut rest: Vec<Option<Cow<'_, str>>> = Vec::with_capacity(extra.len());
        for (row, text) in extra.iter().enumerate() {
            rest.push(text.and_then(|text| moving.row(row, text, moves)));
        }
        if moving.columns.is_empty() {
            return Ok(batch.clone());
        }
        moving.finish(&rest.into_iter().collect::<StringArray>())
    }
}

/// A batch whose values move.
struct Moving<'a> {
    batch: &'a RecordBatch,
    schema: &'a TableSchema,
    /// New values and where there are some, by the place of their column.
    columns: BTreeMap<usize, (Column, Vec<bool>)>,
}

impl Moving<'_> {
    /// Moves what one row's `extra` holds; what is left of it.
    fn row<'t>(&mut self, row: usize, text: &'t str, moves: &mut Moves) -> Option<Cow<'t, str>> {
        let Ok(object) = Object::parse(text.as_bytes()) else { return Some(Cow::Borrowed(text)) };
        let mut left: Vec<(&str, &RawValue)> = Vec::new();
        let mut is_moved = false;
        for (key, value) in object.members() {
            match self.schema.root().shape.place(key, usize::MAX) {
                Some(place) if self.value(row, place, value.get(), moves) => is_moved = true,
                _ => left.push((key, value)),
            }
        }
        match (is_moved, left.is_empty()) {
            (false, _) => Some(Cow::Borrowed(text)),
            (true, true) => None,
            (true, false) => Some(Cow::Owned(object_of(&left))),
        }
    }

    /// Moves a value if its column takes it.
    fn value(&mut self, row: usize, place: usize, raw: &str, moves: &mut Moves) -> bool {
        let properties = &self.schema.root().shape.properties;
        let (Some((_, node)), Some(column)) = (properties.get(place), self.schema.columns().get(place))
        else {
            return false;
        };
        let is_free = self.batch.column_by_name(&column.name).is_some_and(|values| values.is_null(row));
        let cell = if is_free { Cell::read(node, column, raw).ok() } else { None };
        let counted = if cell.is_some() { &mut moves.moved } else { &mut moves.kept };
        *counted.entry(column.name.clone()).or_default() += 1;
        let Some(cell) = cell else { return false };
        let rows = self.batch.num_rows();
        let fresh = || (Column::new(&column.kind.arrow()), vec![false; rows]);
        let (values, there) = self.columns.entry(place).or_insert_with(fresh);
        if cell != Cell::Null {
            values.put(row, &cell);
            if let Some(there) = there.get_mut(row) {
                *there = true;
            }
        }
        true
    }

    /// The batch with what has moved.
    fn finish(self, rest: &StringArray) -> Result<RecordBatch, ArrowError> {
        let (schema, rows) = (self.batch.schema(), self.batch.num_rows());
        let mut columns: Vec<ArrayRef> = self.batch.columns().to_vec();
        for (place, (mut values, there)) in self.columns {
            let Some(column) = self.schema.columns().get(place) else { continue };
            let at = schema.index_of(&column.name)?;
            let values = values.finish(&column.kind.arrow(), rows)?;
            let values = cast(&values, schema.field(at).data_type())?;
            columns[at] = zip(&BooleanArray::from(there), &values, &columns[at])?;
        }
        columns[schema.index_of(EXTRA)?] = Arc::new(rest.clone());
        RecordBatch::try_new(schema, columns)
    }
}

/// The text of an object with these members, their values as they were.
fn object_of(members: &[(&str, &RawValue)]) -> String {
    let member =
        |(key, value): &(&str, &RawValue)| format!("{}:{}", serde_json::Value::from(*key), value.get());
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::clock::Millis;
    use crate::parquet::unify;
    use crate::record::Origin;
    use crate::standardise::Rows;
    use crate::uuids;

    fn schema(properties: Value) -> Arc<TableSchema> {
        let text = json!({"type": "object", "properties": properties}).to_string();
        Arc::new(TableSchema::load(&text).unwrap())
    }

    fn rows(schema: &Arc<TableSchema>, events: &[Value]) -> RecordBatch {
        let mut rows = Rows::new(schema.clone());
        for (n, event) in events.iter().enumerate() {
            let (text, sequence) = (event.to_string(), (n as u64).into());
            let origin = Origin {
                stream: "s".into(),
                shard: "0".into(),
                sequence,
                subsequence: 0,
                arrived_at: Millis(0),
            };
            rows.append(&Object::parse(text.as_bytes()).unwrap(), &origin).unwrap();
        }
        rows.finish()
    }

    /// Rows made with `old`, promoted to `new`.
    fn promoted(old: &Arc<TableSchema>, new: &Arc<TableSchema>, events: &[Value]) -> (RecordBatch, Moves) {
        let before = rows(old, events);
        let union = unify::union([new.arrow().as_ref(), before.schema().as_ref()]).unwrap();
        let mut moves = Moves::default();
        let aligned = unify::align(&before, &union).unwrap();
        let batch = Promotion::new(new.clone()).apply(&aligned, &mut moves).unwrap();
        assert_eq!(
            Promotion::new(new.clone()).apply(&batch, &mut Moves::default()).unwrap(),
            batch,
            "once is enough"
        );
        (batch, moves)
    }

    fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        let column = cast(batch.column_by_name(name).unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
        column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn values_move_out_of_extra_when_the_schema_takes_them() {
        let old = schema(json!({"a": {"type": "integer"}}));
        let new = schema(
            json!({"a": {"type": "number"}, "coupon": {"type": "string"}, "n": {"type": "integer", "minimum": 0}}),
        );
        let events = [
            json!({"a": 1, "coupon": "X", "other": 1.5}),
            json!({"a": 2, "coupon": 7}),
            json!({"coupon": "Y", "n": 3}),
            json!({"n": -1}),
            json!({}),
        ];
        let (batch, moves) = promoted(&old, &new, &events);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts(&batch, "coupon"), [text("X"), None, text("Y"), None, None]);
        assert_eq!(texts(&batch, "n"), [None, None, text("3"), None, None]);
        assert_eq!(
            texts(&batch, "extra"),
            [text(r#"{"other":1.5}"#), text(r#"{"coupon":7}"#), None, text(r#"{"n":-1}"#), None]
        );
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(
            moves,
            Moves { moved: counts(&[("coupon", 2), ("n", 1)]), kept: counts(&[("coupon", 1), ("n", 1)]) }
        );
    }

    #[test]
    fn uuids_move_into_columns_that_keep_them_as_bytes() {
        let property = json!({"type": ["string", "null"], "format": "uuid", "x-storage": "bytes"});
        let (old, new) = (schema(json!({})), schema(json!({"id": property})));
        let events = [
            json!({"id": "2EB8AA08-aa98-11ea-b4aa-73b441d16380"}),
            json!({"id": "none"}),
            json!({}),
            json!({"id": null}),
        ];
        let (batch, moves) = promoted(&old, &new, &events);
        let ids = uuids::readable(&batch).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let wanted = [text("2eb8aa08-aa98-11ea-b4aa-73b441d16380"), None, None, None];
        assert_eq!(texts(&ids, "id"), wanted);
        assert_eq!(texts(&batch, "extra"), [None, text(r#"{"id":"none"}"#), None, None]);
        assert_eq!((moves.moved["id"], moves.kept["id"]), (2, 1));
    }

    #[test]
    fn a_column_that_became_text_takes_its_values_as_text() {
        let (old, new) = (schema(json!({})), schema(json!({"a": {"type": "integer"}})));
        let before = rows(&old, &[json!({"a": 5})]);
        let wider = schema(json!({"a": {"type": "string"}}));
        let union = unify::union([wider.arrow().as_ref(), before.schema().as_ref()]).unwrap();
        let aligned = unify::align(&before, &union).unwrap();
        let batch = Promotion::new(new).apply(&aligned, &mut Moves::default()).unwrap();
        assert_eq!(texts(&batch, "a"), [Some("5".to_owned())]);
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            (-5..5i64).prop_map(Value::from),
            "[a-z\"]{0,3}".prop_map(Value::from),
            Just(Value::Null),
            Just(json!({"k": [1.50]})),
        ]
    }

    proptest! {
        #[test]
        fn a_promoted_row_is_the_one_that_the_event_gives_today(
            events in prop::collection::vec(prop::collection::btree_map("[abc]", value(), 0..4), 1..6),
        ) {
            let old = schema(json!({"a": {"type": ["integer", "string", "object", "null"]}}));
            let new = schema(json!({
                "a": {"type": ["integer", "string", "object", "null"]},
                "b": {"type": ["string", "null"]}, "c": {},
            }));
            let events: Vec<Value> =
                events.into_iter().map(|event| Value::Object(event.into_iter().collect::<Map<_, _>>())).collect();
            let (batch, _) = promoted(&old, &new, &events);
            for (n, event) in events.iter().enumerate() {
                // An event that is not taken today keeps in `extra` what is to blame, and only that.
                let fits = event.get("b").is_none_or(|b| b.is_string() || b.is_null());
                let mut today = event.clone();
                let kept = if fits { None } else { today.as_object_mut().unwrap().remove("b") };
                let today = rows(&new, &[today]);
                for name in ["a", "b", "c"] {
                    prop_assert_eq!(&texts(&batch, name)[n], &texts(&today, name)[0], "{}", name);
                }
                prop_assert_eq!(&texts(&batch, "extra")[n], &kept.map(|b| json!({"b": b}).to_string()));
            }
        }
    }
}
