//! What tables and their columns mean to an erasure.

use super::*;

impl Site {
    /// One more segment that no hour has absorbed.
    async fn segment(
        &self,
        (table, number): (&str, u64),
        schema: Arc<TableSchema>,
        events: &[(u64, String)],
    ) {
        let key = layout::segment("web", "0", 1, &format!("s{number}"), (table, hour()));
        let (bytes, tally) = file_of(self.ports.objects.as_ref(), &key, schema, events.iter().cloned()).await;
        let name = layout::documents::shard("web", "0");
        let mut cell: Cell<ShardState> = Cell::load(self.ports.documents.clone(), name).await.unwrap();
        let mut shard = cell.state().cloned().unwrap();
        let (table, schema) = (table.to_owned(), format!("{table}@1"));
        shard.segments.push(Segment { number, table, hour: hour(), key, bytes, tally, schema });
        shard.next_segment = number + 1;
        shard.read += tally;
        cell.replace(shard).await.unwrap();
    }
}

#[tokio::test]
async fn an_hour_that_is_made_while_erasing_is_deduplicated_as_its_table_is() {
    let mut site = Site::new(None).await;
    // Sent again: one event of the person, and one of another.
    let again = [(80, event(31)), (81, event(32))];
    site.segment(("events", 3), TableSchema::builtin(), &again).await;
    site.dedupe.insert("events".into(), Some("message_id".into()));
    let told = site.erase("user-1", (true, false), true).await;
    assert!(told.is_whole(), "{told:?}");
    let state = site.state().await;
    assert_eq!((state.dedupe.as_deref(), state.tally.rows), (Some("message_id"), 26));
    site.is_whole().await;
}

#[tokio::test]
async fn a_column_is_the_field_that_its_own_table_made_of_it() {
    let mut site = Site::new(None).await;
    let schema = |properties: &str| {
        let text = format!(r#"{{"type": "object", "properties": {{{properties}}}}}"#);
        Arc::new(TableSchema::load(&text).unwrap())
    };
    let people = schema(r#""userId": {"type": "integer", "x-column": "id", "x-from-string": true}"#);
    let orders = schema(r#""id": {"type": "string"}, "buyer": {"type": "string", "x-column": "user_id"}"#);
    let person = |n: u64, user: &str| (n, format!(r#"{{"messageId":"p{n}","userId":{user}}}"#));
    site.segment(("people", 3), people.clone(), &[person(80, "42"), person(81, "\"042\""), person(82, "7")])
        .await;
    let order = (83, r#"{"messageId":"o","id":"42","buyer":"7"}"#.to_owned());
    site.segment(("orders", 4), orders.clone(), std::slice::from_ref(&order)).await;
    site.schemas.extend([("people".to_owned(), people), ("orders".to_owned(), orders)]);
    // What was received says the same, in its own spelling.
    let mut packer = Packer::default();
    for (n, event) in [person(80, "42"), person(81, "\"042\""), person(82, "7"), order] {
        packer.push(&origin(n), "k", event.as_bytes());
    }
    let packed = packer.finish().unwrap();
    let key = layout::raw("web", hour(), "0", 1, "1");
    let (bytes, tally) = (packed.bytes.len() as u64, packed.tally);
    site.ports.objects.put(&key, packed.bytes).await.unwrap();
    let name = layout::documents::shard("web", "0");
    let mut cell: Cell<ShardState> = Cell::load(site.ports.documents.clone(), name).await.unwrap();
    let mut shard = cell.state().cloned().unwrap();
    shard.raw.add(&[RawFile { number: 1, hour: hour(), key, bytes, tally, erased: Tally::default() }]);
    cell.replace(shard).await.unwrap();

    let planned = site.erase("42", (true, true), true).await;
    assert_eq!((planned.hours.len(), planned.hours[0].rows, planned.raw), (1, 2, 2), "{planned:?}");
    let told = site.erase("42", (true, false), true).await;
    assert!(told.is_whole() && told.raw == 2, "{told:?}");
    assert_eq!((told.hours[0].table.as_str(), told.hours[0].rows), ("people", 2));
    let told = site.erase("7", (true, false), true).await;
    assert_eq!((told.hours.len(), told.hours[0].table.as_str(), told.raw), (1, "people", 1), "{told:?}");
    let misnamed = |line: &&String| line.contains("the column `user_id` of orders holds /buyer");
    assert_eq!(told.not_reached.iter().filter(misnamed).count(), 1, "{told:?}");
}
