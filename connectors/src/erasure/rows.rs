//! The condition, asked of the rows of a table: of columns, of JSON within columns, and of what stands in `extra`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use serde::de::IgnoredAny;

use super::field::{self, Field, fold};
use super::seal::{Seal, Term, Ways};
use super::spelling::Value;
use super::tables::{Columns, Tables};
use crate::clock::Millis;
use crate::json::Object;
use crate::parquet::Origins;
use crate::parquet::origin::{ARRIVED_AT, COLUMNS};
use crate::parquet::sift::Sieve;
use crate::schema::EXTRA;
use crate::uuids;

/// Finds the rows that a condition is about, in the table that each object is of.
#[derive(Debug, Clone)]
pub struct Sieves {
    seal: Seal,
    until: Millis,
    tables: Tables,
}

impl Sieves {
    /// The rows that `seal` is about and that arrived before `until`.
    pub fn new(seal: Seal, until: Millis, tables: Tables) -> Self {
        Sieves { seal, until, tables }
    }

    /// Those of a table.
    pub fn of(&self, table: &str) -> RowSieve {
        RowSieve::new(self.seal.clone(), self.until, self.tables.of(table))
    }
}

/// Finds the rows of a table that a condition is about, of those that arrived before a moment.
#[derive(Debug, Clone)]
pub struct RowSieve {
    seal: Seal,
    until: Millis,
    columns: Arc<Columns>,
}

/// Where a field may be in a row.
struct Place {
    column: usize,
    part: Part,
}

/// What of a column.
enum Part {
    /// A field of the JSON object in it.
    Of(Field),
    /// What these names lead to in its JSON.
    Within(Vec<String>),
    /// All of its value, which may be a text, JSON, or either.
    Whole { is_plain: bool, is_json: bool },
}

impl RowSieve {
    /// The rows that `seal` is about and that arrived before `until`, in a table of these columns. One that no schema has named
    /// holds the property of its name.
    pub fn new(seal: Seal, until: Millis, columns: Arc<Columns>) -> Self {
        RowSieve { seal, until, columns }
    }

    /// Every place where a field may be among these columns.
    fn places(&self, field: &Field, schema: &Schema) -> Vec<Place> {
        let Some((first, rest)) = field.parts().split_first() else { return Vec::new() };
        let mut places = Vec::new();
        for (column, named) in schema.fields().iter().enumerate() {
            if COLUMNS.contains(&named.name().as_str()) {
                continue;
            }
            if named.name() == EXTRA {
                places.push(Place { column, part: Part::Of(field.clone()) });
                continue;
            }
            let name = fold(named.name());
            let known = self.columns.get(&name);
            let holds = |property: &str| known.map_or(name == *property, |known| known.holds(property));
            let is_json = known.is_none_or(|known| known.is_json);
            if !rest.is_empty() && is_json && holds(first) {
                places.push(Place { column, part: Part::Within(rest.to_vec()) });
            }
            if holds(&field.whole()) {
                let is_plain = known.is_none_or(|known| known.is_plain);
                places.push(Place { column, part: Part::Whole { is_plain, is_json } });
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
        let ways = term.ways();
        for field in term.fields() {
            for place in self.places(&field, batch.schema_ref()) {
                let texts = texts(batch, place.column)?;
                let is_number = batch.column(place.column).data_type().is_numeric();
                for (row, mark) in marks.iter_mut().enumerate().filter(|(row, _)| texts.is_valid(*row)) {
                    let text = texts.value(row);
                    *mark |= match is_number {
                        true => term.is(self.seal.salt(), &ways, &Value::number(text)),
                        false => self.is((term, &ways), text, &place.part),
                    };
                }
            }
        }
        Ok(marks)
    }

    fn is(&self, (term, ways): (&Term, &Ways), text: &str, part: &Part) -> bool {
        let mut is = |value: &Value<'_>| term.is(self.seal.salt(), ways, value);
        match part {
            Part::Of(field) => Object::parse(text.as_bytes()).is_ok_and(|object| field.any(&object, &mut is)),
            Part::Within(parts) => is_json(text) && field::json(text, parts, &mut is),
            Part::Whole { is_plain, is_json: may_be_json } => {
                (*is_plain && is(&Value::text(text)))
                    || (*may_be_json && is_json(text) && field::json(text, &[], &mut is))
            }
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
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

/// A column as texts.
fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray, String> {
    let column = &uuids::readable_column(batch.column(column));
    let text = cast(column, &DataType::Utf8).map_err(|error| format!("a column is no text: {error}"))?;
    let texts = text.as_any().downcast_ref::<StringArray>().ok_or("a column is no text")?;
    Ok(texts.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Wanted;
    use super::*;
    use crate::record::Origin;
    use crate::schema::TableSchema;
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
        let mut tables = Tables::unknown();
        tables.learn("t", &schema);
        let seal = Seal::of("5a17", &tables.read(&wanted));
        let sieve = Sieves::new(seal, Millis(until), tables).of("t");
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
            json!({"userId": "u2", "n": 7.5, "context": {"Email": "a@b"}, "mixed": 7.0, "session": {"id": 3}}),
            json!({"user_id": "u1", "context": {}, "mixed": {"x": "u1"},
                "anonymousId": "2EB8AA08-AA98-11EA-B4AA-73B441D16380"}),
        ];
        for (conditions, rows) in [
            (&["user_id = u1"][..], [true, false, true]),
            (&["customer = u2"], [false, false, false]),
            (&["/context/email = a@b"], [true, true, false]),
            (&["/context/email = a@b", "n = 7"], [true, false, false]),
            (&["n = 7.50"], [false, true, false]),
            (&["mixed = u1"], [true, false, false]),
            (&["mixed = 7"], [false, true, false]),
            (&["/mixed/x = u1"], [false, false, true]),
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
