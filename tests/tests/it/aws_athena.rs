//! The Athena catalog against a server that runs our DDL, and its calls against moto.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use datafusion::parquet::arrow::ArrowWriter;
use serde_json::json;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::athena::{AthenaCatalog, Options};
use shardmill_connectors::failure::Class;
use shardmill_connectors::ports::{Catalog, Snapshot};
use shardmill_connectors::{Failure, Hour};
use shardmill_tests::conformance;
use shardmill_tests::harness::servers::athena::{Athena, MemoryFiles, S3Files};
use shardmill_tests::harness::servers::{Ministack, Moto};

use crate::support::PATIENCE;

const LAKE: &str = "s3://acme-lake/events";

fn options(database: &str) -> Options {
    Options { look: Duration::from_millis(5), ..Options::new(database, LAKE) }
}

/// The server, the files it reads, and a catalog on it.
async fn site() -> (Athena, Arc<MemoryFiles>, AthenaCatalog) {
    let files = Arc::new(MemoryFiles::default());
    let server = Athena::start(files.clone()).await.unwrap();
    let catalog = AthenaCatalog::new(&server.session(), options("acme"));
    (server, files, catalog)
}

fn hour(text: &str) -> Hour {
    text.parse().unwrap()
}

fn seven() -> Hour {
    hour("2026-11-21T07")
}

fn columns(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

/// Statements that took effect and hold this text.
fn done(server: &Athena, part: &str) -> usize {
    server.statements().iter().filter(|sql| sql.contains(part)).count()
}

fn failed<T: std::fmt::Debug>(outcome: Result<T, Failure>, class: Class, told: &str) {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.class, class, "{failure}");
    assert!(failure.detail.contains(told), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn athena_catalog() {
    let server = Athena::start(Arc::new(MemoryFiles::default())).await.unwrap();
    let session = server.session();
    let next = AtomicUsize::new(0);
    let database = || options(&format!("acme_{}", next.fetch_add(1, Ordering::Relaxed)));
    let open =
        |options: &Options| Arc::new(AthenaCatalog::new(&session, options.clone())) as Arc<dyn Catalog>;
    conformance::catalog::catalog(async || open(&database())).await;
    let both = async || {
        let options = database();
        [open(&options), open(&options)]
    };
    conformance::catalog::catalog_shared(both).await;
}

#[tokio::test]
async fn a_start_without_a_reply_is_made_once_and_a_statement_issued_later_runs_again() {
    let (server, _, catalog) = site().await;
    catalog.ensure_table("t", &columns(&["a"])).await.unwrap();
    server.lose_reply("SET LOCATION");
    failed(catalog.set_location("t", seven(), "g1").await, Class::Transient, "SET LOCATION");
    catalog.set_location("t", seven(), "g1").await.unwrap();
    assert_eq!(done(&server, "SET LOCATION"), 1, "the start was made and its reply lost: it ran once");
    catalog.set_location("t", seven(), "g2").await.unwrap();
    catalog.set_location("t", seven(), "g1").await.unwrap();
    assert_eq!(done(&server, "SET LOCATION"), 3, "an old answer is no answer to a new statement");
    assert_eq!(catalog.location("t", seven()).await.unwrap().as_deref(), Some("g1"));
}

#[tokio::test]
async fn what_was_given_up_may_land_late_and_is_seen() {
    let (server, _, other) = site().await;
    let hasty = Options { ddl_time: Duration::from_secs(2), ..options("acme") };
    let hasty = AthenaCatalog::new(&server.session(), hasty);
    other.ensure_table("t", &columns(&["a"])).await.unwrap();
    other.set_location("t", seven(), "g0").await.unwrap();
    server.set_late_stops(true);
    server.hold("SET LOCATION 's3://acme-lake/events/g1/'");
    failed(hasty.set_location("t", seven(), "g1").await, Class::Transient, "was stopped");
    other.set_location("t", seven(), "g2").await.unwrap();
    assert_eq!(other.location("t", seven()).await.unwrap().as_deref(), Some("g2"));
    server.release();
    let landed = async {
        while done(&server, "/g1/'") < 1
            || other.location("t", seven()).await.unwrap().as_deref() == Some("g2")
        {}
    };
    tokio::time::timeout(PATIENCE, landed).await.unwrap();
    assert_eq!(other.location("t", seven()).await.unwrap().as_deref(), Some("g1"), "the zombie has landed");
    other.set_location("t", seven(), "g2").await.unwrap();
    assert_eq!(
        other.location("t", seven()).await.unwrap().as_deref(),
        Some("g2"),
        "issued again, it is mended"
    );
}

#[tokio::test]
async fn what_was_stopped_in_the_queue_does_not_land() {
    let (server, _, catalog) = site().await;
    let hasty = Options { query_time: Duration::from_millis(50), ..options("acme") };
    let hasty = AthenaCatalog::new(&server.session(), hasty);
    server.hold("SELECT");
    failed(hasty.query("SELECT 1", &Snapshot::default()).await, Class::Transient, "was stopped");
    assert_eq!(server.calls()["StopQueryExecution"], 1);
    server.release();
    catalog.query("SELECT 2 AS n", &Snapshot::default()).await.unwrap();
    assert_eq!((done(&server, "SELECT 1"), done(&server, "SELECT 2")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_ddl_stay_below_the_quota() {
    let (server, _, _) = site().await;
    let few = Options { ddl_at_once: 3, ..options("acme") };
    let catalog = Arc::new(AthenaCatalog::new(&server.session(), few));
    server.set_ddl_cap(Some(0));
    failed(catalog.ensure_table("t", &columns(&["a"])).await, Class::Throttled, "TooManyRequestsException");
    server.set_ddl_cap(Some(3));
    catalog.ensure_table("t", &columns(&["a"])).await.unwrap();
    let tasks: Vec<_> = (0..24)
        .map(|i| {
            let catalog = catalog.clone();
            tokio::spawn(
                async move { catalog.set_location("t", hour(&format!("2026-11-21T{i:02}")), "g1").await },
            )
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(catalog.partitions("t").await.unwrap().len(), 24);
}

#[tokio::test]
async fn many_partitions_are_pointed_with_few_statements() {
    let (server, _, catalog) = site().await;
    catalog.ensure_table("t", &columns(&["a"])).await.unwrap();
    let place = |i: i64, folder: &str| {
        let hour = Hour::of(shardmill_connectors::Millis(i * 3_600_000));
        (hour, format!("tables/t/{}/{folder}", hour.path()))
    };
    let places: Vec<_> = (0..2000).map(|i| place(i, "g1-1-a")).collect();
    catalog.set_locations("t", &places).await.unwrap();
    assert_eq!(server.locations("acme", "t").len(), places.len());
    assert_eq!(done(&server, "ADD IF NOT EXISTS"), 2, "of 262,144 bytes at most");
    let moved: Vec<_> = (1999..2002).map(|i| place(i, "g2-1-b")).collect();
    catalog.set_locations("t", &moved).await.unwrap();
    assert_eq!((done(&server, "ADD IF NOT EXISTS"), done(&server, "SET LOCATION")), (3, 1));
    for (hour, folder) in moved {
        assert_eq!(catalog.location("t", hour).await.unwrap(), Some(folder));
    }
}

#[tokio::test]
async fn a_failure_has_athenas_reason_and_a_class() {
    let (server, _, catalog) = site().await;
    catalog.ensure_table("t", &columns(&["a"])).await.unwrap();
    let cases = [
        ("FAILED: SemanticException odd", 2, false, Class::Rejected),
        ("GENERIC_INTERNAL_ERROR: odd", 1, false, Class::Transient),
        ("HIVE_METASTORE_ERROR: odd", 3, true, Class::Transient),
        ("Query exhausted resources at this scale factor", 1, false, Class::Throttled),
        (
            "User is not authorized to perform: glue:UpdatePartition on resource",
            2,
            false,
            Class::Unauthorized,
        ),
    ];
    for (reason, category, again, class) in cases {
        server.fail_next("SET LOCATION", reason, category, again);
        failed(catalog.set_location("t", seven(), "g1").await, class, reason);
    }
    failed(catalog.set_location("nope", seven(), "g1").await, Class::Rejected, "Table not found");
    failed(catalog.location("nope", seven()).await, Class::Rejected, "Table not found");
    failed(
        catalog.query("SELECT nope FROM t", &Snapshot::default()).await,
        Class::Rejected,
        "COLUMN_NOT_FOUND",
    );
    failed(catalog.query("DROP TABLE t", &Snapshot::default()).await, Class::Rejected, "only queries");
    let long = format!("SELECT '{}'", "x".repeat(262_144));
    failed(catalog.query(&long, &Snapshot::default()).await, Class::Rejected, "262144");
}

#[tokio::test]
async fn a_table_that_was_dropped_is_made_again() {
    let (server, _, catalog) = site().await;
    let dates = |name: &str| -> SchemaRef {
        let fields = vec![Field::new("a", DataType::Utf8, true), Field::new(name, DataType::Date32, true)];
        Arc::new(Schema::new(fields))
    };
    catalog.ensure_table("t", &dates("d")).await.unwrap();
    failed(catalog.ensure_table("t", &dates("e")).await, Class::Rejected, "drop the table in Athena");
    let before = server.calls()["StartQueryExecution"];
    catalog.ensure_table("t", &dates("d")).await.unwrap();
    assert_eq!(server.calls()["StartQueryExecution"], before, "what is known to be there costs nothing");
    let client = Session::at(&server.url).athena();
    let drop = client.start_query_execution().query_string("DROP TABLE acme.t").send().await.unwrap();
    let id = drop.query_execution_id.unwrap();
    let dropped = async {
        while done(&server, "DROP TABLE") == 0 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.unwrap_or_else(|_| panic!("{id} never ended"));
    failed(catalog.set_location("t", seven(), "g1").await, Class::Rejected, "Table not found");
    catalog.ensure_table("t", &dates("e")).await.unwrap();
    catalog.set_location("t", seven(), "g1").await.unwrap();
}

#[tokio::test]
async fn the_probe_names_what_is_wrong_and_the_fix() {
    let (server, _, catalog) = site().await;
    tokio::try_join!(catalog.probe_workgroup(), catalog.probe_database()).unwrap();
    let with = |workgroup: &str, output: Option<&str>| {
        let options =
            Options { workgroup: workgroup.into(), output: output.map(str::to_owned), ..options("acme") };
        AthenaCatalog::new(&server.session(), options)
    };
    failed(with("nope", None).probe_workgroup().await, Class::Unauthorized, "create the workgroup");
    server.set_workgroup("bare", false, None);
    failed(with("bare", None).probe_workgroup().await, Class::Unauthorized, "set `output`");
    with("bare", Some("s3://out/")).probe_workgroup().await.unwrap();
    with("bare", Some("s3://out/")).query("SELECT 1 AS n", &Snapshot::default()).await.unwrap();
    server.set_workgroup("off", true, Some("s3://out/"));
    failed(with("off", None).probe_workgroup().await, Class::Unauthorized, "enable it");
}

/// A file of numbered rows.
fn file(numbers: std::ops::Range<i64>) -> Bytes {
    let numbers: Vec<i64> = numbers.collect();
    let times = numbers.iter().map(|n| Some(1_763_708_400_000_000 + n * 1_000_000)).collect::<Vec<_>>();
    let users = numbers.iter().map(|n| (n % 7 != 0).then(|| format!("u,\"{n}\"")));
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("userId", Arc::new(users.collect::<StringArray>()) as ArrayRef),
        ("n", Arc::new(Int64Array::from(numbers.clone())) as ArrayRef),
        ("x", Arc::new(numbers.iter().map(|n| Some(*n as f64 / 4.0)).collect::<Float64Array>()) as ArrayRef),
        ("even", Arc::new(numbers.iter().map(|n| Some(n % 2 == 0)).collect::<BooleanArray>()) as ArrayRef),
        ("at", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef),
    ];
    let batch = RecordBatch::try_from_iter(arrays).unwrap();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out.into()
}

fn rows() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("userId", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("even", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("later", DataType::Utf8, true),
    ]))
}

#[tokio::test]
async fn a_query_reads_the_files_that_locations_name_page_by_page() {
    let (server, files, catalog) = site().await;
    catalog.ensure_table("web", &rows()).await.unwrap();
    for (name, numbers) in [
        ("g1/part-0000.parquet", 0..2500),
        ("g1/_hidden.parquet", 5000..5001),
        ("g1/.tmp/part.parquet", 5000..5001),
        ("g2/part-0000.parquet", 0..3),
        ("g10/part-0000.parquet", 7000..7001),
        ("other/part-0000.parquet", 100..110),
    ] {
        files.put(&format!("{LAKE}/tables/web/{name}"), file(numbers));
    }
    catalog.set_location("web", seven(), "tables/web/g1").await.unwrap();
    let snapshot = Snapshot::default();
    let result = catalog.query("SELECT * FROM web ORDER BY n;", &snapshot).await.unwrap();
    let counts: Vec<usize> = result.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(counts, [999, 1000, 501], "the first page begins with the names");
    let types: Vec<_> = result.schema.fields().iter().map(|field| field.data_type().clone()).collect();
    let wanted: Vec<_> = rows().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types[..6], wanted);
    assert_eq!(result.schema.field(6).name(), "year");
    let few = catalog
        .query("SELECT userid, n, x, even, at, later, hour FROM web WHERE n IN (0, 2) ORDER BY n", &snapshot);
    let wanted = "\
+--------+---+-----+------+----------------------+-------+------+
| userid | n | x   | even | at                   | later | hour |
+--------+---+-----+------+----------------------+-------+------+
|        | 0 | 0.0 | true | 2025-11-21T07:00:00Z |       | 07   |
| u,\"2\"  | 2 | 0.5 | true | 2025-11-21T07:00:02Z |       | 07   |
+--------+---+-----+------+----------------------+-------+------+";
    let few = pretty_format_batches(&few.await.unwrap().batches).unwrap();
    assert_eq!(few.to_string(), wanted);
    catalog.set_location("web", seven(), "tables/web/g2").await.unwrap();
    catalog.set_location("web", hour("2026-11-21T08"), "tables/web/other").await.unwrap();
    let sums = "SELECT hour, count(*) AS n FROM acme.web GROUP BY hour ORDER BY hour";
    let sums = catalog.query(sums, &snapshot).await.unwrap();
    let text = shardmill::output::rows(&sums.schema, &sums.batches, shardmill::output::Format::Json).unwrap();
    assert_eq!(text.trim(), r#"[{"hour":"07","n":3},{"hour":"08","n":10}]"#);
    let nothing = catalog.query("SELECT n FROM web WHERE hour = '09'", &snapshot).await.unwrap();
    let csv =
        shardmill::output::rows(&nothing.schema, &nothing.batches, shardmill::output::Format::Csv).unwrap();
    assert_eq!(csv, "n\n");
    let small = Options { result_bytes: 20, ..options("acme") };
    let small = AthenaCatalog::new(&server.session(), small);
    failed(small.query("SELECT * FROM web", &snapshot).await, Class::Rejected, "add a LIMIT");
}

/// moto runs nothing, but knows the calls: any statement succeeds, and answers are what they were told to be.
#[tokio::test]
async fn calls_are_those_that_moto_knows() {
    let moto = Moto::start().await.unwrap();
    let with = |workgroup: &str| {
        let output = Some("s3://out/".to_owned());
        let options = Options { workgroup: workgroup.into(), output, ..options("acme") };
        AthenaCatalog::new(&moto.session(), options)
    };
    let catalog = with("primary");
    tokio::try_join!(catalog.probe_workgroup(), catalog.probe_database()).unwrap();
    catalog.set_location("t", seven(), "tables/t/g1").await.unwrap();
    let text = |value: &str| json!({"VarCharValue": value});
    let line = |value: &str| json!({"Data": [text(value)]});
    let info = |name: &str, kind: &str| {
        json!({"CatalogName": "hive", "Name": name, "Label": name, "Type": kind, "Precision": 0, "Scale": 0,
            "Nullable": "UNKNOWN", "CaseSensitive": false})
    };
    let described = [
        line("# Detailed Partition Information\t \t "),
        line("Location:  \ts3://acme-lake/events/tables/t/g1/\t "),
    ];
    let selected = [
        json!({"Data": [text("n"), text("name")]}),
        json!({"Data": [text("42"), {}]}),
        json!({"Data": [text("43"), text("n")]}),
    ];
    let results = json!({"account_id": "123456789012", "region": "us-east-1", "results": [
        {"rows": described, "column_info": [info("partition", "string")]},
        {"rows": selected, "column_info": [info("n", "bigint"), info("name", "varchar")]},
    ]});
    let preset = format!("{}/moto-api/static/athena/query-results", moto.url());
    let answer = reqwest::Client::new().post(preset).json(&results).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    assert_eq!(catalog.location("t", seven()).await.unwrap().as_deref(), Some("tables/t/g1"));
    let result = catalog.query("SELECT n, name FROM t", &Snapshot::default()).await.unwrap();
    let text =
        shardmill::output::rows(&result.schema, &result.batches, shardmill::output::Format::Json).unwrap();
    assert_eq!(text.trim(), r#"[{"n":42,"name":null},{"n":43,"name":"n"}]"#);
    failed(with("nope").probe_workgroup().await, Class::Unauthorized, "create the workgroup");
}

#[tokio::test]
async fn files_are_read_from_a_server_that_speaks_s3() {
    let store = Ministack::start().await.unwrap();
    let client = store.session().s3();
    client.create_bucket().bucket("acme-lake").send().await.unwrap();
    for (name, numbers) in
        [("g1/part-0000.parquet", 0..4), ("g1/_part-0001.parquet", 4..8), ("g2/part-0000.parquet", 8..9)]
    {
        let key = format!("events/tables/web/{name}");
        let put = client.put_object().bucket("acme-lake").key(key).body(ByteStream::from(file(numbers)));
        put.send().await.unwrap();
    }
    let server = Athena::start(Arc::new(S3Files(client))).await.unwrap();
    let catalog = AthenaCatalog::new(&server.session(), options("acme"));
    catalog.ensure_table("web", &rows()).await.unwrap();
    catalog.set_location("web", seven(), "tables/web/g1").await.unwrap();
    let sum = catalog
        .query("SELECT count(*) AS rows, sum(n) AS total FROM web", &Snapshot::default())
        .await
        .unwrap();
    let text = shardmill::output::rows(&sum.schema, &sum.batches, shardmill::output::Format::Json).unwrap();
    assert_eq!(text.trim(), r#"[{"rows":4,"total":6}]"#);
}
