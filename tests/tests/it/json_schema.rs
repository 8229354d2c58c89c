//! The keywords of JSON Schema mean what the standard says (draft 2020-12): its own test suite,
//! <https://github.com/json-schema-org/JSON-Schema-Test-Suite>, which comes with the sources of the Python library `jsonschema`.
//!
//! Each of its schemas is asked of a property of an event. One with a keyword that is not supported must be refused when it is
//! loaded; all others must give each value the suite's verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use shardmill_connectors::Millis;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{Origin, Sequence};
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::standardise::Rows;
use shardmill_tests::harness::servers::install;

/// The sources that hold the suite.
const SOURCES: &str = "jsonschema==4.23.0";
/// Files of the suite about keywords that are supported, and how many of their groups are judged at least.
const SUPPORTED: [(&str, usize); 19] = [
    ("additionalProperties", 3),
    ("boolean_schema", 2),
    ("const", 14),
    ("enum", 9),
    ("exclusiveMaximum", 1),
    ("exclusiveMinimum", 1),
    ("date", 1),
    ("date-time", 1),
    ("email", 1),
    ("uuid", 1),
    ("items", 4),
    ("maxLength", 2),
    ("maximum", 2),
    ("minLength", 2),
    ("minimum", 2),
    ("pattern", 2),
    ("properties", 2),
    ("required", 4),
    ("type", 11),
];

/// Formats that are supported.
const FORMATS: [&str; 4] = ["date", "date-time", "email", "uuid"];

#[derive(Deserialize)]
struct Group<'a> {
    description: String,
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(borrow)]
    tests: Vec<Case<'a>>,
}

#[derive(Deserialize)]
struct Case<'a> {
    description: String,
    #[serde(borrow)]
    data: &'a RawValue,
    valid: bool,
}

/// A schema whose only property has this one; what is wrong with it.
fn load(schema: &str) -> Result<Arc<TableSchema>, Vec<String>> {
    // The suite's `$schema` stands at the root of each schema, which is a property here.
    let text = format!(r#"{{"type":"object","properties":{{"a":{schema}}}}}"#);
    let told = |problems: Vec<_>| problems.iter().map(|problem| format!("{problem:?}")).collect();
    TableSchema::load(&text).map(Arc::new).map_err(told)
}

fn takes(schema: &Arc<TableSchema>, value: &str) -> bool {
    let origin = Origin {
        stream: "s".into(),
        shard: "a".into(),
        sequence: Sequence::from(1),
        subsequence: 0,
        arrived_at: Millis(0),
    };
    let event = format!("{{\"a\":{value}}}");
    let event = Object::parse(event.as_bytes()).unwrap();
    Rows::new(schema.clone()).append(&event, &origin).is_ok()
}

/// What was judged in a file, and what differs.
#[derive(Default)]
struct Judged {
    groups: usize,
    cases: usize,
    refused: Vec<String>,
    wrong: Vec<String>,
}

fn judge(file: &Path) -> Judged {
    let text = std::fs::read_to_string(file).unwrap();
    let groups: Vec<Group<'_>> = serde_json::from_str(&text).unwrap();
    let mut judged = Judged::default();
    for group in &groups {
        let schema = match load(group.schema.get()) {
            Ok(schema) => schema,
            Err(problems) => {
                judged.refused.push(format!("{}: {}", group.description, problems.join("; ")));
                continue;
            }
        };
        judged.groups += 1;
        for case in &group.tests {
            judged.cases += 1;
            if takes(&schema, case.data.get()) != case.valid {
                judged.wrong.push(format!("{}: {}: {}", group.description, case.description, case.data));
            }
        }
    }
    judged
}

#[tokio::test]
async fn keywords_pass_the_standards_own_suite() {
    let sources = install::sources("json-schema-suite", SOURCES).await.unwrap();
    let suite = sources.join("json/tests/draft2020-12");
    let supported: BTreeMap<&str, usize> = SUPPORTED.into_iter().collect();
    let mut files: Vec<_> = std::fs::read_dir(&suite).unwrap().map(|entry| entry.unwrap().path()).collect();
    // There, formats are only remarks. Here they are rules, about which the suite has files of their own.
    files.retain(|file| file.is_file() && !file.ends_with("format.json"));
    files.extend(FORMATS.map(|format| suite.join(format!("optional/format/{format}.json"))));
    assert!(files.len() > 40, "{} files in {}", files.len(), suite.display());
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let judged = judge(file);
        let least = supported.get(name).copied().unwrap_or_default();
        assert!(
            judged.groups >= least,
            "{name}: only {} groups are judged: {:?}",
            judged.groups,
            judged.refused
        );
        let told =
            |why: &String| ["is not supported", "is not a dialect"].iter().any(|words| why.contains(words));
        let untold: Vec<&String> = judged.refused.iter().filter(|why| !told(why)).collect();
        assert!(untold.is_empty(), "{name}: refused for another reason: {untold:#?}");
        wrong.extend(judged.wrong.iter().map(|case| format!("{name}: {case}")));
        cases += judged.cases;
    }
    assert!(wrong.is_empty(), "{} of {cases} cases: {wrong:#?}", wrong.len());
    assert!(cases > 400, "only {cases} cases were judged");
}
