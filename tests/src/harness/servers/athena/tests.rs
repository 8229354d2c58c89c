//! What the server refuses, as Athena does.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::parquet::arrow::ArrowWriter;
use shardmill_connectors::Failure;
use shardmill_connectors::aws::athena::{AthenaCatalog, Options};
use shardmill_connectors::ports::{Catalog, Snapshot};

use super::Athena;
use super::catalog::Databases;
use super::files::{Files, FolderFiles, MemoryFiles};
use super::parse::parse;

const TABLE: &str = "CREATE EXTERNAL TABLE t (`a` string, b decimal(10,2), `_c` array<string>) \
                     PARTITIONED BY (`year` string, `hour` string) STORED AS PARQUET LOCATION 's3://b/lake//t/' \
                     TBLPROPERTIES ('classification' = 'parquet')";

/// Runs statements in order; the lines of the last, or what the first failure says.
fn run(statements: &[&str]) -> Result<Vec<String>, String> {
    let mut databases = Databases::default();
    let mut lines = Vec::new();
    for sql in ["CREATE DATABASE d", TABLE].iter().chain(statements) {
        lines = databases.apply("d", &parse(sql)?)?;
    }
    Ok(lines)
}

const ADD: &str = "ALTER TABLE t ADD PARTITION (year='2026', hour='07') LOCATION 's3://b/one/'";

#[test]
fn what_athena_refuses_is_refused() {
    let cases = [
        (vec!["CREATE DATABASE d"], "already exists"),
        (vec![TABLE], "already exists"),
        (vec!["ALTER TABLE nope ADD COLUMNS (x string)"], "Table not found"),
        (vec!["ALTER TABLE other.t ADD COLUMNS (x string)"], "Database does not exist"),
        (vec!["ALTER TABLE t ADD COLUMNS (a string)"], "Duplicate column name: a"),
        (vec!["ALTER TABLE t ADD COLUMNS (year string)"], "Duplicate column name: year"),
        (vec!["ALTER TABLE t ADD COLUMNS (x date)"], "date"),
        (vec!["ALTER TABLE t ADD COLUMNS (x varchar2)"], "mismatched input"),
        (vec![ADD, ADD], "Partition already exists"),
        (vec!["ALTER TABLE t ADD PARTITION (year='2026') LOCATION 's3://b/one/'"], "does not fit"),
        (
            vec!["ALTER TABLE t ADD PARTITION (year=2026, hour='07') LOCATION 's3://b/one/'"],
            "mismatched input",
        ),
        (vec!["ALTER TABLE t ADD PARTITION (year='2026', hour='07') LOCATION 's3://b/one'"], "slash"),
        (vec!["ALTER TABLE t ADD PARTITION (year='2026', hour='07') LOCATION 'https://b/one/'"], "s3://"),
        (vec!["ALTER TABLE t ADD PARTITION (year='2026', hour='07') LOCATION 's3://b/*/'"], "wildcard"),
        (
            vec!["ALTER TABLE t PARTITION (year='2026', hour='07') SET LOCATION 's3://b/one/'"],
            "Partition not found",
        ),
        (vec!["ALTER TABLE \"t\" ADD COLUMNS (x string)"], "mismatched input '\"'"),
        (vec!["ALTER TABLE `t ADD COLUMNS (x string)"], "mismatched input '`'"),
        (vec!["ALTER TABLE t ADD COLUMNS (_x string)"], "mismatched input"),
        (vec!["SHOW PARTITIONS t u"], "expecting <EOF>"),
        (vec!["DESCRIBE FORMATTED t PARTITION (year='2026', hour='07')"], "Partition not found"),
        (vec!["DROP TABLE t", "SHOW PARTITIONS t"], "Table not found"),
        (
            vec![
                "CREATE EXTERNAL TABLE u (a string) ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' LOCATION 's3://b/u/'",
            ],
            "Cannot find class",
        ),
    ];
    for (statements, wanted) in cases {
        let refused = run(&statements).unwrap_err();
        assert!(refused.contains(wanted), "{statements:?}: {refused}");
    }
}

#[test]
fn what_athena_takes_is_taken() {
    let again = ADD.replace("ADD", "ADD IF NOT EXISTS").replace("one", "two");
    let lines = run(&[ADD, &again, "SHOW PARTITIONS t"]).unwrap();
    assert_eq!(lines, ["year=2026/hour=07"]);
    let describe = "DESCRIBE FORMATTED d.`t` PARTITION (hour='07', year='2026')";
    let located = |statements: &[&str]| {
        let lines = run(statements).unwrap();
        let line = lines.iter().find(|line| line.starts_with("Location:")).unwrap().clone();
        line.split('\t').nth(1).unwrap().trim().to_owned()
    };
    assert_eq!(located(&[ADD, &again, describe]), "s3://b/one/", "IF NOT EXISTS moves nothing");
    let switch = r"ALTER TABLE t PARTITION (year='2026', hour='07') SET LOCATION 's3://b//it\'s/'";
    assert_eq!(located(&[ADD, switch, describe]), "s3://b/it's/");
    let own = "ALTER TABLE t ADD PARTITION (year='2026', hour='07')";
    assert_eq!(located(&[own, describe]), "s3://b/lake/t/year=2026/hour=07/");
    assert_eq!(located(&["DESCRIBE FORMATTED t"]), "s3://b/lake/t/");
    let two = "ALTER TABLE t ADD IF NOT EXISTS PARTITION (year='1', hour='1') LOCATION 's3://b/1/' PARTITION (year='2', hour='2')";
    assert_eq!(run(&[two, "SHOW PARTITIONS t"]).unwrap().len(), 2);
    let dropped = "ALTER TABLE t DROP IF EXISTS PARTITION (year='2026', hour='07')";
    assert!(run(&[ADD, dropped, dropped, "SHOW PARTITIONS t;"]).unwrap().is_empty());
    assert_eq!(
        run(&[
            "CREATE EXTERNAL TABLE IF NOT EXISTS t (z int) STORED AS PARQUET LOCATION 's3://b/z/'",
            "SHOW TABLES"
        ])
        .unwrap(),
        ["t"]
    );
}

#[tokio::test]
async fn files_of_a_folder_have_urls() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("t/g1")).unwrap();
    std::fs::write(folder.path().join("t/g1/part"), "rows").unwrap();
    let files = FolderFiles { url: "s3://b/lake/".into(), root: folder.path().into() };
    assert_eq!(files.list("s3://b/lake/t/g1/").await.unwrap(), ["s3://b/lake/t/g1/part"]);
    assert!(files.list("s3://b/lake/t/g2/").await.unwrap().is_empty());
    assert_eq!(files.get("s3://b/lake/t/g1/part").await.unwrap(), "rows");
    assert!(files.get("s3://b/lake/t/g1/none").await.is_err());
}

fn numbers(range: Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(range)) as ArrayRef)]).unwrap()
}

fn file(range: Range<i64>) -> Bytes {
    let (batch, mut out) = (numbers(range), Vec::new());
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out.into()
}

async fn count(catalog: &AthenaCatalog) -> Result<i64, Failure> {
    let answer = catalog.query("SELECT count(*) AS n FROM t_live", &Snapshot::default()).await?;
    let column = answer.batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
    Ok(column.value(0))
}

#[tokio::test]
async fn a_table_of_manifests_has_the_rows_of_the_files_they_name_and_no_others() {
    let files = Arc::new(MemoryFiles::default());
    let server = Athena::start(files.clone()).await.unwrap();
    let options = Options { look: Duration::from_millis(5), ..Options::new("acme", "s3://b/lake") };
    let catalog = AthenaCatalog::new(&server.session(), options);
    let hour = "2026-11-21T07".parse().unwrap();
    catalog.ensure_manifests("t_live", "live/t", &numbers(0..1).schema()).await.unwrap();
    catalog.set_location("t_live", hour, "live/t/seven").await.unwrap();
    assert_eq!(catalog.location("t_live", hour).await.unwrap().as_deref(), Some("live/t/seven"));
    assert_eq!(count(&catalog).await.unwrap(), 0, "nothing is there yet");
    for (name, range) in [("g1/part", 0..3), ("s1", 3..5), ("s2", 5..6)] {
        files.put(&format!("s3://b/lake/{name}"), file(range));
    }
    for (named, rows) in [(&["g1/part", "s1"][..], 5), (&["g1/part", "s1", "s2"], 6), (&["g1/part"], 3)] {
        let text: String = named.iter().map(|name| format!("s3://b/lake/{name}\n")).collect();
        files.put("s3://b/lake/live/t/seven/manifest", text.into());
        assert_eq!(count(&catalog).await.unwrap(), rows, "{named:?}");
    }
    files.put("s3://b/lake/live/t/seven/manifest", "s3://b/lake/gone\n".into());
    assert!(count(&catalog).await.unwrap_err().detail.contains("HIVE_CANNOT_OPEN_SPLIT"));
}
