//! UUIDs as 16 bytes where the schema says so: sent as text, shown as text, and bytes in every file between.

use std::path::Path;

use parquet::basic::{LogicalType, Type};
use parquet::bloom_filter::Sbbf;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use serde_json::{Value, json};
use shardmill_connectors::{Millis, uuids};
use shardmill_tests::harness::client::run;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact};

const SCHEMA: &str = r#"{
  "$id": "orders",
  "type": "object",
  "properties": {
    "messageId": { "type": "string", "format": "uuid", "x-storage": "bytes", "x-column": "message_id" },
    "timestamp": { "type": "string", "format": "date-time" },
    "basket": { "type": ["string", "null"], "format": "uuid" }
  },
  "required": ["messageId"]
}
"#;

/// A site that keeps ids as bytes, and a configuration that says where its data is.
fn site() -> (Site, String) {
    let stream = "[streams.events]\nschema = \"orders.json\"\ntable = \"orders\"\n";
    let config = CONFIG.replace("[streams.events]\n", stream);
    let config = format!("{config}dedupe = \"message_id\"\n[tables.orders]\nbloom = [\"message_id\"]\n");
    let site = Site::new(&config);
    site.file("orders.json", SCHEMA);
    let whole = format!("data_dir = {:?}\n{config}", site.setup.data_dir);
    let file = site.file("whole.toml", &whole).display().to_string();
    (site, file)
}

fn id(of: usize) -> String {
    format!("{of:08x}-aa98-41ea-b4aa-73b441d16380")
}

fn order(id: &str, at: Millis) -> Value {
    json!({"messageId": id, "timestamp": at.to_string(), "basket": uuids::parse(id).map(|_| id.to_lowercase())})
}

/// What a file calls the column, and the filters of its row groups.
fn read(path: &Path) -> (Type, Option<LogicalType>, Vec<Option<Sbbf>>) {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let file = SerializedFileReader::new_with_options(std::fs::File::open(path).unwrap(), options).unwrap();
    let columns = file.metadata().file_metadata().schema_descr().columns();
    let place = columns.iter().position(|one| one.name() == "message_id").unwrap();
    let column = &columns[place];
    let groups = 0..file.metadata().num_row_groups();
    let filters =
        groups.map(|at| file.get_row_group(at).unwrap().get_column_bloom_filter(place).cloned()).collect();
    (column.physical_type(), column.logical_type_ref().cloned(), filters)
}

/// Every file of the table keeps these ids as bytes.
async fn files_keep(site: &Site, ids: &[String]) {
    let files = site.cli().run(&["lake", "files", "--json"]).await.unwrap().json().unwrap();
    let paths: Vec<&str> =
        files.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert!(!paths.is_empty());
    let mut found = vec![false; ids.len()];
    for path in paths {
        let (physical, logical, filters) = read(path.trim_start_matches("file://").as_ref());
        assert_eq!((physical, logical), (Type::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)), "{path}");
        for filter in filters.iter().map(|filter| filter.as_ref().unwrap()) {
            let here = |id: &String| filter.check(&uuids::parse(id).unwrap().to_vec());
            found.iter_mut().zip(ids).for_each(|(found, id)| *found |= here(id));
        }
    }
    assert!(found.iter().all(|found| *found), "a filter does not find what is there");
}

#[tokio::test]
async fn ids_are_sent_and_shown_as_text_and_kept_as_bytes() {
    let (site, _) = site();
    let (node, cli, home) = (site.start().await, site.cli(), ago(3));
    let ids: Vec<String> = (0..20).map(id).collect();
    accept(&node, &ids.iter().map(|id| order(id, home)).collect::<Vec<_>>()).await;
    // One again in capitals, and two that are none.
    let odd = [order(&ids[7].to_uppercase(), home), order("7", home), order(&ids[7].replace('-', ""), home)];
    accept(&node, &odd).await;
    node.drained(23, PATIENCE).await.unwrap();
    compact(&node).await;
    let all = "SELECT message_id, basket FROM orders ORDER BY message_id";
    let shown: Vec<Value> = ids.iter().map(|id| json!({"message_id": id, "basket": id})).collect();
    assert_eq!(cli.query(all).await.unwrap(), shown, "in either spelling it is one id");
    let csv = cli.run(&["query", all, "--format", "csv"]).await.unwrap().stdout;
    assert!(csv.contains(&format!("{0},{0}\n", ids[3])), "{csv}");
    files_keep(&site, &ids).await;

    let letters = cli.run(&["dlq", "list", "--group-by", "field", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(letters, json!([{"field": "/messageId", "count": 2}]));
    let of = |digits: &str| format!("SELECT count(*) AS n FROM orders WHERE message_id = X'{digits}'");
    assert_eq!(cli.count(&of(&ids[7].replace('-', ""))).await.unwrap(), 1);
    assert_eq!(cli.count(&of(&id(77).replace('-', ""))).await.unwrap(), 0);
    let text = format!("SELECT * FROM orders WHERE message_id = '{}'", ids[7]);
    let told = cli.run(&["query", &text]).await.unwrap();
    assert!(told.code != 0 && told.stderr.contains("compared with X'…'"), "{told:?}");

    // The next generation has rows of two generations, and drops what is there already.
    let more: Vec<String> = (15..30).map(id).collect();
    accept(&node, &more.iter().map(|id| order(id, home)).collect::<Vec<_>>()).await;
    node.drained(38, PATIENCE).await.unwrap();
    compact(&node).await;
    assert_eq!(cli.count("SELECT count(DISTINCT message_id) AS n FROM orders").await.unwrap(), 30);
    assert_eq!(cli.count("SELECT count(*) AS n FROM orders").await.unwrap(), 30);
    files_keep(&site, &more).await;
    node.stop().await.unwrap();
    assert_eq!(cli.verify().await.unwrap()["duplicates"], 6);
}

#[tokio::test]
async fn a_column_stays_bytes_or_text_and_the_way_out_is_told() {
    let (site, config) = site();
    site.start().await.stop().await.unwrap();
    let text = SCHEMA.replace(r#""x-storage": "bytes", "#, "");
    site.file("orders.json", &text);
    let diff = run(&["schema", "diff", "-c", &config]).await.unwrap();
    let told = format!("{}{}", diff.stdout, diff.stderr);
    assert_eq!(diff.code, 1, "{told}");
    assert!(told.contains("model") && told.contains("/properties/messageId/x-storage"), "{told}");
    let check = run(&["check", "-c", &config]).await.unwrap();
    let told = format!("{}{}", check.stdout, check.stderr);
    assert_eq!(check.code, 2, "{told}");
    for word in ["`message_id` held UUIDs as bytes and holds strings now", "x-column", "version 2-0-0"] {
        assert!(told.contains(word), "`{word}` is not in: {told}");
    }

    // Another column of the same table may keep bytes.
    let beside = r#""basket": { "type": ["string", "null"], "format": "uuid", "x-storage": "bytes", "x-column": "basket_id" }"#;
    let other = SCHEMA.replace(r#""basket": { "type": ["string", "null"], "format": "uuid" }"#, beside);
    assert_ne!(other, SCHEMA);
    site.file("orders.json", &other);
    assert_eq!(run(&["check", "-c", &config]).await.unwrap().code, 0);

    site.file("orders.json", &SCHEMA.replace("\"bytes\"", "\"binary\""));
    let check = run(&["check", "-c", &config]).await.unwrap();
    let told = format!("{}{}", check.stdout, check.stderr);
    assert!(check.code != 0 && told.contains("`binary` is no storage"), "{told}");
}
