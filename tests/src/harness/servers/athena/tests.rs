//! What the server refuses, as Athena does.

use super::catalog::Databases;
use super::files::{Files, FolderFiles};
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
