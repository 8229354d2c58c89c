//! What goes where: every event ends in exactly one table and hour or is refused; the fast way agrees with the ordinary one; mapping
//! comes before the table, and decides about nothing else.

use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use serde_json::{Value, json};
use shardmill_connectors::embedded::EmbeddedStream;
use shardmill_connectors::fields::Fields;
use shardmill_connectors::mapping::Mapping;
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::Rows;
use tempfile::TempDir;

use super::*;
use crate::testing::stream_settings;

const AT: Millis = Millis(1_795_000_000_000);
const HOUR_MS: i64 = 3_600_000;

/// A stream with these tables. The folder is that of its log, which nobody reads.
fn stream(partition_by: PartitionBy, tables: Tables) -> (StreamSettings, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedStream::open(folder.path(), "events", 1, std::time::Duration::from_secs(60)).unwrap();
    let settings = stream_settings(Arc::new(log), None);
    (StreamSettings { partition_by, tables: Arc::new(TablesBook::fixed(tables)), ..settings }, folder)
}

fn origin_of(n: u64, arrived_at: Millis) -> Origin {
    Origin { stream: "events".into(), shard: "s".into(), sequence: n.into(), subsequence: 0, arrived_at }
}

/// A table whose events must have a number, at least zero.
fn counted(name: &str) -> Table {
    let schema = json!({"$id": name, "type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "minimum": 0}, "who": {"type": "string"}}});
    Table::new(name, Arc::new(TableSchema::load(&schema.to_string()).unwrap()))
}

fn by_name(table: &str, events: &[&str]) -> ByName {
    ByName { events: events.iter().map(|event| (*event).to_owned()).collect(), table: counted(table) }
}

fn whole() -> Tables {
    let rest = Table::new("events", TableSchema::builtin());
    Tables::new(
        rest,
        [
            by_name("orders", &["Order *", "Paid"]),
            by_name("lost", &["Order Lost", "Lost"]),
            by_name("orders", &["P*"]),
        ],
    )
}

/// Where [`whole`] wants an event of this name.
fn wanted(name: Option<&str>) -> &'static str {
    match name {
        Some(name) if name.starts_with("Order ") || name.starts_with('P') => "orders",
        Some("Lost") => "lost",
        _ => "events",
    }
}

fn rows_of(builders: Builders) -> Vec<(String, Hour, u64, usize)> {
    let one = |mut builder: Builder| {
        let (name, rows) = (builder.table.name.clone(), builder.rows.finish().num_rows());
        (name, builder.hour, builder.tally.rows, rows)
    };
    builders.into_sorted().into_iter().map(one).collect()
}

#[test]
fn whatever_decides_about_a_row_is_in_the_terms() {
    let mapped = |drop: &str| whole().mapped(Mapping::compile(&json!({"drop": [drop]})).unwrap());
    let rest = || Table::new("events", TableSchema::builtin());
    let others = [
        Tables::new(rest(), []),
        Tables::new(rest(), [by_name("orders", &["Order *", "Paid"]), by_name("lost", &["Lost"])]),
        Tables::new(rest(), [by_name("orders", &["Order *", "Paid"]), by_name("lost", &["P*"])]),
        whole(),
        mapped("/a"),
        mapped("/b"),
        whole().only(Arc::new(rest())).mapped(Mapping::compile(&json!({"drop": ["/a"]})).unwrap()),
        Tables::one("other", TableSchema::builtin()),
    ];
    let terms: std::collections::BTreeSet<Vec<String>> = others.iter().map(Tables::terms).collect();
    assert_eq!(terms.len(), others.len(), "{terms:?}");
    assert_eq!((mapped("/a").terms(), whole().terms()), (others[4].terms(), others[3].terms()));
}

#[test]
fn the_first_table_whose_names_fit_takes_an_event() {
    let (stream, _folder) = stream(PartitionBy::Arrival, whole());
    let mut reading = Reading::of(&stream);
    assert_eq!(reading.tables().all().len(), 3, "two entries of one table are one table");
    for (event, table) in [
        (r#"{"event":"Order Paid","n":1}"#, "orders"),
        (r#"{"event":"Order Lost","n":1}"#, "orders"),
        (r#"{"name":"Lost","n":1}"#, "lost"),
        (r#"{"event":null,"type":"Pay","n":1}"#, "orders"),
        (r#"{"event":"order paid","n":1}"#, "events"),
        (r#"{"n":1}"#, "events"),
    ] {
        assert_eq!(reading.place(event.as_bytes(), AT).unwrap().table.name, table, "{event}");
    }
    let mut builders: Builders = Builders::default();
    let mut refused = |data: &str| {
        let origin = origin_of(1, AT);
        builders.append(&mut reading, Arrived::new(data.as_bytes(), &origin)).unwrap_err()
    };
    let told = refused(r#"{"event":"Lost","n":-1}"#);
    assert_eq!((told.table.name.as_str(), told.rejection.field.as_str()), ("lost", "/n"));
    assert_eq!(refused("{\"event\":\"Lost\",").table.name, "events", "nobody can read its name");
}

#[test]
fn no_more_builders_are_open_than_may_be_and_what_has_no_room_leaves_no_trace() {
    let (stream, _folder) = stream(PartitionBy::Event, whole());
    let (mut reading, mut builders) = (Reading::of(&stream), Builders::<()>::default());
    let names = ["Paid", "Lost", "Seen"];
    let mut taken = 0;
    for n in 0..40_i64 {
        let at = AT.plus(-HOUR_MS * (n / 3));
        let event =
            json!({"event": names[usize::try_from(n % 3).unwrap()], "n": n, "timestamp": at.to_string()});
        let origin = origin_of(u64::try_from(n).unwrap(), AT);
        let data = event.to_string();
        let room = builders.append(&mut reading, Arrived::new(data.as_bytes(), &origin)).unwrap().is_some();
        taken += u64::from(room);
    }
    assert_eq!((builders.len(), taken), (16, 16));
    assert!(rows_of(builders).iter().all(|(_, _, tally, rows)| (*tally, *rows) == (1, 1)));
}

#[test]
fn a_mapping_makes_the_row_and_the_event_decides_about_the_rest() {
    let mapping = json!({
        "parse": ["/data"], "drop": ["/event", "/timestamp"], "rename": {"/data/n": "/n"},
        "flatten": {"/data": {"separator": "_", "prefix": ""}},
    });
    let tables = Tables::new(counted("rest"), [by_name("orders", &["Order"])]);
    let (stream, _folder) = stream(PartitionBy::Event, tables.mapped(Mapping::compile(&mapping).unwrap()));
    let (mut reading, early) = (Reading::of(&stream), AT.plus(-5 * HOUR_MS));
    let event =
        |data: &str| json!({"event": "Order", "timestamp": early.to_string(), "data": data}).to_string();
    let mut builders: Builders = Builders::default();
    let mut append = |data: &str| {
        let (text, origin) = (event(data), origin_of(1, AT));
        builders
            .append(&mut reading, Arrived::new(text.as_bytes(), &origin))
            .map(|_| ())
            .map_err(|no| (no.table.name.clone(), no.rejection.to_string()))
    };
    // Names with escapes go the ordinary way.
    for data in [r#"{"n":1,"who":"ann","x":{"y":1.10}}"#, r#"{"n":2,"wh\u006f":"bob"}"#] {
        assert_eq!(append(data), Ok(()), "{data}");
    }
    for (data, reason) in [("{", "JSON in a string"), (r#"{"n":-1}"#, "minimum"), (r#"{"m":1}"#, "required")]
    {
        let (table, told) = append(data).unwrap_err();
        assert!(table == "orders" && told.contains(reason), "{data}: {told}");
    }
    let mut open = builders.into_sorted();
    assert_eq!(open.len(), 1);
    let batch = open[0].rows.finish();
    assert_eq!((open[0].hour, open[0].table.name.as_str(), batch.num_rows()), (Hour::of(early), "orders", 2));
    let text = |column: &str| {
        let column = arrow::util::display::ArrayFormatter::try_new(
            batch.column_by_name(column).unwrap().as_ref(),
            &arrow::util::display::FormatOptions::default(),
        )
        .unwrap();
        (column.value(0).to_string(), column.value(1).to_string())
    };
    assert_eq!(text("who"), ("ann".to_owned(), "bob".to_owned()));
    assert_eq!(text("n"), ("1".to_owned(), "2".to_owned()));
    assert_eq!(text("extra").0, r#"{"x_y":1.10}"#, "what the schema does not name is kept");
}

/// A time near the limits, or anywhere, or no time at all.
fn timestamp() -> impl Strategy<Value = Value> {
    let limits = [-OLDEST_MS, NEWEST_MS, 0];
    let near = (0..3_usize, -3..4_i64).prop_map(move |(limit, by)| AT.plus(limits[limit] + by));
    let anywhere = (-50 * 24 * HOUR_MS..3 * HOUR_MS).prop_map(|ms| AT.plus(ms));
    let time = prop_oneof![near, anywhere];
    prop_oneof![
        4 => time.clone().prop_map(|at| json!(at.to_string())),
        1 => time.clone().prop_map(|at| json!(at.0)),
        1 => time.prop_map(|at| json!(at.to_string().replace('T', " "))),
        1 => Just(Value::Null),
        1 => Just(json!("soon")),
        1 => Just(json!("")),
    ]
}

fn name() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![
        "(Order |P|Pa|Lost|)[ab]{0,2}",
        Just("Lost".to_owned()),
        Just("Order Lost".to_owned())
    ])
}

proptest! {
    /// Including times that are too old, too new, missing or no times: then neither tells one.
    #[test]
    fn the_fast_way_to_an_hour_is_the_ordinary_one(time in timestamp(), first in any::<bool>()) {
        let tables = Tables::one("events", TableSchema::builtin());
        let (stream, _folder) = stream(PartitionBy::Event, tables);
        let event = match first {
            true => json!({"timestamp": time, "event": "a"}),
            false => json!({"x": 1, "event": "a", "timestamp": time}),
        };
        let text = event.to_string();
        let ordinary = hour(&stream, &parse(text.as_bytes()).unwrap(), AT).ok();
        let fast = Reading::of(&stream).fast_hour(text.as_bytes(), AT);
        // What the schema refuses goes the ordinary way, whatever its hour is.
        let taken = stream.tables.current().rest().schema.check(&parse(text.as_bytes()).unwrap()).is_ok();
        prop_assert_eq!(fast, ordinary.filter(|_| taken), "{}", text);
    }

    #[test]
    fn every_event_ends_in_exactly_one_table_or_is_refused(
        events in prop::collection::vec((name(), -1..3_i64, timestamp()), 1..30), by_event in any::<bool>(), maps in any::<bool>(),
        together in 2..12_usize,
    ) {
        let by = if by_event { PartitionBy::Event } else { PartitionBy::Arrival };
        // A mapping that does nothing to what counts here, but has every event go through it.
        let mapping = Mapping::compile(&json!({"constant": {"/mapped": true}})).unwrap();
        let tables = if maps { whole().mapped(mapping) } else { whole() };
        let (stream, _folder) = stream(by, tables);
        let event = |(name, n, time): (Option<String>, i64, Value)| json!({"event": name, "n": n, "timestamp": time}).to_string();
        let texts: Vec<String> = events.into_iter().map(event).collect();
        let (outcomes, found) = asked_by(&stream, &texts, 1);
        let mut naive = std::collections::BTreeMap::new();
        for (index, (text, outcome)) in texts.iter().zip(&outcomes).enumerate() {
            let object = parse(text.as_bytes()).unwrap();
            let named = Fields::default().name(&object);
            let table = whole().get(wanted(named.as_deref())).unwrap().clone();
            let origin = origin_of(index as u64, AT);
            let ordinary = hour(&stream, &object, AT)
                .and_then(|hour| Rows::new(table.schema.clone()).append(&object, &origin).map(|()| hour));
            match ordinary {
                Ok(hour) => {
                    prop_assert_eq!(outcome, &Ok(()), "{}", text);
                    naive.entry((table.name.clone(), hour)).or_insert_with(Tally::default).insert(origin.identity());
                }
                Err(rejection) => prop_assert_eq!(outcome, &Err(Refusal { table, rejection }), "{}", text),
            }
        }
        let books: Vec<_> = found.iter().map(|(table, hour, tally, _)| ((table.clone(), *hour), *tally)).collect();
        prop_assert_eq!(books, naive.into_iter().collect::<Vec<_>>());
        prop_assert_eq!((outcomes, found), asked_by(&stream, &texts, together), "asked together");
    }
}

/// What becomes of each event, and the books and rows of each table and hour that has some, when the columns of so many are asked
/// together.
#[allow(clippy::type_complexity)]
fn asked_by(
    stream: &StreamSettings,
    texts: &[String],
    together: usize,
) -> (Vec<Result<(), Refusal>>, Vec<(String, Hour, Tally, RecordBatch)>) {
    let (mut reading, mut builders) = (Reading::of(stream), Builders::<()>::unbounded());
    let mut outcomes = vec![Ok(()); texts.len()];
    for (chunk, texts) in texts.chunks(together).enumerate() {
        let from = chunk * together;
        let origin = |number: usize| origin_of((from + number) as u64, AT);
        for (number, text) in texts.iter().enumerate() {
            let origin = origin(number);
            let arrived = Arrived::new(text.as_bytes(), &origin);
            outcomes[from + number] = match together {
                1 => builders.append(&mut reading, arrived).map(|there| assert!(there.is_some())),
                _ => builders.add(&mut reading, arrived, number).map(|there| assert!(there.is_some())),
            };
        }
        for (number, refusal) in
            builders.ask(&reading, |number| (texts[number].as_bytes(), origin(number).identity()))
        {
            assert_eq!(std::mem::replace(&mut outcomes[from + number], Err(refusal)), Ok(()));
        }
    }
    let one = |mut builder: Builder| {
        let rows = builder.rows.finish();
        assert_eq!(builder.tally.rows, rows.num_rows() as u64);
        (builder.table.name.clone(), builder.hour, builder.tally, rows)
    };
    let all = builders.into_sorted().into_iter().map(one);
    (outcomes, all.filter(|(_, _, tally, _)| tally.rows > 0).collect())
}
