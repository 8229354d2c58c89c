//! Columns of several files as the columns of one.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::origin;

/// The column that takes what no other column has a place for; it stands after the named ones.
pub const EXTRA: &str = "extra";

/// The union of the columns in order of first appearance, `extra` and the origin columns last. Where types differ the
/// wider one is taken: integers, then doubles, then text. The error names a column whose types have nothing in common.
pub fn union<'a>(schemas: impl IntoIterator<Item = &'a Schema>) -> Result<SchemaRef, String> {
    let mut fields: Vec<Field> = Vec::new();
    for field in schemas.into_iter().flat_map(|schema| schema.fields()) {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let wider = widen(known.data_type(), field.data_type());
                known.set_data_type(wider.map_err(|why| format!("column `{}`: {why}", field.name()))?);
            }
            // Nullable always: another file may lack the column.
            None => fields.push(Field::new(field.name(), plain(field.data_type()), true)),
        }
    }
    fields.sort_by_key(|field| place(field.name())); // stable
    Ok(Arc::new(Schema::new(fields)))
}

/// `batch` with the columns of `schema`: in that order, widened, null where it lacks one. `schema` is a [`union`] over
/// the batch's own.
pub fn align(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let strict = CastOptions { safe: false, ..Default::default() };
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast_with_options(column, field.data_type(), &strict),
    };
    let columns =
        schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &rows).map_err(|e| e.to_string())
}

/// Whether a file with the columns `file` holds just those of `union`: the same names in the same order, of the same types.
pub(super) fn is_same(file: &Schema, union: &Schema) -> bool {
    let same =
        |(a, b): (&Arc<Field>, &Arc<Field>)| a.name() == b.name() && plain(a.data_type()) == *b.data_type();
    file.fields().len() == union.fields().len() && file.fields().iter().zip(union.fields()).all(same)
}

fn place(name: &str) -> usize {
    let origin = origin::COLUMNS.iter().position(|known| *known == name);
    origin.map_or(usize::from(name == EXTRA), |place| place + 2)
}

/// The narrowest type that values of both can be read as; the error says that there is none.
pub fn wider(a: &DataType, b: &DataType) -> Result<DataType, String> {
    widen(a, b)
}

/// The type itself: an encoding in memory is no reason to widen.
pub(super) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        other => other.clone(),
    }
}

fn widen(a: &DataType, b: &DataType) -> Result<DataType, String> {
    let (a, b) = (plain(a), plain(b));
    let wider = match (&a, &b) {
        _ if a == b => a.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (x, y) if x.is_integer() && y.is_integer() => DataType::Int64,
        (x, y) if x.is_numeric() && y.is_numeric() => DataType::Float64,
        (DataType::Timestamp(x, zone), DataType::Timestamp(y, other))
            if zone.is_some() == other.is_some() =>
        {
            DataType::Timestamp(finer(*x, *y), zone.clone())
        }
        _ => DataType::Utf8,
    };
    if can_cast_types(&a, &wider) && can_cast_types(&b, &wider) {
        return Ok(wider);
    }
    Err(format!("it is {a} in one file and {b} in another"))
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let order = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    order.into_iter().rev().find(|unit| *unit == a || *unit == b).unwrap_or(a)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, StringArray};

    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        Schema::new(columns.iter().map(|(name, t)| Field::new(*name, t.clone(), false)).collect::<Vec<_>>())
    }

    #[test]
    fn columns_keep_their_order_and_the_fixed_ones_come_last() {
        let a = schema(&[("b", DataType::Utf8), ("_arrived_at", DataType::Int64), ("extra", DataType::Utf8)]);
        let b = schema(&[("_stream", DataType::Utf8), ("a", DataType::Utf8), ("b", DataType::Utf8)]);
        let union = union([&a, &b]).unwrap();
        let names: Vec<_> = union.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["b", "a", "extra", "_stream", "_arrived_at"]);
        assert!(union.fields().iter().all(|field| field.is_nullable()));
    }

    #[test]
    fn types_widen_and_never_narrow() {
        let timestamp = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        for (a, b, wider) in [
            (DataType::Int32, DataType::Int64, DataType::Int64),
            (DataType::UInt8, DataType::Int8, DataType::Int64),
            (DataType::Int64, DataType::Float64, DataType::Float64),
            (DataType::Float64, DataType::Utf8, DataType::Utf8),
            (DataType::Boolean, DataType::Int64, DataType::Utf8),
            (DataType::Null, DataType::Boolean, DataType::Boolean),
            (DataType::LargeUtf8, DataType::Utf8View, DataType::Utf8),
            (
                timestamp(TimeUnit::Millisecond),
                timestamp(TimeUnit::Microsecond),
                timestamp(TimeUnit::Microsecond),
            ),
            (timestamp(TimeUnit::Millisecond), DataType::Utf8, DataType::Utf8),
        ] {
            assert_eq!(widen(&a, &b).unwrap(), wider);
            assert_eq!(widen(&b, &a).unwrap(), wider);
        }
    }

    #[test]
    fn batches_are_cast_and_filled() {
        let batch =
            RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        let wide = schema(&[("n", DataType::Float64), ("t", DataType::Utf8)]);
        let union = union([&*batch.schema(), &wide]).unwrap();
        let aligned = align(&batch, &union).unwrap();
        assert_eq!(aligned.column(0).as_any().downcast_ref(), Some(&Float64Array::from(vec![1.0, 2.0])));
        assert_eq!(aligned.column(1).null_count(), 2);

        let text = align(&batch, &Arc::new(schema(&[("n", DataType::Utf8)]))).unwrap();
        assert_eq!(text.column(0).as_string::<i32>(), &StringArray::from(vec!["1", "2"]));
    }
}
