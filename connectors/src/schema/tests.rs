//! What schemas are refused, and what each keyword accepts and rejects.

use super::*;

fn load(text: &str) -> TableSchema {
    TableSchema::load(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

/// A schema whose only property is `a`.
fn with_a(property: &str) -> TableSchema {
    load(&format!(r#"{{"type":"object","properties":{{"a":{property}}}}}"#))
}

fn check(schema: &TableSchema, event: &str) -> Result<(), Rejection> {
    schema.check(&Object::parse(event.as_bytes()).unwrap())
}

/// One that is kept as 16 bytes.
const UUID: &str = r#"{"type":"string","format":"uuid","x-storage":"bytes"}"#;

/// Property `a`, its value, and the rejection's field and rule if there is one.
type Case = (&'static str, &'static str, Option<(&'static str, &'static str)>);

const KEYWORDS: &[Case] = &[
    (r#"{"type":"string"}"#, r#""x""#, None),
    (r#"{"type":"string"}"#, "1", Some(("/a", "type string"))),
    (r#"{"type":"string"}"#, "null", Some(("/a", "type string"))),
    (r#"{"type":["string","null"]}"#, "null", None),
    (r#"{"type":"string"}"#, r#""\ud800""#, Some(("/a", "valid Unicode"))),
    (r#"{"type":"integer"}"#, "1.0", None),
    (r#"{"type":"integer"}"#, "1.5", Some(("/a", "type integer"))),
    (r#"{"type":"integer"}"#, "9223372036854775808", Some(("/a", "64-bit integer"))),
    (r#"{"type":"integer"}"#, r#""1""#, Some(("/a", "type integer"))),
    (r#"{"type":"number"}"#, "1e308", None),
    (r#"{"type":"number"}"#, "1e309", Some(("/a", "64-bit number"))),
    (r#"{"type":["integer","number"]}"#, "1.5", None),
    (r#"{"type":"boolean"}"#, "true", None),
    (r#"{"type":"boolean"}"#, r#""true""#, Some(("/a", "type boolean"))),
    (r#"{"type":"array"}"#, "[1]", None),
    (r#"{"type":"object"}"#, "[1]", Some(("/a", "type object"))),
    (r#"{"type":["string","integer"]}"#, "1.5", Some(("/a", "type integer or string"))),
    ("{}", r#"{"b":"\ud800"}"#, None),
    ("true", "1", None),
    ("false", "1", Some(("/a", "not allowed"))),
    (r#"{"enum":["x",1,null]}"#, "1.0", None),
    (r#"{"enum":["x",1,null]}"#, "null", None),
    (r#"{"enum":["x",1,null]}"#, "2", Some(("/a", "enum"))),
    (r#"{"type":["string","null"],"enum":["x"]}"#, "null", Some(("/a", "enum"))),
    (r#"{"type":"string","enum":["x"]}"#, r#""y""#, Some(("/a", "enum"))),
    (r#"{"const":{"a":[1,2],"b":true}}"#, r#"{"b":true,"a":[1.0,2e0]}"#, None),
    (r#"{"const":{"a":[1,2]}}"#, r#"{"a":[2,1]}"#, Some(("/a", "const"))),
    (r#"{"const":{"a":1}}"#, r#"{"a":1,"b":2}"#, Some(("/a", "const"))),
    (r#"{"const":9007199254740993}"#, "9007199254740992", Some(("/a", "const"))),
    (r#"{"type":"integer","minimum":0}"#, "0", None),
    (r#"{"type":"integer","minimum":0}"#, "-1", Some(("/a", "minimum 0"))),
    (
        r#"{"type":"integer","minimum":9007199254740993}"#,
        "9007199254740992",
        Some(("/a", "minimum 9007199254740993")),
    ),
    (r#"{"maximum":1.5}"#, "1.50", None),
    (r#"{"maximum":1.5}"#, "2e0", Some(("/a", "maximum 1.5"))),
    (r#"{"maximum":1.5}"#, r#""zzz""#, None),
    (r#"{"exclusiveMinimum":0}"#, "0.0", Some(("/a", "exclusiveMinimum 0"))),
    (r#"{"exclusiveMaximum":1}"#, "0.99999999999999999999", None),
    (r#"{"exclusiveMaximum":1}"#, "1", Some(("/a", "exclusiveMaximum 1"))),
    (r#"{"type":"string","minLength":2}"#, r#""😀😀""#, None),
    (r#"{"type":"string","minLength":2}"#, r#""é""#, Some(("/a", "minLength 2"))),
    (r#"{"type":"string","maxLength":2}"#, r#""\ud83d\ude00\ud83d\ude00""#, None),
    (r#"{"type":"string","maxLength":2}"#, r#""abc""#, Some(("/a", "maxLength 2"))),
    (r#"{"minLength":2}"#, "1", None),
    (r#"{"type":"string","pattern":"b+"}"#, r#""abbc""#, None),
    (r#"{"type":"string","pattern":"^b"}"#, r#""ab""#, Some(("/a", "pattern ^b"))),
    (r#"{"type":"string","format":"date-time"}"#, r#""2020-01-01 00:00:00Z""#, None),
    (r#"{"type":"string","format":"date-time"}"#, "1541105830796", None),
    (r#"{"type":"string","format":"date-time"}"#, "1541105830.796", Some(("/a", "format date-time"))),
    (r#"{"type":"string","format":"date-time"}"#, r#""soon""#, Some(("/a", "format date-time"))),
    (r#"{"type":"string","format":"date-time"}"#, "true", Some(("/a", "type string"))),
    (r#"{"type":"string","format":"date"}"#, r#""2020-02-30""#, Some(("/a", "format date"))),
    (r#"{"type":"string","format":"date"}"#, r#""2020-02-29""#, None),
    (r#"{"type":"string","format":"uuid"}"#, r#""x""#, Some(("/a", "format uuid"))),
    (UUID, r#""2eb8aa08-aa98-11ea-b4aa-73b441d16380""#, None),
    (UUID, r#""2EB8AA08-AA98-11EA-B4AA-73B441D16380""#, None),
    (UUID, r#""\u0032eb8aa08-aa98-11ea-b4aa-73b441d16380""#, None),
    (UUID, r#""2eb8aa08aa9811eab4aa73b441d16380""#, Some(("/a", "format uuid"))),
    (UUID, r#""{2eb8aa08-aa98-11ea-b4aa-73b441d16380}""#, Some(("/a", "format uuid"))),
    (UUID, r#""2eb8aa08-aa98-11ea-b4ga-73b441d16380""#, Some(("/a", "format uuid"))),
    (UUID, r#""""#, Some(("/a", "format uuid"))),
    (UUID, r#""\ud800""#, Some(("/a", "valid Unicode"))),
    (UUID, "7", Some(("/a", "type string"))),
    (UUID, "null", Some(("/a", "type string"))),
    (r#"{"type":["string","null"],"format":"uuid","x-storage":"bytes"}"#, "null", None),
    (
        r#"{"type":["string","null"],"format":"uuid","x-storage":"bytes","x-from-string":true}"#,
        r#""NA""#,
        None,
    ),
    (
        r#"{"type":"string","format":"uuid","x-storage":"bytes","pattern":"^2"}"#,
        r#""3eb8aa08-aa98-11ea-b4aa-73b441d16380""#,
        Some(("/a", "pattern ^2")),
    ),
    (r#"{"type":"string","format":"uuid","x-storage":"text"}"#, r#""x""#, Some(("/a", "format uuid"))),
    (r#"{"format":"email"}"#, r#""x""#, Some(("/a", "format email"))),
    (r#"{"format":"email"}"#, "1", None),
    (r#"{"type":"array","items":{"type":"integer"}}"#, "[1,2.0]", None),
    (r#"{"type":"array","items":{"type":"integer"}}"#, r#"[1,"2"]"#, Some(("/a/1", "type integer"))),
    (r#"{"items":false}"#, "[]", None),
    (r#"{"items":false}"#, "[1]", Some(("/a/0", "not allowed"))),
    (r#"{"properties":{"b/c":{"type":"null"}}}"#, r#"{"b/c":1}"#, Some(("/a/b~1c", "type null"))),
    (r#"{"properties":{"b":{"minimum":1}}}"#, r#"{"b":0,"b":1}"#, None),
    (r#"{"required":["b"]}"#, r#"{"b":null}"#, None),
    (r#"{"required":["b"]}"#, "{}", Some(("/a/b", "required"))),
    (r#"{"required":["b"]}"#, "[]", None),
    (r#"{"properties":{"b":{}},"additionalProperties":false}"#, r#"{"b":1}"#, None),
    (
        r#"{"properties":{"b":{}},"additionalProperties":false}"#,
        r#"{"c":1}"#,
        Some(("/a/c", "additionalProperties false")),
    ),
    (r#"{"additionalProperties":{"type":"string"}}"#, r#"{"c":1}"#, Some(("/a/c", "type string"))),
    (r#"{"type":"integer","x-from-string":true}"#, r#""15""#, None),
    (r#"{"type":"integer","x-from-string":true,"minimum":20}"#, r#""15""#, Some(("/a", "minimum 20"))),
    (r#"{"type":"integer","x-from-string":true}"#, r#""NA""#, Some(("/a", "type integer"))),
    (r#"{"type":["integer","null"],"x-from-string":true}"#, r#""NA""#, None),
    (r#"{"type":"integer","x-from-string":true,"enum":[15]}"#, r#""15.0""#, None),
    (r#"{"type":"boolean","x-from-string":true}"#, r#""True""#, None),
    (r#"{"type":"boolean","x-from-string":true}"#, r#""yes""#, Some(("/a", "type boolean"))),
];

#[test]
fn keywords_mean_what_the_standard_says() {
    for (property, value, wanted) in KEYWORDS {
        let got = check(&with_a(property), &format!("{{\"a\":{value}}}"));
        let got = got.as_ref().err().map(|rejection| (rejection.field.as_str(), rejection.rule.as_str()));
        assert_eq!(got, *wanted, "{property} {value}");
    }
}

#[test]
fn found_is_the_type_and_never_the_value() {
    let found = |property: &str, value: &str| {
        let rejection = check(&with_a(property), &format!("{{\"a\":{value}}}")).unwrap_err();
        assert!(!rejection.to_string().contains("secret"));
        rejection.found
    };
    assert_eq!(found(r#"{"type":"integer","x-from-string":true}"#, r#""secret""#), "string");
    assert_eq!(found(r#"{"enum":["x"]}"#, r#"{"secret":1}"#), "object");
    assert_eq!(found(r#"{"maxLength":1}"#, r#""secret""#), "string");
    assert_eq!(found(r#"{"required":["b"]}"#, "{}"), "nothing");
}

#[test]
fn the_root_is_checked_too() {
    let schema = load(
        r#"{"type":"object","properties":{"a":{}},"required":["a","b"],"additionalProperties":{"type":"integer"}}"#,
    );
    assert!(check(&schema, r#"{"a":null,"b":1}"#).is_ok());
    let rejection = |event| check(&schema, event).unwrap_err();
    assert_eq!(
        (rejection(r#"{"a":1}"#).field.as_str(), rejection(r#"{"a":1}"#).rule.as_str()),
        ("/b", "required")
    );
    assert_eq!(rejection(r#"{"a":1,"b":"x"}"#).rule, "type integer");
    let closed = load(r#"{"type":"object","additionalProperties":false,"properties":{"a":{}}}"#);
    assert_eq!(check(&closed, r#"{"z":1}"#).unwrap_err().rule, "additionalProperties false");
    let constant = load(r#"{"type":"object","const":{"a":1}}"#);
    assert!(check(&constant, r#"{"a":1.0}"#).is_ok() && check(&constant, r#"{"a":2}"#).is_err());
}

/// A root schema, and the key and a part of the message of each problem.
const REFUSED: &[(&str, &[(&str, &str)])] = &[
    ("", &[("", "not JSON")]),
    ("{\"type\":", &[("", "not JSON")]),
    ("[]", &[("", "must be a JSON object")]),
    ("true", &[("", "must be a JSON object")]),
    ("{}", &[("/type", "root")]),
    (r#"{"type":"array"}"#, &[("/type", "root")]),
    (r#"{"type":"obejct"}"#, &[("/type", "not a type")]),
    (r#"{"type":"object","oneOf":[]}"#, &[("/oneOf", "`oneOf` is not supported")]),
    (r#"{"type":"object","required":["a","a",1]}"#, &[("/required/1", "twice"), ("/required/2", "string")]),
    (
        r#"{"type":"object","additionalProperties":false,"required":["a"]}"#,
        &[("/required", "`a` is required")],
    ),
    (r#"{"type":"object","properties":{"a":false},"required":["a"]}"#, &[("/required", "`a` is required")]),
    (r#"{"type":"object","x-column":"a"}"#, &[("/x-column", "top-level")]),
    (
        r#"{"type":"object","properties":{"a":{"items":{"x-from-string":true}}}}"#,
        &[("/properties/a/items/x-from-string", "columns")],
    ),
    (
        r#"{"type":"object","properties":{"a":{"items":{"type":"string","format":"uuid","x-storage":"bytes"}}}}"#,
        &[("/properties/a/items/x-storage", "top-level")],
    ),
    (r#"{"type":"object","x-storage":"bytes"}"#, &[("/x-storage", "top-level")]),
    (r#"{"type":"object","properties":{"a":{},"A":{}}}"#, &[("/properties/A/x-column", "same column")]),
    (
        r#"{"type":"object","properties":{"b":{"x-column":"a"},"a":{}}}"#,
        &[("/properties/a/x-column", "same column")],
    ),
    (r#"{"type":"object","properties":{"Extra":{}}}"#, &[("/properties/Extra/x-column", "taken")]),
    (r#"{"type":"object","properties":{"_shard":{}}}"#, &[("/properties/_shard/x-column", "taken")]),
    (r#"{"type":"object","properties":{"hour":{}}}"#, &[("/properties/hour/x-column", "taken")]),
    (r#"{"type":"object","properties":{"":{}}}"#, &[("/properties//x-column", "catalog")]),
];

/// Properties, and the keyword in which each is wrong.
const REFUSED_PROPERTIES: &[(&str, &str)] = &[
    (r#"{"type":[]}"#, "type"),
    (r#"{"type":["string","string"]}"#, "type"),
    (r#"{"type":1}"#, "type"),
    (r#"{"enum":[]}"#, "enum"),
    (r#"{"enum":"x"}"#, "enum"),
    (r#"{"type":"string","enum":[1]}"#, "enum"),
    (r#"{"type":"integer","const":1.5}"#, "const"),
    (r#"{"minimum":"0"}"#, "minimum"),
    (r#"{"exclusiveMinimum":true}"#, "exclusiveMinimum"),
    (r#"{"minimum":2,"maximum":1}"#, "minimum"),
    (r#"{"minimum":1,"exclusiveMaximum":1.0}"#, "minimum"),
    (r#"{"minLength":-1}"#, "minLength"),
    (r#"{"maxLength":1.5}"#, "maxLength"),
    (r#"{"minLength":2,"maxLength":1}"#, "minLength"),
    (r#"{"pattern":"(?=a)"}"#, "pattern"),
    (r#"{"pattern":1}"#, "pattern"),
    (r#"{"format":"uri"}"#, "format"),
    (r#"{"items":[{}]}"#, "items"),
    (r#"{"items":1}"#, "items"),
    (r#"{"properties":[]}"#, "properties"),
    (r#"{"required":"a"}"#, "required"),
    (r#"{"additionalProperties":1}"#, "additionalProperties"),
    (r#"{"$ref":"x"}"#, "$ref"),
    (r#"{"multipleOf":2}"#, "multipleOf"),
    (r#"{"title":1}"#, "title"),
    (r#"{"$schema":"https://example.com/of-our-own"}"#, "$schema"),
    (r#"{"deprecated":1}"#, "deprecated"),
    (r#"{"x-from-string":"yes"}"#, "x-from-string"),
    (r#"{"type":"string","format":"uuid","x-storage":"binary"}"#, "x-storage"),
    (r#"{"type":"string","format":"uuid","x-storage":16}"#, "x-storage"),
    (r#"{"type":"string","x-storage":"bytes"}"#, "x-storage"),
    (r#"{"type":"string","format":"date","x-storage":"bytes"}"#, "x-storage"),
    (r#"{"type":["string","integer"],"format":"uuid","x-storage":"bytes"}"#, "x-storage"),
    (r#"{"format":"uuid","x-storage":"bytes"}"#, "x-storage"),
    (r#"{"type":"integer","x-storage":"bytes"}"#, "x-storage"),
    (r#"{"type":"integer","x-storage":"text"}"#, "x-storage"),
    (r#"{"type":"strnig","format":"uuid","x-storage":"bytes"}"#, "type"),
    (r#"{"type":"string","format":"uuuid","x-storage":"bytes"}"#, "format"),
];

#[test]
fn wrong_schemas_are_refused_with_all_their_problems() {
    for (text, wanted) in REFUSED {
        let problems = TableSchema::load(text).unwrap_err();
        assert_eq!(problems.len(), wanted.len(), "{text}: {problems:?}");
        for (problem, (key, part)) in problems.iter().zip(*wanted) {
            assert!(problem.key == *key && problem.message.contains(part), "{text}: {problem:?}");
            assert!(!problem.fix.is_empty() && problem.line == 1, "{text}: {problem:?}");
        }
    }
    for (property, keyword) in REFUSED_PROPERTIES {
        let text = format!(r#"{{"type":"object","properties":{{"a":{property}}}}}"#);
        let problems = TableSchema::load(&text).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [format!("/properties/a/{keyword}")], "{property}");
    }
}

#[test]
fn what_a_storage_needs_is_told() {
    let told = |property: &str| {
        let text = format!(r#"{{"type":"object","properties":{{"a":{property}}}}}"#);
        let problem = TableSchema::load(&text).unwrap_err().remove(0);
        format!("{}; {}", problem.message, problem.fix)
    };
    let without = told(r#"{"type":"string","x-storage":"bytes"}"#);
    assert!(without.starts_with("only UUIDs") && without.contains(r#""format": "uuid""#), "{without}");
    let unknown = told(r#"{"type":"string","format":"uuid","x-storage":"binary"}"#);
    assert!(unknown.starts_with("`binary` is no storage") && unknown.contains(r#""bytes""#), "{unknown}");
    assert!(told(r#"{"type":"string","x-storag":"bytes"}"#).ends_with("write `x-storage`"));
}

#[test]
fn uuids_are_text_unless_the_schema_says_bytes() {
    let kind = |property: &str| with_a(property).columns()[0].kind;
    assert_eq!(kind(r#"{"type":"string","format":"uuid"}"#), ColumnKind::Text);
    assert_eq!(kind(r#"{"type":"string","format":"uuid","x-storage":"text"}"#), ColumnKind::Text);
    assert_eq!(kind(UUID), ColumnKind::Uuid);
    assert_eq!(*with_a(UUID).arrow().field(0).data_type(), crate::uuids::COLUMN);
    assert_ne!(with_a(UUID).version(), with_a(r#"{"type":"string","format":"uuid"}"#).version());
}

#[test]
fn problems_name_their_line_and_a_fix() {
    let text = "{\n \"type\": \"object\",\n \"properties\": {\n  \"a\": {\"minlength\": 1},\n  \"b\": {\n   \"format\": \"uri\"}}\n}";
    let problems = TableSchema::load(text).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [4, 6]);
    assert_eq!(problems[0].fix, "write `minLength`");
    assert_eq!(TableSchema::load("{\n\"type\":\n}").unwrap_err()[0].line, 3);
}

#[test]
fn of_a_repeated_keyword_the_last_counts() {
    assert!(check(&with_a(r#"{"type":"string","type":"integer"}"#), r#"{"a":1}"#).is_ok());
}

#[test]
fn deep_schemas_are_refused_without_overflowing() {
    let deep = format!("{}{}", r#"{"items":"#.repeat(50_000), "}".repeat(50_000)).replace(":}", ":{}}");
    let text = format!(
        r#"{{"type":"object","properties":{{"a":{deep},"b":{{"const":{}{}}}}}}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let problems = TableSchema::load(&text).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn versions_name_the_text() {
    let version = |text: &str| load(text).version().to_owned();
    let plain = version(r#"{"type":"object"}"#);
    assert!(plain.starts_with("schema@") && plain.len() == "schema@".len() + 12);
    assert!(version(r#"{"type":"object","title":"t"}"#).starts_with("t@"));
    assert!(version(r#"{"type":"object","title":"t","$id":"i"}"#).starts_with("i@"));
    assert_ne!(version(r#"{"type":"object" }"#), plain);
}

#[test]
fn the_builtin_table_has_the_promised_columns() {
    let schema = TableSchema::builtin();
    assert_eq!(schema.version(), "events@1");
    let arrow = schema.arrow();
    let names: Vec<&str> = arrow.fields().iter().map(|field| field.name().as_str()).collect();
    let wanted = "message_id, type, event, user_id, anonymous_id, timestamp, sent_at, received_at, name, category, group_id, \
                  previous_id, properties, traits, context, integrations, extra, \
                  _stream, _shard, _sequence, _subsequence, _arrived_at";
    assert_eq!(names, wanted.split(", ").collect::<Vec<_>>());
    assert!(arrow.fields().iter().all(|field| field.is_nullable()));
    assert!(check(&schema, "{}").is_ok() && check(&schema, r#"{"properties":1}"#).is_err());
}
