//! Bloom filters, end to end: the files of a table say of each row group which ids are not in it, to any reader of Parquet.

use std::path::Path;

use parquet::bloom_filter::Sbbf;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use serde_json::{Value, json};
use shardmill_tests::harness::client;

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact, event};

/// The filters of a column in the files of the table.
async fn filters(site: &Site, column: &str) -> Vec<Option<Sbbf>> {
    let files = site.cli().run(&["lake", "files", "--json"]).await.unwrap().json().unwrap();
    let paths = files.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    paths.flat_map(|path| read(path.trim_start_matches("file://").as_ref(), column)).collect()
}

fn read(path: &Path, column: &str) -> Vec<Option<Sbbf>> {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let file = SerializedFileReader::new_with_options(std::fs::File::open(path).unwrap(), options).unwrap();
    let columns = file.metadata().file_metadata().schema_descr().columns();
    let place = columns.iter().position(|one| one.name() == column).unwrap();
    let groups = 0..file.metadata().num_row_groups();
    groups.map(|at| file.get_row_group(at).unwrap().get_column_bloom_filter(place).cloned()).collect()
}

fn events(ids: std::ops::Range<usize>) -> Vec<Value> {
    ids.map(|n| event(&format!("m{n:03}"), ago(3))).collect()
}

#[tokio::test]
async fn files_say_which_ids_are_not_in_them_generation_after_generation() {
    let site = Site::new(&format!("{CONFIG}\n[tables.events]\nbloom = [\"user_id\", \"message_id\"]\n"));
    let (node, cli) = (site.start().await, site.cli());
    for (round, ids) in [0..60, 60..100].into_iter().enumerate() {
        let due = ids.end as u64;
        accept(&node, &events(ids)).await;
        node.drained(due, PATIENCE).await.unwrap();
        compact(&node).await;
        assert_eq!(cli.count("SELECT count(*) AS n FROM events").await.unwrap(), due);
        let filters = filters(&site, "user_id").await;
        assert!(!filters.is_empty() && filters.iter().all(Option::is_some), "round {round}");
        let found = |value: &str| filters.iter().flatten().any(|filter| filter.check(value));
        let users = (0..due).map(|n| format!("user of m{n:03}"));
        assert!(users.into_iter().all(|user| found(&user)));
        let wrong = (0..100).filter(|n| found(&format!("nobody {n}"))).count();
        assert!(wrong < 20, "{wrong} of 100 who never came");
    }
    let of = |user: &str| format!("SELECT count(*) AS n FROM events WHERE user_id = '{user}'");
    assert_eq!(cli.count(&of("user of m007")).await.unwrap(), 1);
    assert_eq!(cli.count(&of("user of m777")).await.unwrap(), 0);
    assert!(filters(&site, "message_id").await.iter().all(Option::is_some));
    assert!(filters(&site, "event").await.iter().all(Option::is_none), "nobody asked for one");
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test]
async fn a_column_that_cannot_have_a_filter_is_told_by_check() {
    let site = Site::new("");
    let text = "[streams.web]\n[tables.web]\nbloom = [\"user_ids\"]\n";
    let file = site.file("c.toml", text).display().to_string();
    let told = async || {
        let done = client::run(&["check", "-c", &file, "--json"]).await.unwrap();
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    let found = told().await;
    let problem = (&found[0]["key"], &found[0]["line"], &found[0]["fix"]);
    assert_eq!(
        problem,
        (&json!("tables.web.bloom"), &json!(3), &json!("did you mean `user_id`?")),
        "{found}"
    );
    site.file("c.toml", &text.replace("user_ids", "timestamp"));
    assert!(told().await[0]["message"].as_str().unwrap().contains("holds times"));
    site.file("c.toml", &text.replace("user_ids", "user_id"));
    assert_eq!(told().await, json!([]));
}
