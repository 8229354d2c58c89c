//! Files of rows read back: the same JSON however they are written and packed; what is wrong is told with its place.

use std::io::{self, Read, Write};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::failure::Class;

/// Gives its bytes a few at a time.
struct Slow(io::Cursor<Vec<u8>>, usize);

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(self.1);
        self.0.read(&mut into[..most])
    }
}

fn stream(bytes: &[u8], at_once: usize) -> Input {
    Input::Stream(Box::new(Slow(io::Cursor::new(bytes.to_vec()), at_once)))
}

fn how(format: Format) -> How {
    How { format, null: Some("NA".into()), shown: "f".into() }
}

fn read(bytes: &[u8], format: Format) -> Result<Vec<Row>, Failure> {
    open(stream(bytes, 7), how(format))?.collect()
}

fn values(rows: &[Row]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::from_str(row.data.as_ref().unwrap()).unwrap()).collect()
}

fn packed(bytes: &[u8], packing: u8) -> Vec<u8> {
    match packing {
        0 => bytes.to_vec(),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn to_parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let batch = batch.unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// A row that all formats can hold: two texts, one of them may be null.
type Texts = (String, Option<String>);

fn texts() -> impl Strategy<Value = Vec<Texts>> {
    let text = prop_oneof![
        2 => "[a-z,\"\n\r \u{e9}\u{2028}]{0,12}",
        1 => any::<String>(),
    ];
    // A line that is nothing but blank fields would be a blank line.
    let row = (text.clone().prop_map(|text| format!("x{text}")), proptest::option::of(text));
    let row = row.prop_map(|(first, second)| (first, second.filter(|text| text != "NA")));
    proptest::collection::vec(row, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_are_the_same_json_however_they_are_written_and_packed(
        rows in texts(), packing in 0_u8..3, at_once in 1_usize..5_000,
    ) {
        let wanted: Vec<Value> = rows.iter().map(|(a, b)| json!({"a b": a, "": b})).collect();
        let ndjson: String = wanted.iter().map(|row| format!("{row}\n")).collect();
        let array = format!("{:#}", Value::Array(wanted.clone()));
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["a b", ""]).unwrap();
        rows.iter().for_each(|(a, b)| writer.write_record([a.as_str(), b.as_deref().unwrap_or("NA")]).unwrap());
        let csv = writer.into_inner().unwrap();
        let parquet = to_parquet(vec![
            ("a b", Arc::new(StringArray::from_iter_values(rows.iter().map(|(a, _)| a)))),
            ("", Arc::new(StringArray::from_iter(rows.iter().map(|(_, b)| b.as_ref())))),
        ]);
        for (bytes, format) in [
            (ndjson.as_bytes(), Format::Ndjson), (array.as_bytes(), Format::Json),
            (csv.as_slice(), Format::Csv), (parquet.as_slice(), Format::Parquet),
        ] {
            let input = stream(&packed(bytes, packing), at_once);
            let found: Vec<Row> = open(input, how(format)).unwrap().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(values(&found), wanted.clone(), "{:?}", format);
        }
    }

    /// Half a packed file is a failure, never fewer rows.
    #[test]
    fn a_packed_file_that_is_cut_off_is_told(rows in 20_usize..200, packing in 1_u8..3, share in 0.1_f64..0.95) {
        let text: String = (0..rows).map(|n| format!("{{\"n\":{n},\"x\":\"{:x}\"}}\n", n * 7_919_317)).collect();
        let whole = packed(text.as_bytes(), packing);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let cut = (whole.len() as f64 * share) as usize;
        let outcome = read(&whole[..cut.max(4)], Format::Ndjson);
        prop_assert_eq!(outcome.map_err(|failure| failure.class), Err(Class::Rejected));
    }
}

#[test]
fn columns_of_every_kind_become_json_without_loss() {
    let number = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let moment = 1_795_000_000_123_456;
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let inner = Arc::new(Field::new("deep", DataType::Int64, true));
    let nested = StructArray::from(vec![(inner, number(vec![Some(7), None]))]);
    let decimals = Decimal128Array::from(vec![Some(12_345_678_901_234_567_890_123_456_789), Some(-1)]);
    let bytes = to_parquet(vec![
        ("i", number(vec![Some(i64::MAX), None])),
        ("f", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN)]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("d", Arc::new(decimals.with_precision_and_scale(38, 4).unwrap())),
        ("zoned", Arc::new(TimestampMicrosecondArray::from(vec![Some(moment), None]).with_timezone("UTC"))),
        ("naive", Arc::new(TimestampMicrosecondArray::from(vec![Some(moment), Some(0)]))),
        ("l", Arc::new(list)),
        ("s", Arc::new(nested)),
    ]);
    let rows = read(&bytes, Format::Parquet).unwrap();
    let first = rows[0].data.as_ref().unwrap();
    for part in [
        "\"i\":9223372036854775807",
        "\"f\":0.1,",
        "\"b\":true",
        "\"d\":1234567890123456789012345.6789",
        "\"zoned\":\"2026-11-18T11:06:40.123456Z\"",
        "\"naive\":\"2026-11-18T11:06:40.123456Z\"",
        "\"l\":[1,null]",
        "\"s\":{\"deep\":7}",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
    let second = rows[1].data.as_ref().unwrap();
    let wanted = json!({"i": null, "f": null, "b": null, "d": -0.0001, "zoned": null,
        "naive": "1970-01-01T00:00:00Z", "l": null, "s": {"deep": null}});
    assert_eq!(serde_json::from_str::<Value>(second).unwrap(), wanted);
    // Bytes that are no Parquet are told, whole or in half.
    for wrong in [b"PAR1".as_slice(), b"a,b\n1,2\n", b"", &bytes[..bytes.len() / 2]] {
        assert_eq!(read(wrong, Format::Parquet).unwrap_err().class, Class::Rejected);
    }
}

#[test]
fn broken_rows_are_told_with_their_lines_and_the_others_go_on() {
    let text: &[u8] = b"\xef\xbb\xbfid,n\r\n1,NA\r\n2,\"a,\r\nb\"\r\n3\r\n4,x,y\n\n5,\xff\n6,z";
    let rows = read(text, Format::Csv).unwrap();
    let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, [2, 3, 5, 6, 8, 9]);
    let told: Vec<String> = rows
        .iter()
        .map(|row| match &row.data {
            Ok(text) => text.clone(),
            Err(broken) => format!("{} ({:?})", broken.reason, String::from_utf8_lossy(&broken.data)),
        })
        .collect();
    assert_eq!(told[0], r#"{"id":"1","n":null}"#);
    assert_eq!(told[1], r#"{"id":"2","n":"a,\r\nb"}"#);
    assert_eq!(told[2], "this row has 1 fields, the header has 2 (\"3\")");
    assert_eq!(told[3], "this row has 3 fields, the header has 2 (\"4,x,y\")");
    assert!(told[4].starts_with("the field `n` is not UTF-8"), "{}", told[4]);
    assert_eq!(told[5], r#"{"id":"6","n":"z"}"#);
}

#[test]
fn a_header_that_would_lose_values_is_refused() {
    let failure = read(b"a,b,a\n1,2,3\n", Format::Csv).unwrap_err();
    assert!(failure.class == Class::Rejected && failure.detail.contains("`a`"), "{failure}");
    assert_eq!(read(b"", Format::Csv).unwrap(), []);
    assert_eq!(read(b"a,b\n", Format::Csv).unwrap(), []);
}

#[test]
fn a_quote_that_is_not_closed_does_not_swallow_memory() {
    let mut text = b"a\n\"".to_vec();
    text.resize(LONGEST + 3 * BUFFER, b'x');
    let rows: Vec<_> = open(stream(&text, BUFFER), how(Format::Csv)).unwrap().collect();
    let [Err(failure)] = rows.as_slice() else { panic!("{} rows", rows.len()) };
    assert!(failure.class == Class::Rejected && failure.detail.contains("quote"), "{failure}");
}

#[test]
fn lines_keep_their_text_and_one_that_is_too_long_is_passed_over() {
    let mut text = b"\xef\xbb\xbf{\"a\": 1.10}\r\n\n  {\"b\":2}\n\xff\n".to_vec();
    text.resize(text.len() + LONGEST + 5, b'x');
    text.extend(b"\n{\"c\":3}");
    let rows: Vec<Row> =
        open(stream(&text, BUFFER), how(Format::Ndjson)).unwrap().collect::<Result<_, _>>().unwrap();
    let told: Vec<(u64, bool)> = rows.iter().map(|row| (row.number, row.data.is_ok())).collect();
    assert_eq!(told, [(1, true), (3, true), (4, false), (5, false), (6, true)]);
    assert_eq!(rows[0].data.as_ref().unwrap(), "{\"a\": 1.10}");
    assert_eq!(rows[4].data.as_ref().unwrap(), "{\"c\":3}");
}

#[test]
fn values_come_one_by_one_and_an_open_array_is_told() {
    let rows = read(b"[{\"a\":\n1.0},\n 2", Format::Json).unwrap();
    let told: Vec<Option<&str>> = rows.iter().map(|row| row.data.as_deref().ok()).collect();
    assert_eq!(told, [Some("{\"a\": 1.0}"), Some("2"), None]);
}

#[test]
fn a_failure_of_the_source_keeps_its_class() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other(Failure::transient("cut off")))
        }
    }
    for format in [Format::Ndjson, Format::Json, Format::Csv, Format::Parquet] {
        let rows = open(Input::Stream(Box::new(Broken)), how(format));
        let failure = rows.and_then(|rows| rows.collect::<Result<Vec<_>, _>>()).unwrap_err();
        assert_eq!((failure.class, failure.detail.as_str()), (Class::Transient, "f: cut off"));
    }
}

#[test]
fn names_tell_the_format() {
    for (name, format) in [
        ("a.csv", Format::Csv),
        ("s3://b/A.CSV.GZ", Format::Csv),
        ("x.json.zst", Format::Json),
        ("x.parquet", Format::Parquet),
        ("x.gz", Format::Ndjson),
        ("-", Format::Ndjson),
    ] {
        assert_eq!(Format::of_name(name), format, "{name}");
    }
    assert_eq!("csv.gz".parse(), Ok(Format::Csv));
    assert!("cvs".parse::<Format>().unwrap_err().contains("did you mean `csv`?"));
}
