//! UUIDs as 16 bytes: read from their text, and shown as that again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The Arrow type of columns that hold UUIDs as bytes.
pub const COLUMN: DataType = DataType::FixedSizeBinary(16);

/// Room for the text of one.
pub type Room = [u8; Hyphenated::LENGTH];

/// Nothing yet.
pub const ROOM: Room = [0; Hyphenated::LENGTH];

/// The UUID that a text is, in RFC 9562's form: 8-4-4-4-12 hexadecimal digits of either case. In the order of the digits.
#[inline]
pub fn parse(text: &str) -> Option<[u8; 16]> {
    // The library understands other forms, too; none of them is as long.
    let digits = Some(text.as_bytes()).filter(|digits| digits.len() == Hyphenated::LENGTH)?;
    Uuid::try_parse_ascii(digits).ok().map(Uuid::into_bytes)
}

/// The text of a UUID, in lower case; `None` when there are not 16 bytes.
pub fn text<'r>(bytes: &[u8], room: &'r mut Room) -> Option<&'r str> {
    let uuid = Uuid::from_slice(bytes).ok()?;
    Some(uuid.hyphenated().encode_lower(room))
}

/// The columns with UUIDs as texts: what [`readable`] makes of their batches.
pub fn readable_schema(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &FieldRef| match *field.data_type() == COLUMN {
        true => Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The same rows with UUIDs as texts, for people and for programs that read text.
///
/// # Errors
/// Never, but that the types of Arrow know nothing of it.
pub fn readable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(readable_column).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(readable_schema(&batch.schema()), columns, &rows)
}

/// A column, UUIDs in it as texts.
pub fn readable_column(column: &ArrayRef) -> ArrayRef {
    match column.as_fixed_size_binary_opt() {
        Some(uuids) if *column.data_type() == COLUMN => Arc::new(texts(uuids)),
        _ => Arc::clone(column),
    }
}

fn texts(uuids: &FixedSizeBinaryArray) -> StringArray {
    let mut texts = StringBuilder::with_capacity(uuids.len(), uuids.len() * Hyphenated::LENGTH);
    for uuid in uuids {
        let mut room = ROOM;
        texts.append_option(uuid.and_then(|bytes| text(bytes, &mut room)));
    }
    texts.finish()
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::format::is_uuid;

    /// The slow, obvious way.
    fn digit_by_digit(text: &str) -> Option<[u8; 16]> {
        let digits = Some(text).filter(|text| is_uuid(text))?.replace('-', "");
        let number = u128::from_str_radix(&digits, 16).ok()?;
        Some(number.to_be_bytes())
    }

    #[test]
    fn one_form_is_a_uuid_and_no_other() {
        let bytes = *b"\x2e\xb8\xaa\x08\xaa\x98\x11\xea\xb4\xaa\x73\xb4\x41\xd1\x63\x80";
        let table = [
            ("2eb8aa08-aa98-11ea-b4aa-73b441d16380", Some(bytes)),
            ("2EB8AA08-AA98-11EA-B4AA-73B441D16380", Some(bytes)),
            ("2eb8AA08-aa98-11ea-b4aa-73b441d16380", Some(bytes)),
            ("00000000-0000-0000-0000-000000000000", Some([0; 16])),
            ("ffffffff-ffff-ffff-ffff-FFFFFFFFFFFF", Some([0xff; 16])),
            ("2eb8aa08aa9811eab4aa73b441d16380", None),
            ("2eb8aa08-aa98-11ea-b4aa73-b441d16380", None),
            ("2eb8aa08aa98-11ea-b4aa-73b441d16380-", None),
            ("{2eb8aa08-aa98-11ea-b4aa-73b441d16380}", None),
            ("urn:uuid:2eb8aa08-aa98-11ea-b4aa-73b441d16380", None),
            (" 2eb8aa08-aa98-11ea-b4aa-73b441d16380", None),
            ("2eb8aa08-aa98-11ea-b4ga-73b441d16380", None),
            ("+eb8aa08-aa98-11ea-b4aa-73b441d16380", None),
            ("éb8aa08-aa98-11ea-b4aa-73b441d16380", None),
            ("2eb8aa08-aa98-11ea-b4aa-73b441d1638", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!((parse(text), digit_by_digit(text)), (wanted, wanted), "{text}");
        }
    }

    #[test]
    fn rows_are_shown_with_their_texts_and_other_columns_stay() {
        let bytes = [Some([0xab; 16]), None];
        let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.into_iter(), 16).unwrap();
        let short = [Some([1; 4]), None];
        let short = FixedSizeBinaryArray::try_from_sparse_iter_with_size(short.into_iter(), 4).unwrap();
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(uuids)),
            ("n", Arc::new(Int64Array::from(vec![1, 2]))),
            ("other", Arc::new(short)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let shown = readable(&batch).unwrap();
        assert_eq!(shown.schema(), readable_schema(&batch.schema()));
        let ids: Vec<_> = shown.column(0).as_string::<i32>().iter().collect();
        assert_eq!(ids, [Some("abababab-abab-abab-abab-abababababab"), None]);
        assert_eq!(shown.columns()[1..], batch.columns()[1..]);
        let nothing = batch.project(&[]).unwrap();
        assert_eq!(readable(&nothing).unwrap().num_rows(), 2, "rows without columns are still rows");
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_each_digit_says(
            text in "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", at in 0usize..36, other in any::<char>(),
        ) {
            let bytes = parse(&text);
            prop_assert_eq!(bytes, digit_by_digit(&text));
            let mut room = ROOM;
            let lower = text.to_lowercase();
            prop_assert_eq!(super::text(&bytes.unwrap(), &mut room), Some(lower.as_str()));
            let mut changed = text.clone();
            changed.replace_range(at..=at, &other.to_string());
            prop_assert_eq!(parse(&changed), digit_by_digit(&changed), "{}", changed);
        }

        #[test]
        fn any_text_is_judged_as_the_format_does(text in "[0-9a-fA-F-]{36}|.{0,40}") {
            prop_assert_eq!(parse(&text), digit_by_digit(&text));
        }
    }
}
