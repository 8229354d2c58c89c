//! Printing: Arrow rows and JSON values as a table for people, or as JSON and CSV for programs.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::WriterBuilder as JsonBuilder;
use arrow::json::writer::JsonArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;
use shardmill_connectors::{Failure, uuids};

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// An array of objects.
    Json,
    /// Comma-separated, with a header.
    Csv,
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::rejected(format!("the rows cannot be printed: {error}"))
}

/// Rows in `format`, ending with a line break. UUIDs that are kept as bytes are shown as text.
pub fn rows(schema: &SchemaRef, batches: &[RecordBatch], format: Format) -> Result<String, Failure> {
    let readable: Result<Vec<RecordBatch>, _> = batches.iter().map(uuids::readable).collect();
    let (schema, batches) = (uuids::readable_schema(schema), readable.map_err(unprintable)?);
    let bytes = match format {
        Format::Table => return table_of_rows(&schema, &batches),
        Format::Json => json_of_rows(&batches)?,
        Format::Csv => csv_of_rows(&schema, &batches)?,
    };
    String::from_utf8(bytes).map_err(unprintable)
}

/// Nulls are written, so that every object has every column.
fn json_of_rows(batches: &[RecordBatch]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut out);
    for batch in batches {
        writer.write(batch).map_err(unprintable)?;
    }
    writer.finish().map_err(unprintable)?;
    drop(writer);
    if out.is_empty() {
        out.extend_from_slice(b"[]");
    }
    out.push(b'\n');
    Ok(out)
}

fn csv_of_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut writer = CsvBuilder::new().with_header(true).build(&mut out);
    let empty = RecordBatch::new_empty(schema.clone());
    let nothing = batches.iter().all(|batch| batch.num_rows() == 0);
    for batch in if nothing { std::slice::from_ref(&empty) } else { batches } {
        writer.write(batch).map_err(unprintable)?;
    }
    drop(writer);
    Ok(out)
}

fn table_of_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, Failure> {
    let mut table = new_table(schema.fields().iter().map(|field| field.name().as_str()));
    let options = FormatOptions::default().with_null("").with_display_error(true);
    let mut count = 0;
    for batch in batches {
        let columns: Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
        let columns = columns.map_err(unprintable)?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|column| column.value(row).to_string()));
        }
        count += batch.num_rows();
    }
    let rows = if count == 1 { "row" } else { "rows" };
    Ok(format!("{table}\n{count} {rows}\n"))
}

fn new_table<'a>(columns: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns);
    table
}

/// A JSON value for people: an array of objects as a table of `columns` (of every key when there are none), an object as
/// two columns, anything else as it is.
pub fn value(value: &Value, columns: &[&str]) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "nothing\n".to_owned(),
        Value::Array(items) if items.iter().all(Value::is_object) => {
            format!("{}\n", table_of_objects(items, columns))
        }
        Value::Object(members) => {
            let mut table = new_table(["", ""].into_iter());
            for (key, value) in members {
                table.add_row([key.clone(), cell(value)]);
            }
            format!("{table}\n")
        }
        other => format!("{}\n", cell(other)),
    }
}

fn table_of_objects(items: &[Value], columns: &[&str]) -> Table {
    let mut keys: Vec<&str> = columns.to_vec();
    if keys.is_empty() {
        for key in items.iter().filter_map(Value::as_object).flat_map(serde_json::Map::keys) {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
    }
    let mut table = new_table(keys.iter().copied());
    for item in items {
        table.add_row(keys.iter().map(|key| item.get(*key).map(cell).unwrap_or_default()));
    }
    table
}

/// A value in a cell: text as it is, nothing for null.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Writes to stdout. A reader that went away (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::transient(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value: one line of JSON, or for people.
pub fn show(json: bool, shown: &Value, columns: &[&str]) -> Result<(), Failure> {
    if json { print(&format!("{shown}\n")) } else { print(&value(shown, columns)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeBinaryArray, Float64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use serde_json::json;

    use super::*;

    fn batch() -> RecordBatch {
        let fields = [Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Float64, true)];
        let names = StringArray::from(vec![Some("a,\"b"), None]);
        let numbers = Float64Array::from(vec![Some(1.5), Some(2.0)]);
        RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![Arc::new(names), Arc::new(numbers)])
            .unwrap()
    }

    #[test]
    fn rows_in_every_format() {
        let batch = batch();
        let schema = batch.schema();
        let print = |format| rows(&schema, std::slice::from_ref(&batch), format).unwrap();
        let json: Value = serde_json::from_str(&print(Format::Json)).unwrap();
        assert_eq!(json, json!([{"name": "a,\"b", "n": 1.5}, {"name": null, "n": 2.0}]));
        assert_eq!(print(Format::Csv), "name,n\n\"a,\"\"b\",1.5\n,2.0\n");
        assert!(print(Format::Table).ends_with("2 rows\n"));
    }

    #[test]
    fn uuids_kept_as_bytes_are_shown_as_text_in_every_format() {
        let values = [Some([0x5a; 16]), None].into_iter();
        let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap();
        let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap();
        let print = |format| rows(&batch.schema(), std::slice::from_ref(&batch), format).unwrap();
        let text = "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a";
        let json: Value = serde_json::from_str(&print(Format::Json)).unwrap();
        assert_eq!(json, json!([{"id": text}, {"id": null}]));
        assert_eq!(print(Format::Csv), format!("id\n{text}\n\"\"\n"));
        assert!(print(Format::Table).contains(text));
        assert_eq!(rows(&batch.schema(), &[], Format::Csv).unwrap(), "id\n");
    }

    #[test]
    fn no_rows_are_still_well_formed() {
        let schema = batch().schema();
        assert_eq!(rows(&schema, &[], Format::Json).unwrap(), "[]\n");
        assert_eq!(rows(&schema, &[], Format::Csv).unwrap(), "name,n\n");
        assert!(rows(&schema, &[], Format::Table).unwrap().contains("0 rows"));
    }

    #[test]
    fn values_for_people() {
        let shards = json!([{"shard": "0", "lag_ms": 5}, {"shard": "1", "lag_ms": null}]);
        let text = value(&shards, &["shard", "lag_ms"]);
        assert!(text.contains("lag_ms") && text.lines().count() == 3, "{text}");
        assert_eq!(value(&json!([]), &[]), "nothing\n");
        assert!(value(&json!({"node": "a"}), &[]).contains("node"));
    }
}
