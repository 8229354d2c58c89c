//! SELECT over exactly the files that the LOCATIONs of the tables' partitions name, by DataFusion.
//!
//! A file whose name begins with `_` or `.` is hidden, as in Athena
//! (<https://docs.aws.amazon.com/athena/latest/ug/other-notable-limitations.html>). Columns are found by name, in any case, as
//! Athena reads Parquet. Its SQL is DataFusion's, not Trino's: only what both understand alike is worth asking.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use datafusion::catalog::MemorySchemaProvider;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};

use super::catalog::{Databases, Table};
use super::files::Files;

/// Athena's name for the Glue catalog, as queries write it.
const CATALOG: &str = "awsdatacatalog";

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) precision: i32,
    pub(super) scale: i32,
}

/// An answer: its columns and its rows, as texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// Lines in one column, as statements of DDL answer.
    pub(super) fn of_lines(name: &str, lines: Vec<String>) -> Self {
        let column = Column { name: name.to_owned(), kind: "string".to_owned(), precision: 0, scale: 0 };
        Answer { columns: vec![column], rows: lines.into_iter().map(|line| vec![Some(line)]).collect() }
    }
}

/// Runs a query; the error is the reason that Athena would give.
pub(super) async fn select(
    sql: &str,
    current: &str,
    databases: &Databases,
    files: &dyn Files,
) -> Result<Answer, String> {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(true)
        .with_default_catalog_and_schema(CATALOG, current);
    let context = SessionContext::new_with_config(config);
    let lower = sql.to_lowercase();
    for (database, tables) in &databases.0 {
        if let Some(catalog) = context.catalog(CATALOG)
            && catalog.schema(database).is_none()
        {
            let schema = Arc::new(MemorySchemaProvider::new());
            catalog.register_schema(database, schema).map_err(|error| error.to_string())?;
        }
        for (name, table) in tables.iter().filter(|(name, _)| lower.contains(name.as_str())) {
            let rows = read(table, files).await?;
            let table = MemTable::try_new(schema(table), vec![rows]).map_err(|error| error.to_string())?;
            let reference = TableReference::full(CATALOG, database.as_str(), name.as_str());
            context.register_table(reference, Arc::new(table)).map_err(|error| error.to_string())?;
        }
    }
    let only_reads =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame =
        context.sql_with_options(sql, only_reads).await.map_err(|error| reason(&error.to_string()))?;
    let columns = frame.schema().fields().iter().map(|field| column(field)).collect();
    let batches = frame.collect().await.map_err(|error| reason(&error.to_string()))?;
    let mut rows = Vec::new();
    for batch in &batches {
        rows.extend(texts(batch)?);
    }
    Ok(Answer { columns, rows })
}

/// In Trino's words, as far as they matter.
fn reason(error: &str) -> String {
    let line = error.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = match () {
        () if line.contains("not found") && line.contains("table '") => "TABLE_NOT_FOUND: line 1:1",
        () if line.contains("No field named") => "COLUMN_NOT_FOUND: line 1:1",
        () if line.contains("Invalid function") => "FUNCTION_NOT_FOUND: line 1:1",
        () => "SYNTAX_ERROR: line 1:1",
    };
    format!("{code}: {line}")
}

/// The columns of a table as Arrow: data, then partition keys.
fn schema(table: &Table) -> SchemaRef {
    let data = table.columns.iter().map(|(name, kind)| Field::new(name, arrow_type(kind), true));
    let keys = table.keys.iter().map(|(name, _)| Field::new(name, DataType::Utf8, true));
    Arc::new(Schema::new(data.chain(keys).collect::<Vec<_>>()))
}

fn arrow_type(hive: &str) -> DataType {
    match hive {
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "binary" => DataType::Binary,
        _ => decimal(hive).or_else(|| list(hive)).unwrap_or(DataType::Utf8),
    }
}

fn decimal(hive: &str) -> Option<DataType> {
    let (precision, scale) = hive.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some(DataType::Decimal128(precision.parse().ok()?, scale.parse().ok()?))
}

fn list(hive: &str) -> Option<DataType> {
    let item = hive.strip_prefix("array<")?.strip_suffix('>')?;
    Some(DataType::List(Arc::new(Field::new("item", arrow_type(item), true))))
}

/// The rows of all files of all partitions.
async fn read(table: &Table, files: &dyn Files) -> Result<Vec<RecordBatch>, String> {
    let schema = schema(table);
    let mut found = Vec::new();
    for (values, location) in &table.partitions {
        let mut urls = visible(location, files).await?;
        if table.manifests {
            urls = named(&urls, files).await?;
        }
        for url in urls {
            let open =
                |error: String| format!("HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split {url}: {error}");
            let bytes = files.get(&url).await.map_err(open)?;
            if !bytes.is_empty() {
                let rows = parquet(bytes).map_err(|error| format!("HIVE_BAD_DATA: {url}: {error}"))?;
                for batch in rows {
                    found.push(
                        conform(&batch, table, values, &schema)
                            .map_err(|error| format!("HIVE_BAD_DATA: {url}: {error}"))?,
                    );
                }
            }
        }
    }
    Ok(found)
}

/// The files below a location that are not hidden.
async fn visible(location: &str, files: &dyn Files) -> Result<Vec<String>, String> {
    let mut urls = files.list(location).await?;
    urls.retain(|url| {
        let name = url.strip_prefix(location).unwrap_or(url);
        !name.is_empty() && !name.split('/').any(|part| part.starts_with(['_', '.']))
    });
    Ok(urls)
}

/// The files that manifests name, one a line. Each manifest is read once, for the whole query.
async fn named(manifests: &[String], files: &dyn Files) -> Result<Vec<String>, String> {
    let mut urls = Vec::new();
    for manifest in manifests {
        let text = files.get(manifest).await.map_err(|error| format!("HIVE_CANNOT_OPEN_SPLIT: {error}"))?;
        let text = String::from_utf8(text.to_vec()).map_err(|error| format!("HIVE_BAD_DATA: {error}"))?;
        urls.extend(text.lines().map(str::to_owned));
    }
    Ok(urls)
}

fn parquet(bytes: Bytes) -> Result<Vec<RecordBatch>, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
    let reader = reader.map_err(|error| error.to_string())?;
    reader.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// A file's rows with the table's columns: those it lacks are null, the partition's values come last.
fn conform(
    batch: &RecordBatch,
    table: &Table,
    values: &[String],
    schema: &SchemaRef,
) -> Result<RecordBatch, String> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    let rows = batch.num_rows();
    for (name, kind) in &table.columns {
        let wanted = arrow_type(kind);
        let there = batch.schema().fields().iter().position(|field| field.name().to_lowercase() == *name);
        columns.push(match there.map(|index| batch.column(index)) {
            Some(column) if same_kind(column.data_type(), &wanted) => {
                cast(column, &wanted).map_err(|error| error.to_string())?
            }
            Some(column) => {
                return Err(format!(
                    "Field {name}'s type {} in parquet file is incompatible with {kind}",
                    column.data_type()
                ));
            }
            None => new_null_array(&wanted, rows),
        });
    }
    columns.extend(
        values.iter().map(|value| Arc::new(StringArray::from(vec![value.as_str(); rows])) as ArrayRef),
    );
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| error.to_string())
}

/// Whether a column of a file can be read as the table says: Athena converts nothing from kind to kind.
fn same_kind(file: &DataType, table: &DataType) -> bool {
    let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let time = |kind: &DataType| matches!(kind, DataType::Timestamp(..));
    // Trino reads arrays of a fixed length as varbinary.
    let bytes = |kind: &DataType| matches!(kind, DataType::Binary | DataType::FixedSizeBinary(_));
    file == table
        || (text(file) && text(table))
        || (time(file) && time(table))
        || (bytes(file) && bytes(table))
        || (file.is_integer() && table.is_integer())
        || (file.is_nested() && table.is_nested())
}

/// A column of an answer as Athena describes it. <https://docs.aws.amazon.com/athena/latest/APIReference/API_ColumnInfo.html>
fn column(field: &Field) -> Column {
    let (kind, precision, scale) = match field.data_type() {
        DataType::Boolean => ("boolean", 0, 0),
        DataType::Int8 => ("tinyint", 3, 0),
        DataType::Int16 | DataType::UInt8 => ("smallint", 5, 0),
        DataType::Int32 | DataType::UInt16 => ("integer", 10, 0),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ("bigint", 19, 0),
        DataType::Float32 => ("float", 17, 0),
        DataType::Float64 => ("double", 17, 0),
        DataType::Date32 => ("date", 0, 0),
        DataType::Timestamp(_, None) => ("timestamp", 3, 0),
        DataType::Timestamp(..) => ("timestamp with time zone", 3, 0),
        DataType::Decimal128(precision, scale) => ("decimal", i32::from(*precision), i32::from(*scale)),
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => ("varbinary", 0, 0),
        DataType::List(_) => ("array", 0, 0),
        _ => ("varchar", i32::MAX, 0),
    };
    Column { name: field.name().clone(), kind: kind.to_owned(), precision, scale }
}

fn texts(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, String> {
    let moment = "%Y-%m-%d %H:%M:%S%.3f";
    let options = FormatOptions::default()
        .with_timestamp_format(Some(moment))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.3f UTC"));
    let formatters: Result<Vec<_>, _> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).map_err(|error| error.to_string()))
        .collect();
    let formatters = formatters?;
    let cell = |row: usize, column: usize| {
        (!batch.column(column).is_null(row)).then(|| formatters[column].value(row).to_string())
    };
    Ok((0..batch.num_rows())
        .map(|row| (0..batch.num_columns()).map(|column| cell(row, column)).collect())
        .collect())
}
