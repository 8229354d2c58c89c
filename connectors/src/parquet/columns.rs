//! The columns of a file as Parquet has them: what the library makes of Arrow's, and UUIDs under their own name, so that whoever
//! reads the file knows what these 16 bytes are.

use std::io::Write;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use crate::uuids;

/// The columns of a file with these of Arrow.
pub(super) fn columns(schema: &Schema) -> Result<SchemaDescriptor, ParquetError> {
    let columns = ArrowSchemaConverter::new().convert(schema)?;
    if !schema.fields().iter().any(|field| is_uuid(field)) {
        return Ok(columns);
    }
    let root = columns.root_schema();
    let named = |(field, column): (&Arc<Field>, &TypePtr)| match is_uuid(field) {
        true => uuid(column),
        false => Ok(Arc::clone(column)),
    };
    let fields = schema.fields().iter().zip(root.get_fields()).map(named).collect::<Result<_, _>>()?;
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

/// A writer of a file with these columns.
pub(super) fn writer<W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    properties: WriterProperties,
) -> Result<ArrowWriter<W>, ParquetError> {
    let options = ArrowWriterOptions::new().with_properties(properties);
    let options = options.with_parquet_schema(columns(schema)?);
    ArrowWriter::try_new_with_options(sink, Arc::clone(schema), options)
}

fn is_uuid(field: &Field) -> bool {
    *field.data_type() == uuids::COLUMN
}

/// The same column, called a UUID.
fn uuid(column: &TypePtr) -> Result<TypePtr, ParquetError> {
    let named = Type::primitive_type_builder(column.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
        .with_length(16)
        .with_repetition(column.get_basic_info().repetition())
        .with_logical_type(Some(LogicalType::Uuid));
    Ok(Arc::new(named.build()?))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::schema::TableSchema;

    #[test]
    fn uuids_have_their_name_and_all_else_is_as_the_library_has_it() {
        let table = TableSchema::builtin().arrow();
        assert_eq!(columns(&table).unwrap(), ArrowSchemaConverter::new().convert(&table).unwrap());

        let mut fields: Vec<Arc<Field>> = table.fields().iter().cloned().collect();
        fields.insert(1, Arc::new(Field::new("order_id", uuids::COLUMN, true)));
        fields.push(Arc::new(Field::new("four", DataType::FixedSizeBinary(4), false)));
        let schema = Schema::new(fields);
        let (ours, plain) =
            (columns(&schema).unwrap(), ArrowSchemaConverter::new().convert(&schema).unwrap());
        assert_eq!(ours.num_columns(), plain.num_columns());
        assert_eq!((ours.name(), ours.column(1).name()), (plain.name(), "order_id"));
        assert_eq!(ours.column(1).logical_type_ref(), Some(&LogicalType::Uuid));
        assert_eq!(ours.column(1).max_def_level(), 1, "it may be null");
        for at in (0..plain.num_columns()).filter(|at| *at != 1) {
            assert_eq!(ours.column(at), plain.column(at));
        }
    }
}
