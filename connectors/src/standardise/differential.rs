//! The fast way to read events against the slow, obvious one, over generated schemas and events, and over odd ones by hand.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::oracle::Oracle;
use super::*;
use crate::clock::Millis;
use crate::record::Sequence;

/// What subschemas ask.
const NODES: &[&str] = &[
    "{}",
    "true",
    "false",
    r#"{"type":"string"}"#,
    r#"{"type":["string","null"]}"#,
    r#"{"type":["string","null"],"minLength":2,"maxLength":4}"#,
    r#"{"type":"string","pattern":"^[a-z]+$"}"#,
    r#"{"type":"string","enum":["a","é","\"","1"]}"#,
    r#"{"type":["string","null"],"enum":["",null,"ab"]}"#,
    r#"{"type":["string","null"],"minLength":1,"enum":["a","ab",""]}"#,
    r#"{"type":"string","maxLength":1}"#,
    r#"{"type":["string","null"],"format":"uuid"}"#,
    r#"{"type":["string","null"],"format":"uuid","x-storage":"bytes"}"#,
    r#"{"type":"string","format":"uuid","x-storage":"bytes","pattern":"^2"}"#,
    r#"{"type":["string","null"],"format":"uuid","x-storage":"bytes","x-from-string":true}"#,
    r#"{"type":["string","null"],"format":"email"}"#,
    r#"{"type":["string","null"],"format":"date-time"}"#,
    r#"{"type":["string","null"],"format":"date-time","x-from-string":true}"#,
    r#"{"type":["string","null"],"format":"date"}"#,
    r#"{"type":["integer","null"],"minimum":-1000,"exclusiveMaximum":1e18}"#,
    r#"{"type":"integer","x-from-string":true}"#,
    r#"{"type":["integer","null"],"enum":[7,null,1e3,-1001]}"#,
    r#"{"type":["number","null"],"maximum":0.1}"#,
    r#"{"type":["number","null"],"minimum":0,"exclusiveMaximum":1.5}"#,
    r#"{"type":"number","exclusiveMinimum":0,"enum":[0.1,7]}"#,
    r#"{"type":["number","null"],"minimum":0.1000000000000001}"#,
    r#"{"type":"number","x-from-string":true}"#,
    r#"{"type":["boolean","null"]}"#,
    r#"{"type":"boolean","x-from-string":true}"#,
    r#"{"type":["object","null"]}"#,
    r#"{"type":["integer","object"]}"#,
    r#"{"type":["string","array"]}"#,
    r#"{"type":"array","items":{"type":"integer"}}"#,
    r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#,
    r#"{"const":{"a":[1,2]}}"#,
    r#"{"type":["string","integer"]}"#,
];

/// Names of members, as they stand in a schema and in an event.
const NAMES: &[(&str, &str)] = &[
    ("a", r#""a""#),
    ("b", r#""b""#),
    ("c", r#""c""#),
    ("a", r#""\u0061""#),
    ("ab", r#""ab""#),
    ("é", r#""é""#),
    ("é", r#""\u00e9""#),
    ("q\"", r#""q\"""#),
    ("", r#""""#),
    ("long name of a member", r#""long name of a member""#),
];

/// Values, and what is none.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "7",
    "-1000",
    "-1001",
    "1e3",
    "1.0",
    "1.5",
    "0.1",
    "0.10",
    "0.1000000000000001",
    "999999999999999999",
    "1000000000000000000",
    "1e18",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "1e308",
    "1e309",
    "-1e400",
    "1e-400",
    "123456789012345678901234567890",
    "1540919166796.0",
    "\"\"",
    "\"a\"",
    "\"é\"",
    "\"ab\"",
    "\"abcde\"",
    "\"😀😀\"",
    "\"\\u0061\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\udc00x\"",
    "\"\\\"\"",
    "\"\\/\\b\\f\\n\\r\\t\\\\\"",
    "\"1\"",
    "\"007\"",
    "\"1e400\"",
    "\"true\"",
    "\"NULL\"",
    "\"n/a\"",
    "\"2020-01-01\"",
    "\"2020-02-30\"",
    "\"2020-01-01T00:00:00Z\"",
    "\"2020-01-01 00:00:00.1234567+01:00\"",
    "\"1998-12-31T23:59:60Z\"",
    "1541105830",
    "1541105830796",
    "\"1541105830\"",
    "\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\"",
    "\"2EB8AA08-AA98-11EA-B4AA-73B441D16380\"",
    "\"\\u0032eb8aa08-aa98-11ea-b4aa-73b441d16380\"",
    "\"ffffffff-ffff-ffff-ffff-ffffffffffff\"",
    "\"2eb8aa08aa9811eab4aa73b441d16380\"",
    "\"2eb8aa08-aa98-11ea-b4ga-73b441d16380\"",
    "\"joe@example.com\"",
    "[]",
    "{}",
    "[1,2]",
    "[1,\"x\"]",
    "[ 1 , [ ] , { \"a\" : null } ]",
    r#"{"a":1}"#,
    r#"{"a":[1,2]}"#,
    r#"{ "a" : [ 1.0, 2 ] }"#,
    r#"{"a":1,"a":"x"}"#,
    r#"{"a":{"b":{"c":"\ud800"}}}"#,
    r#"{"\ud800":1}"#,
    "[[[[[[[[1]]]]]]]]",
    // Broken ones.
    "tru",
    "01",
    "1.",
    "+1",
    "\"",
    "\"\\x\"",
    "\"\u{1}\"",
    "[1,]",
    "{\"a\"}",
    "",
    "[",
    "nan",
];

fn schema() -> impl Strategy<Value = Arc<TableSchema>> {
    let names =
        prop::sample::subsequence(vec!["a", "b", "c", "ab", "é", "q\"", "", "long name of a member"], 0..=8);
    let nodes = prop::collection::vec(prop::sample::select(NODES), 8);
    let required = prop::collection::vec(any::<prop::sample::Index>(), 0..2);
    let more = prop::sample::select(vec!["true", "true", "true", "false", r#"{"type":"string"}"#]);
    (names, nodes, required, more, any::<bool>())
        .prop_filter_map("no schema may contradict itself", |(names, nodes, required, more, unnamed)| {
        let column = |at: usize, node: &str| match node.strip_suffix('}') {
            Some("{") => format!("{{\"x-column\":\"column_{at}\"}}"),
            Some(node) => format!("{node},\"x-column\":\"column_{at}\"}}"),
            None => node.to_owned(),
        };
        let json = |text: &str| serde_json::Value::from(text).to_string();
        // Names that no column may have come with a node that can name one.
        let has_column = |(at, (name, node)): &(usize, (&&str, &&str))| {
            node.starts_with('{') || (!name.is_empty() && !name.contains('"') && *at < 8)
        };
        let properties = names.iter().zip(&nodes).enumerate().filter(has_column);
        let properties: Vec<String> =
            properties.map(|(at, (name, node))| format!("{}:{}", json(name), column(at, node))).collect();
        let mut required: Vec<String> =
            required.iter().filter(|_| !names.is_empty()).map(|at| json(names[at.index(names.len())])).collect();
        required.extend(unnamed.then(|| json("unnamed")).filter(|_| names.len() == 3));
        required.sort();
        required.dedup();
        let text = format!(
            "{{\"type\":\"object\",\"properties\":{{{}}},\"required\":[{}],\"additionalProperties\":{more}}}",
            properties.join(","),
            required.join(",")
        );
        TableSchema::load(&text).ok().map(Arc::new)
    })
}

fn event() -> impl Strategy<Value = String> {
    let gap = prop::sample::select(vec!["", "", "", " ", "\n\t", "\r "]);
    let value =
        prop_oneof![8 => prop::sample::select(VALUES).prop_map(str::to_owned), 1 => number(), 1 => text()];
    let member = (prop::sample::select(NAMES), value, gap.clone());
    let members = prop::collection::vec(member, 0..7);
    let end = prop::sample::select(vec!["}", "}", "}", "}", "}", "}", "} ", "}\n", "", ",}", "} x"]);
    (members, gap, end).prop_map(|(members, gap, end)| {
        let members: Vec<String> = members
            .iter()
            .map(|((_, name), value, gap)| format!("{gap}{name}{gap}:{gap}{value}{gap}"))
            .collect();
        format!("{gap}{{{gap}{}{end}", members.join(","))
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        "-?[0-9]{1,25}(\\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}".prop_map(|text| serde_json::Value::from(text).to_string()), "\"[^\"]{0,12}\""]
}

fn origin(number: usize) -> Origin {
    let sequence = Sequence::from(number as u64);
    Origin {
        stream: "web".into(),
        shard: "shard-0".into(),
        sequence,
        subsequence: 3,
        arrived_at: Millis(1_500),
    }
}

/// Both ways with the same events, one after the other, columns asked after so many events; how many were read fast.
fn compare_by<'e>(
    schema: &Arc<TableSchema>,
    together: usize,
    events: impl IntoIterator<Item = &'e [u8]>,
) -> Result<usize, TestCaseError> {
    let (mut reader, mut rows) = (Reader::new(schema.clone()), Rows::new(schema.clone()));
    let (mut oracle, mut fast) = (Oracle::new(schema.clone()), 0);
    // Of each row that was not asked yet: its event, and whether it was read fast and is refused all the same.
    let mut unasked: Vec<(&[u8], bool)> = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        let shown = || format!("{} by {}", String::from_utf8_lossy(event), schema.text());
        let origin = origin(number);
        let object = Object::parse(event);
        let verdict = object.as_ref().ok().map(|object| oracle.append(object, &origin));
        match (reader.read(event), verdict) {
            (Some(read), Some(verdict)) => {
                rows.append_read(&read, &origin);
                fast += usize::from(verdict.is_ok());
                unasked.push((event, verdict.is_err()));
            }
            (Some(_), None) => prop_assert!(false, "read, and is no event: {}", shown()),
            (None, Some(Ok(()))) => {
                prop_assert_eq!(rows.append(object.as_ref().unwrap(), &origin), Ok(()));
                unasked.push((event, false));
            }
            (None, _) => {}
        }
        if unasked.len() >= together {
            ask(&reader, &mut rows, &mut unasked)?;
        }
    }
    ask(&reader, &mut rows, &mut unasked)?;
    prop_assert_eq!(rows.finish(), oracle.finish(), "{}", schema.text());
    Ok(fast)
}

/// Asks the columns of the last rows, and takes out what their events are refused for.
fn ask(reader: &Reader, rows: &mut Rows, unasked: &mut Vec<(&[u8], bool)>) -> Result<(), TestCaseError> {
    let from = rows.len() - unasked.len();
    let mut refused = reader.doubtful(rows, from);
    refused.retain(|row| rows.schema().check(&Object::parse(unasked[row - from].0).unwrap()).is_err());
    let wanted: Vec<usize> = (from..rows.len()).filter(|row| unasked[row - from].1).collect();
    prop_assert_eq!(&refused, &wanted, "{}", rows.schema().text());
    rows.take_out(&refused);
    unasked.clear();
    Ok(())
}

/// Both ways with the same events; how many were read fast.
fn compare<'e>(
    schema: &Arc<TableSchema>,
    events: impl IntoIterator<Item = &'e [u8]>,
) -> Result<usize, TestCaseError> {
    compare_by(schema, usize::MAX, events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_read_fast_is_what_the_obvious_way_reads(
        schema in schema(), events in prop::collection::vec(event(), 0..12), together in 1..12_usize,
    ) {
        compare_by(&schema, together, events.iter().map(String::as_bytes))?;
    }

    #[test]
    fn no_bytes_are_read_that_are_no_event(mut event in event().prop_map(String::into_bytes), at in any::<prop::sample::Index>(), byte: u8) {
        if !event.is_empty() {
            let at = at.index(event.len());
            event[at] = byte;
        }
        compare(&TableSchema::builtin(), [event.as_slice()])?;
    }
}

#[test]
fn what_producers_write_is_read_fast() {
    let event = |n: usize| {
        format!(
            r#"{{"messageId":"m{n}","type":"track","event":"Order \"Completed\"","userId":null,"timestamp":"2026-11-20T10:00:00.5Z",
            "properties":{{"total":1.50,"list":[{{}},[]]}},"context":{{"ip":"::1"}},"channel":"web","anonymousId":"é{n}"}}"#
        )
    };
    let events: Vec<String> = (0..100).map(event).collect();
    let fast = compare(&TableSchema::builtin(), events.iter().map(String::as_bytes)).unwrap();
    assert_eq!(fast, 100);
}

#[test]
fn uuids_kept_as_bytes_are_read_fast() {
    let property = r#"{"type":["string","null"],"format":"uuid","x-storage":"bytes"}"#;
    let text = format!(r#"{{"type":"object","properties":{{"a":{property},"b":{property}}}}}"#);
    let schema = Arc::new(TableSchema::load(&text).unwrap());
    let event = |n: usize| match n % 4 {
        0 => "{}".to_owned(),
        1 => format!(r#"{{"b":null,"a":"{n:08X}-aa98-11EA-b4aa-73b441d16380"}}"#),
        2 => format!(
            r#"{{"a":"{n:08x}-aa98-11ea-b4aa-73b441d16380","b":"{n:08x}-0000-0000-0000-000000000000"}}"#
        ),
        _ => format!(r#"{{"b":"{n:08x}-aa98-11ea-b4aa-73b441d1638\u0030"}}"#),
    };
    let events: Vec<String> = (0..100).map(event).collect();
    assert_eq!(compare(&schema, events.iter().map(String::as_bytes)).unwrap(), 100);
    let wrong = [r#"{"a":"2eb8aa08aa9811eab4aa73b441d16380"}"#, r#"{"a":"","b":null}"#, r#"{"b":7}"#];
    assert_eq!(
        compare(&schema, wrong.map(str::as_bytes)).unwrap(),
        0,
        "what is refused is explained elsewhere"
    );
}

#[test]
fn large_and_deep_events_come_out_alike() {
    let schema = TableSchema::builtin();
    let long = format!(
        r#"{{"event":"{}","properties":{{"text":"{}"}}}}"#,
        "é".repeat(600_000),
        "\\n".repeat(600_000)
    );
    let deep = format!(r#"{{"properties":{{"a":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let wide: Vec<String> = (0..5_000).map(|n| format!("\"k{}\":{n}", n % 4_000)).collect();
    let wide = format!("{{{}}}", wide.join(","));
    let events = [
        long.as_bytes(),
        deep.as_bytes(),
        wide.as_bytes(),
        b"{}",
        b" {} ",
        b"",
        b"[]",
        b"{\"event\":\"\xff\"}",
    ];
    assert_eq!(compare(&schema, events).unwrap(), 3, "the long one and the two empty ones");
}
