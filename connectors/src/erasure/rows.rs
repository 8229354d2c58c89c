//! The condition, asked of the rows of a table: of columns, of JSON within columns, and of what stands in `extra`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;

use super::field::{self, Field, fold, number};
use super::seal::{Seal, Term, hashed};
use crate::clock::Millis;
use crate::parquet::Origins;
use crate::parquet::origin::{ARRIVED_AT, COLUMNS};
use crate::parquet::sift::Sieve;
use crate::schema::{EXTRA, TableSchema};
use crate::uuids;

/// The columns that properties have, where a schema has named them otherwise.
#[derive(Debug, Clone, Default)]
pub struct Aliases(BTreeMap<String, BTreeSet<String>>);

impl Aliases {
    /// Learns the columns of a schema.
    pub fn learn(&mut self, schema: &TableSchema) {
        for column in schema.columns() {
            self.0.entry(fold(&column.property)).or_default().insert(fold(&column.name));
        }
    }

    /// Whether a column, as names are compared, holds the property `name`.
    fn holds(&self, column: &str, name: &str) -> bool {
        column == name || self.0.get(name).is_some_and(|columns| columns.contains(column))
    }
}

/// Finds the rows that a condition is about, of those that arrived before a moment.
#[derive(Debug, Clone)]
pub struct RowSieve {
    seal: Seal,
    until: Millis,
    aliases: Aliases,
}

/// Where a field may be in a row.
struct Place {
    column: usize,
    /// What of the JSON in the column; `None`: all of the column's value.
    within: Option<Vec<String>>,
}

impl RowSieve {
    /// The rows that `seal` is about and that arrived before `until`.
    pub fn new(seal: Seal, until: Millis, aliases: Aliases) -> Self {
        RowSieve { seal, until, aliases }
    }

    /// Every place where a field may be among these columns.
    fn places(&self, field: &Field, schema: &Schema) -> Vec<Place> {
        let Some((first, rest)) = field.parts().split_first() else { return Vec::new() };
        let joined = field.parts().concat();
        let mut places = Vec::new();
        for (column, named) in schema.fields().iter().enumerate() {
            let name = fold(named.name());
            if COLUMNS.contains(&named.name().as_str()) {
                continue;
            } else if named.name() == EXTRA {
                places.push(Place { column, within: Some(field.parts().to_vec()) });
            } else if self.aliases.holds(&name, first) && !rest.is_empty() {
                places.push(Place { column, within: Some(rest.to_vec()) });
            } else if self.aliases.holds(&name, first) || name == joined {
                places.push(Place { column, within: None });
            }
        }
        places
    }

    fn all_places(&self, schema: &Schema) -> Vec<Place> {
        let fields = self.seal.terms().iter().flat_map(Term::fields);
        fields.flat_map(|field| self.places(&field, schema)).collect()
    }

    /// The rows in which one term holds.
    fn term(&self, term: &Term, batch: &RecordBatch) -> Result<Vec<bool>, String> {
        let mut marks = vec![false; batch.num_rows()];
        for field in term.fields() {
            for place in self.places(&field, batch.schema_ref()) {
                let texts = texts(batch, place.column)?;
                // Bytes do not tell in which case the digits of a UUID were sent.
                let is_uuid = *batch.column(place.column).data_type() == uuids::COLUMN;
                for (row, mark) in marks.iter_mut().enumerate().filter(|(row, _)| texts.is_valid(*row)) {
                    let text = texts.value(row);
                    *mark |= self.is(term, text, place.within.as_deref())
                        || (is_uuid && self.is(term, &text.to_ascii_uppercase(), None));
                }
            }
        }
        Ok(marks)
    }

    fn is(&self, term: &Term, text: &str, within: Option<&[String]>) -> bool {
        let mut is = |value: &str| hashed(self.seal.salt(), value) == term.hash;
        match within {
            Some(parts) => field::json(text, parts, &mut is),
            // A column of mixed types keeps JSON.
            None => is(text) || (text.starts_with('"') && field::json(text, &[], &mut is)),
        }
    }
}

impl Sieve for RowSieve {
    fn columns(&self, schema: &Schema) -> Vec<String> {
        let places: BTreeSet<usize> = self.all_places(schema).into_iter().map(|place| place.column).collect();
        let mut names: Vec<String> =
            places.into_iter().map(|column| schema.field(column).name().clone()).collect();
        if !names.is_empty() && schema.index_of(ARRIVED_AT).is_ok() {
            names.push(ARRIVED_AT.to_owned());
        }
        names
    }

    fn marks(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        let mut marks = vec![!self.seal.terms().is_empty(); batch.num_rows()];
        for term in self.seal.terms() {
            let holds = self.term(term, batch)?;
            marks.iter_mut().zip(holds).for_each(|(mark, holds)| *mark &= holds);
        }
        // A row that does not say when it arrived was there before anything was erased.
        if let Some(times) = Origins::arrived(batch)? {
            let late = |row: usize| times.is_valid(row) && Millis(times.value(row)) >= self.until;
            marks.iter_mut().enumerate().for_each(|(row, mark)| *mark &= !late(row));
        }
        Ok(BooleanArray::from(marks))
    }
}

/// A column as texts; numbers in the spelling that they are compared in.
fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray, String> {
    let column = &uuids::readable_column(batch.column(column));
    let text = cast(column, &DataType::Utf8).map_err(|error| format!("a column is no text: {error}"))?;
    let texts = text.as_any().downcast_ref::<StringArray>().ok_or("a column is no text")?;
    match column.data_type().is_floating() {
        true => Ok(texts.iter().map(|text| text.map(number)).collect()),
        false => Ok(texts.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::Wanted;
    use super::*;
    use crate::json::Object;
    use crate::record::Origin;
    use crate::standardise::Rows;

    /// Which of the events, each a millisecond later than the one before, are meant.
    fn meant(conditions: &[&str], until: i64, events: &[Value]) -> Vec<bool> {
        let schema = r#"{"type": "object", "properties": {
            "userId": {"type": "string", "x-column": "customer"}, "n": {"type": "number"}, "mixed": {},
            "anonymousId": {"type": "string", "format": "uuid", "x-storage": "bytes"},
            "context": {"type": "object"}}}"#;
        let schema = Arc::new(TableSchema::load(schema).unwrap());
        let mut rows = Rows::new(schema.clone());
        for (n, event) in events.iter().enumerate() {
            let (shard, sequence) = ("0".into(), (n as u64).into());
            let arrived_at = Millis(n as i64);
            let origin = Origin { stream: "s".into(), shard, sequence, subsequence: 0, arrived_at };
            rows.append(&Object::parse(event.to_string().as_bytes()).unwrap(), &origin).unwrap();
        }
        let wanted: Vec<Wanted> = conditions.iter().map(|text| Wanted::parse(text).unwrap()).collect();
        let mut aliases = Aliases::default();
        aliases.learn(&schema);
        let sieve = RowSieve::new(Seal::of("5a17", &wanted), Millis(until), aliases);
        let batch = rows.finish();
        let names = sieve.columns(batch.schema_ref());
        let places: Vec<usize> =
            names.iter().map(|name| batch.schema_ref().index_of(name).unwrap()).collect();
        let marks = sieve.marks(&batch).unwrap();
        assert_eq!(sieve.marks(&batch.project(&places).unwrap()).unwrap(), marks, "the columns are enough");
        marks.iter().map(|mark| mark.unwrap()).collect()
    }

    #[test]
    fn rows_are_found_in_columns_in_json_and_in_what_no_column_has() {
        let events = [
            json!({"userId": "u1", "n": 7, "context": {"email": "a@b"}, "mixed": "u1"}),
            json!({"userId": "u2", "n": 7.5, "context": {"Email": "a@b"}, "mixed": 7, "session": {"id": 3}}),
            json!({"user_id": "u1", "context": {}, "mixed": {"x": "u1"},
                "anonymousId": "2EB8AA08-AA98-11EA-B4AA-73B441D16380"}),
        ];
        for (conditions, rows) in [
            (&["user_id = u1"][..], [true, false, true]),
            (&["customer = u2"], [false, true, false]),
            (&["/context/email = a@b"], [true, true, false]),
            (&["/context/email = a@b", "n = 7"], [true, false, false]),
            (&["n = 7.50"], [false, true, false]),
            (&["mixed = u1"], [true, false, false]),
            (&["mixed = 7"], [false, true, false]),
            (&["/session/id = 3"], [false, true, false]),
            (&["_shard = 0"], [false, false, false]),
            (&["anonymous_id = 2eb8aa08-aa98-11ea-b4aa-73b441d16380"], [false, false, true]),
            (&["anonymousId = 2EB8AA08-AA98-11EA-B4AA-73B441D16380"], [false, false, true]),
            (&["anonymousId = 3eb8aa08-aa98-11ea-b4aa-73b441d16380"], [false, false, false]),
            (&["nothing = u1"], [false, false, false]),
        ] {
            assert_eq!(meant(conditions, 9, &events), rows, "{conditions:?}");
        }
    }

    #[test]
    fn rows_that_arrived_since_stay() {
        let event = json!({"userId": "u1"});
        assert_eq!(meant(&["userId = u1"], 1, &[event.clone(), event.clone(), event]), [true, false, false]);
    }
}
