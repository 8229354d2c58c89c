//! Queries over a small lake on disk.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::query;
use crate::failure::{Class, Failure};
use crate::hour::Hour;
use crate::ports::{LakeFile, Snapshot};
use crate::uuids;

struct Lake {
    root: TempDir,
    snapshot: Snapshot,
}

fn write(root: &Path, hour: &str, columns: Vec<(&str, ArrayRef)>) -> LakeFile {
    let hour: Hour = hour.parse().unwrap();
    let key = format!("tables/events/{}/g1-1-x/part-0000.parquet", hour.path());
    let path = root.join(&key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    LakeFile { hour, key, bytes: path.metadata().unwrap().len() }
}

/// UUIDs each of whose bytes is the same.
fn uuids_of(values: &[u8]) -> ArrayRef {
    let values = values.iter().map(|value| [*value; 16]);
    Arc::new(FixedSizeBinaryArray::try_from_iter(values).unwrap())
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Three hours: old files have a narrow `price` and no `properties`.
fn lake() -> Lake {
    let root = TempDir::new().unwrap();
    let old: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let files = vec![
        write(root.path(), "2026-11-20T07", vec![("userId", text(&["a", "b"])), ("price", old)]),
        write(
            root.path(),
            "2026-11-21T07",
            vec![("userId", text(&["a"])), ("price", Arc::new(Int64Array::from(vec![3])))],
        ),
        write(
            root.path(),
            "2026-11-21T08",
            vec![
                ("userId", text(&["c"])),
                ("price", Arc::new(Float64Array::from(vec![4.5]))),
                ("properties", text(&[r#"{"a":{"b":[10,"x"]},"flag":true,"none":null}"#])),
            ],
        ),
    ];
    let schema = Schema::new(vec![
        Field::new("userId", DataType::Utf8, false),
        Field::new("price", DataType::Float64, false),
        Field::new("properties", DataType::Utf8, true),
        Field::new("Count", DataType::Utf8, true),
    ]);
    let mut snapshot = Snapshot::default();
    snapshot.tables.insert("events".to_owned(), (Arc::new(schema), files));
    snapshot.tables.insert(
        "Empty".to_owned(),
        (Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)])), vec![]),
    );
    Lake { root, snapshot }
}

impl Lake {
    async fn run(&self, sql: &str) -> Result<Vec<String>, Failure> {
        let result = query(self.root.path(), sql, &self.snapshot).await?;
        let mut lines = Vec::new();
        for batch in &result.batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
                lines.push(cells.collect::<Vec<_>>().join("|"));
            }
        }
        Ok(lines)
    }

    async fn lines(&self, sql: &str) -> Vec<String> {
        self.run(sql).await.unwrap_or_else(|failure| panic!("{sql}: {failure}"))
    }

    async fn refused(&self, sql: &str) -> String {
        let failure = self.run(sql).await.expect_err(sql);
        assert_eq!(failure.class, Class::Rejected, "{sql}");
        assert!(!failure.detail.contains('\n'), "{failure}");
        failure.detail
    }
}

#[tokio::test]
async fn rows_of_all_files_with_widened_and_missing_columns() {
    let lake = lake();
    let rows = lake.lines("SELECT userId, price, properties IS NULL, hour FROM events ORDER BY price").await;
    assert_eq!(rows, ["a|1.0|true|07", "b|2.0|true|07", "a|3.0|true|07", "c|4.5|false|08"]);
    assert_eq!(lake.lines("SELECT sum(price) FROM events WHERE price > 1.5").await, ["9.5"]);
    assert_eq!(lake.lines("SELECT count(*) FROM empty").await, ["0"]);
    assert_eq!(lake.lines("SELECT * FROM events LIMIT 2").await.len(), 2);
    let by_user =
        "WITH t AS (SELECT userid u, count(*) n FROM events GROUP BY userid) SELECT u, n FROM t ORDER BY u";
    assert_eq!(lake.lines(by_user).await, ["a|2", "b|1", "c|1"]);
}

#[tokio::test]
async fn files_are_chosen_by_partition_before_they_are_opened() {
    let lake = lake();
    for (filter, chosen) in [
        ("true", 3),
        ("day = '21'", 2),
        ("hour IN ('07','08') AND day='21'", 2),
        ("hour = '07' AND (day = '21' OR month = '01')", 1),
        ("concat(year,'-',month,'-',day) = '2026-11-20'", 1),
        ("hour >= '08' AND price > 0", 1),
        ("cast(hour AS int) = 8", 1),
        ("year = '2025'", 0),
        ("userId = hour", 3),
    ] {
        let plan = lake.lines(&format!("EXPLAIN SELECT * FROM events WHERE {filter}")).await;
        let expected = format!("lake_files|events: {chosen} of 3 files");
        assert_eq!(plan.last(), Some(&expected), "{filter}: {plan:#?}");
    }
    // A file that is not chosen is not opened: this one cannot be read.
    let unread = &lake.snapshot.tables["events"].1[0];
    std::fs::write(lake.root.path().join(&unread.key), "damaged").unwrap();
    assert_eq!(lake.lines("SELECT count(*) FROM events WHERE day = '21'").await, ["2"]);
    assert!(lake.run("SELECT count(userId) FROM events").await.is_err());
}

#[tokio::test]
async fn identifiers_match_in_any_case_unless_quoted() {
    let lake = lake();
    for sql in [
        "SELECT USERID FROM Events WHERE UserId = 'c'",
        "SELECT e.userid FROM EVENTS AS E WHERE e.Price > 4 ORDER BY e.PRICE",
        "SELECT \"userId\" AS Who FROM events GROUP BY WHO, userid HAVING who = 'c'",
        "SELECT min(x.USERID) FROM (SELECT userid FROM events WHERE HOUR = '08') X",
        "SELECT a.userId FROM events a JOIN events b USING (USERID) WHERE a.hour = '08'",
    ] {
        assert_eq!(lake.lines(sql).await, ["c"], "{sql}");
    }
    assert_eq!(lake.lines("SELECT COUNT(*), Count(COUNT) FROM events").await, ["4|0"]);
    assert_eq!(lake.lines("SELECT COUNT(*) AS Total FROM events ORDER BY TOTAL").await, ["4"]);
    assert!(lake.refused("SELECT \"USERID\" FROM events").await.contains("USERID"));
    let header = query(lake.root.path(), "SELECT USERID FROM events", &lake.snapshot).await.unwrap().schema;
    assert_eq!(header.field(0).name(), "userId");
}

#[tokio::test]
async fn only_queries_of_the_lake_are_answered() {
    let lake = lake();
    for sql in [
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE t AS SELECT 1",
        "COPY events TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv' STORED AS CSV",
        "INSERT INTO events SELECT * FROM events",
        "EXPLAIN INSERT INTO events SELECT * FROM events",
        "SET datafusion.execution.batch_size = 1",
        "DROP TABLE events",
    ] {
        assert!(lake.refused(sql).await.contains("only queries"), "{sql}");
    }
    assert!(lake.refused("SELECT 1; SELECT 2").await.contains("one statement"));
    assert!(lake.refused("").await.contains("no statement"));
    assert!(lake.refused("SELEC 1").await.starts_with("SQL: "));
    for sql in ["SELECT * FROM '/etc/passwd'", "SELECT * FROM \"/etc/passwd\"", "SELECT * FROM nothing"] {
        assert!(lake.refused(sql).await.contains("the tables are: Empty, events"), "{sql}");
    }
    assert!(lake.refused("SELECT nothing FROM events").await.contains("nothing"));
}

#[tokio::test]
async fn the_lake_describes_itself() {
    let lake = lake();
    assert!(lake.lines("SHOW TABLES").await.iter().any(|line| line.contains("events")));
    let columns = lake.lines("DESCRIBE events").await;
    assert!(
        columns.iter().any(|line| line.starts_with("userId|"))
            && columns.iter().any(|l| l.starts_with("hour|"))
    );
    assert!(!lake.lines("SHOW COLUMNS FROM EVENTS").await.is_empty());
    let names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(lake.lines(names).await, ["Empty", "events"]);
}

#[tokio::test]
async fn json_text_is_read_by_path() {
    let lake = lake();
    let row = lake
        .lines(
            "SELECT json_extract_scalar(properties, '$.a.b[1]'), JSON_EXTRACT_SCALAR(properties, '$.flag'), \
             json_extract_scalar(properties, '$.a') IS NULL, json_extract_scalar(properties, '$.none') IS NULL, \
             json_extract(properties, '$[''a''].b'), cast(json_extract_scalar(properties, '$.a.b[0]') AS bigint) + 1 \
             FROM events WHERE properties IS NOT NULL",
        )
        .await;
    assert_eq!(row, ["x|true|true|true|[10,\"x\"]|11"]);
    assert!(
        lake.refused("SELECT json_extract(properties, 'a') FROM events WHERE day='21'")
            .await
            .contains("JSON path")
    );
}

#[tokio::test]
async fn a_file_that_is_gone_is_worth_another_attempt() {
    let lake = lake();
    std::fs::remove_file(lake.root.path().join(&lake.snapshot.tables["events"].1[1].key)).unwrap();
    assert_eq!(lake.run("SELECT * FROM events").await.unwrap_err().class, Class::Transient);
}

/// A lake of one file, whose only column has Bloom filters; where the first of them lies in it.
fn filtered(column: ArrayRef) -> (Lake, std::ops::Range<usize>) {
    let Lake { root, mut snapshot } = lake();
    let schema = Schema::new(vec![Field::new("id", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_from_iter([("id", column)]).unwrap();
    let file = snapshot.tables["events"].1[0].clone();
    let path = root.path().join(&file.key);
    let properties = WriterProperties::builder().set_bloom_filter_enabled(true).build();
    let written = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(written, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let footer = writer.close().unwrap();
    let file = LakeFile { bytes: path.metadata().unwrap().len(), ..file };
    snapshot.tables.insert("events".to_owned(), (Arc::new(schema), vec![file]));
    let filter = footer.row_group(0).column(0);
    let (start, length) = (filter.bloom_filter_offset().unwrap(), filter.bloom_filter_length().unwrap());
    let (start, length) = (start as usize, length as usize);
    // Without its header.
    (Lake { root, snapshot }, start + length % 32..start + length)
}

#[tokio::test]
async fn a_lookup_leaves_out_row_groups_whose_bloom_filter_does_not_have_the_value() {
    let (lake, filter) = filtered(text(&["a", "m", "z"]));
    let sql = "SELECT id FROM events WHERE id = 'm'";
    assert_eq!(lake.lines(sql).await, ["m"]);

    // Only who looks at the filter believes one that says there is nothing.
    let path = lake.root.path().join(&lake.snapshot.tables["events"].1[0].key);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[filter].fill(0);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(lake.lines(sql).await, [""; 0]);
}

#[tokio::test]
async fn uuids_kept_as_bytes_are_values_like_others() {
    let (lake, _) = filtered(uuids_of(&[9, 1, 5, 1]));
    let ids = async |sql: &str| {
        let result = query(lake.root.path(), sql, &lake.snapshot).await.unwrap();
        assert_eq!(*result.schema.field(0).data_type(), uuids::COLUMN);
        let firsts = result.batches.iter().flat_map(|batch| {
            let column: &FixedSizeBinaryArray = batch.column(0).as_any().downcast_ref().unwrap();
            column.iter().map(|id| id.unwrap()[0]).collect::<Vec<_>>()
        });
        firsts.collect::<Vec<u8>>()
    };
    assert_eq!(ids("SELECT id FROM events ORDER BY id").await, [1, 1, 5, 9]);
    assert_eq!(ids("SELECT id FROM events GROUP BY id ORDER BY id DESC").await, [9, 5, 1]);
    let (one, nine) = ("01".repeat(16), "09".repeat(16));
    let five = format!("SELECT id FROM events WHERE id = X'{}'", "05".repeat(16));
    assert_eq!(ids(&five).await, [5]);
    let two = format!("SELECT DISTINCT id FROM events WHERE id IN (X'{one}', X'{nine}') ORDER BY id");
    assert_eq!(ids(&two).await, [1, 9]);
    let more = format!("SELECT id FROM events WHERE id > X'{one}' ORDER BY id");
    assert_eq!(ids(&more).await, [5, 9]);
    assert_eq!(lake.lines("SELECT count(DISTINCT id), count(*) FROM events").await, ["3|4"]);
    for wrong in [
        "SELECT * FROM events WHERE id = '01010101-0101-0101-0101-010101010101'",
        "SELECT CAST(id AS varchar) FROM events",
    ] {
        let told = lake.refused(wrong).await;
        assert!(told.contains("compared with X'…'"), "{told}");
    }
}
