//! Athena's results as Arrow: every value comes as text, its type is named apart.
//!
//! <https://docs.aws.amazon.com/athena/latest/APIReference/API_ColumnInfo.html>

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

/// The greatest precision of a decimal.
const DECIMAL: u8 = 38;

/// The Arrow type of a column that Athena calls `kind`. What has no type of its own here (rows, maps, arrays, JSON, times with
/// a zone, binaries) stays the text that Athena shows. Moments have no zone in Athena; the lake's are UTC, and so are those
/// of Athena's sessions.
pub(super) fn column_type(kind: &str, precision: i32, scale: i32) -> DataType {
    match kind.to_lowercase().as_str() {
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "integer" | "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "float" | "real" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "decimal" => match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(precision @ 1..=DECIMAL), Ok(scale)) if (0..=DECIMAL.cast_signed()).contains(&scale) => {
                DataType::Decimal128(precision, scale)
            }
            _ => DataType::Utf8,
        },
        _ => DataType::Utf8,
    }
}

/// The schema of columns given by name, type, precision and scale.
pub(super) fn schema<'a>(columns: impl Iterator<Item = (&'a str, &'a str, i32, i32)>) -> SchemaRef {
    let field = |(name, kind, precision, scale)| Field::new(name, column_type(kind, precision, scale), true);
    Arc::new(Schema::new(columns.map(field).collect::<Vec<_>>()))
}

/// Rows of texts as a batch; a missing value is null.
pub(super) fn batch(schema: &SchemaRef, rows: &[Vec<Option<String>>]) -> Result<RecordBatch, String> {
    let column = |(index, field): (usize, &Arc<Field>)| {
        let texts = rows.iter().map(|row| row.get(index).and_then(Option::as_deref));
        values(field, texts.collect())
    };
    let columns: Result<Vec<ArrayRef>, String> = schema.fields().iter().enumerate().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns?, &options).map_err(|error| error.to_string())
}

fn values(field: &Field, texts: StringArray) -> Result<ArrayRef, String> {
    if *field.data_type() == DataType::Utf8 {
        return Ok(Arc::new(texts));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, field.data_type(), &strict).map_err(|error| {
        format!("column {} of Athena's answer: a value is no {}: {error}", field.name(), field.data_type())
    })
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;

    use super::*;

    #[test]
    fn values_of_every_type_come_back() {
        let cases = [
            ("varchar", 0, 0, " a,\"b\" ", " a,\"b\" "),
            ("bigint", 19, 0, "-9223372036854775808", "-9223372036854775808"),
            ("integer", 10, 0, "42", "42"),
            ("smallint", 5, 0, "-3", "-3"),
            ("tinyint", 3, 0, "7", "7"),
            ("double", 17, 0, "1.5E10", "15000000000.0"),
            ("double", 17, 0, "NaN", "NaN"),
            ("float", 17, 0, "0.5", "0.5"),
            ("boolean", 0, 0, "true", "true"),
            ("date", 0, 0, "2026-11-21", "2026-11-21"),
            ("timestamp", 3, 0, "2026-11-21 07:08:09.123", "2026-11-21T07:08:09.123Z"),
            ("decimal", 10, 2, "12.30", "12.30"),
            ("timestamp with time zone", 3, 0, "2026-11-21 07:08:09.123 UTC", "2026-11-21 07:08:09.123 UTC"),
            ("row", 0, 0, "{a=1}", "{a=1}"),
        ];
        for (kind, precision, scale, text, shown) in cases {
            let schema = schema([("c", kind, precision, scale)].into_iter());
            let rows = [vec![Some(text.to_owned())], vec![None]];
            let batch = batch(&schema, &rows).unwrap();
            assert_eq!(array_value_to_string(batch.column(0), 0).unwrap(), shown, "{kind}");
            assert!(batch.column(0).is_null(1), "{kind}");
        }
    }

    #[test]
    fn a_value_that_is_none_names_its_column() {
        let schema = schema([("n", "bigint", 19, 0)].into_iter());
        let error = batch(&schema, &[vec![Some("many".to_owned())]]).unwrap_err();
        assert!(error.contains("column n") && error.contains("many"), "{error}");
    }

    #[test]
    fn rows_without_columns_are_counted() {
        assert_eq!(batch(&schema(std::iter::empty()), &[vec![], vec![]]).unwrap().num_rows(), 2);
    }
}
