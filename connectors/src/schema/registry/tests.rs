//! Versions are numbered, found again, refused with words, and never replaced.

use super::*;
use crate::parquet::testing::Memory;
use crate::schema::evolution::Class;

fn schema(text: &str) -> TableSchema {
    TableSchema::load(&format!(r#"{{"$id": "orders", "type": "object", "properties": {{{text}}}}}"#)).unwrap()
}

/// Registers a schema as a node does, at the number it gets.
async fn register(objects: &dyn Objects, schema: &TableSchema) -> Judged {
    let judged = read(objects, "orders").await.unwrap().judge(schema).unwrap();
    if let Judged::New { number, changes } = &judged {
        let entry = Entry::new("orders", (*number, changes.clone()), schema);
        assert_eq!(create(objects, &entry).await.unwrap(), Put::Created);
    }
    judged
}

fn number(judged: &Judged) -> String {
    match judged {
        Judged::Known(number) => format!("known {number}"),
        Judged::New { number, .. } => number.to_string(),
    }
}

#[tokio::test]
async fn versions_get_their_numbers_by_what_has_changed() {
    let objects = Memory::shared();
    let one = schema(r#""a": {"type": "integer"}"#);
    let two = schema(r#""a": {"type": "integer"}, "b": {"type": "string"}"#);
    let three = schema(r#""a": {"type": "number"}, "b": {"type": "string"}"#);
    for (schema, wanted) in [(&one, "1-0-0"), (&two, "1-0-1"), (&three, "1-1-0"), (&one, "known 1-0-0")] {
        assert_eq!(number(&register(objects.as_ref(), schema).await), wanted);
    }
    let lineage = read(objects.as_ref(), "orders").await.unwrap();
    assert_eq!(lineage.number(two.version()).unwrap().to_string(), "1-0-1", "segments call it by its name");
    assert_eq!(lineage.latest().unwrap().changes[0].class, Class::Revision);
    let columns = lineage.columns(None).unwrap().unwrap();
    let kinds: Vec<_> =
        columns.fields().iter().take(2).map(|f| (f.name().as_str(), f.data_type().to_string())).collect();
    assert_eq!(kinds, [("a", "Float64".to_owned()), ("b", "Utf8".to_owned())]);
    assert_eq!(tables(objects.as_ref()).await.unwrap(), [("orders".to_owned(), 3)].into());
}

#[tokio::test]
async fn what_breaks_is_refused_with_the_field_the_rule_the_version_and_the_way_out() {
    let objects = Memory::shared();
    register(objects.as_ref(), &schema(r#""a": {"type": "integer"}"#)).await;
    let lineage = read(objects.as_ref(), "orders").await.unwrap();
    let judged = lineage.judge(&schema(r#""a": {"type": "boolean"}"#)).unwrap();
    let refusals = judged.refusals(&lineage);
    let told = refusals[0].to_string();
    for part in [
        "/properties/a/type",
        "`a` held integers and holds booleans",
        "only becomes wider",
        "version 1-0-0",
        "version 2-0-0",
        "table = \"orders_2\"",
    ] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    assert_eq!(lineage.judge(&schema(r#""a": {"type": "number"}"#)).unwrap().refusals(&lineage), []);
}

#[tokio::test]
async fn a_table_that_succeeds_another_begins_with_the_next_model() {
    let objects = Memory::shared();
    let breaking = schema(r#""a": {"type": "boolean"}"#);
    let first =
        async |table: &str| number(&read(objects.as_ref(), table).await.unwrap().judge(&breaking).unwrap());
    assert_eq!(first("orders_2").await, "1-0-0", "there is none to succeed");
    register(objects.as_ref(), &schema(r#""a": {"type": "integer"}"#)).await;
    assert_eq!(first("orders_2").await, "2-0-0");
}

#[tokio::test]
async fn a_column_that_was_gone_does_not_come_back_as_another() {
    let objects = Memory::shared();
    for text in [r#""a": {"type": "string"}"#, r#""b": {"type": "string"}"#] {
        register(objects.as_ref(), &schema(text)).await;
    }
    let lineage = read(objects.as_ref(), "orders").await.unwrap();
    let judged = |text: &str| lineage.judge(&schema(text)).unwrap().refusals(&lineage).len();
    assert_eq!(judged(r#""b": {"type": "string"}, "a": {"type": "integer"}"#), 1);
    assert_eq!(judged(r#""b": {"type": "string"}, "a": {"type": "string"}"#), 0);
}

#[tokio::test]
async fn a_version_is_created_once_and_what_is_damaged_is_told() {
    let objects = Memory::shared();
    let (one, two) = (schema(r#""a": {"type": "integer"}"#), schema(r#""b": {"type": "integer"}"#));
    let entry = |schema: &TableSchema| Entry::new("orders", (Number::FIRST, Vec::new()), schema);
    assert_eq!(create(objects.as_ref(), &entry(&one)).await.unwrap(), Put::Created);
    assert_eq!(create(objects.as_ref(), &entry(&two)).await.unwrap(), Put::Exists);
    let lineage = read(objects.as_ref(), "orders").await.unwrap();
    assert_eq!((lineage.entries().len(), &lineage.latest().unwrap().version[..]), (1, one.version()));
    let body = serde_json::to_string(&entry(&one)).unwrap();
    let key = "schemas/orders/1-0-0.json";
    assert!(Entry::decode(key, body.as_bytes()).is_ok());
    for (key, body, word) in [
        (key, body.replace("integer", "number"), "hash"),
        ("schemas/orders/1-0-1.json", body.clone(), "another name"),
        (key, body[..20].to_owned(), "damaged"),
    ] {
        let told = Entry::decode(key, body.as_bytes()).unwrap_err().detail;
        assert!(told.contains(word) && told.contains(key), "{told}");
    }
}

#[test]
fn the_built_in_schema_is_known_by_its_name() {
    let builtin = TableSchema::builtin();
    let entry = Entry::new("events", (Number::FIRST, Vec::new()), &builtin);
    let lineage = Lineage::new("events", vec![entry]);
    assert_eq!(lineage.judge(&builtin).unwrap(), Judged::Known(Number::FIRST));
    assert_eq!(lineage.number("events@1"), Some(Number::FIRST));
}
