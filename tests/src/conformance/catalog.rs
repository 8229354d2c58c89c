//! What every catalog backend must do, apart from what its engine makes of a query.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use shardmill_connectors::Hour;
use shardmill_connectors::ports::{Catalog, Snapshot};

use super::{check, rejected};

/// Runs the suite; `make` gives a fresh, empty catalog.
pub async fn catalog(make: impl AsyncFn() -> Arc<dyn Catalog>) {
    check("an empty catalog", empty(&*make().await)).await;
    check("locations", locations(&*make().await)).await;
    check("partitions that are taken out", dropped(&*make().await)).await;
    check("tables are apart", apart(&*make().await)).await;
    check("columns are added", columns_added(&*make().await)).await;
    check("a query that cannot run", bad_query(&*make().await)).await;
    let store = make().await;
    check("racing switches", racing([store.clone(), store])).await;
}

/// Runs what two handles of one catalog must do; `make` gives both.
pub async fn catalog_shared(make: impl AsyncFn() -> [Arc<dyn Catalog>; 2]) {
    check("seen by the other handle", seen_by_other(make().await)).await;
    check("racing switches of two handles", racing(make().await)).await;
}

fn hour(text: &str) -> Hour {
    text.parse().unwrap()
}

fn columns(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(
        names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>(),
    ))
}

async fn with_table(store: &dyn Catalog, table: &str) {
    store.ensure_table(table, &columns(&["a", "b"])).await.unwrap();
}

async fn empty(store: &dyn Catalog) {
    with_table(store, "t").await;
    assert_eq!(store.partitions("t").await.unwrap(), [], "a new table has partitions");
    assert_eq!(store.location("t", hour("2026-11-21T07")).await.unwrap(), None);
}

async fn locations(store: &dyn Catalog) {
    with_table(store, "t").await;
    let hours = ["2026-11-21T07", "2025-12-31T23", "2026-01-01T00", "1999-06-01T12"].map(hour);
    for at in hours {
        store.set_location("t", at, &format!("tables/t/{}/g1-1-a", at.path())).await.unwrap();
    }
    let switched = "tables/t/with ü and '\" quotes/g2-1-b";
    for _ in 0..2 {
        store.set_location("t", hours[0], switched).await.unwrap(); // idempotent
    }
    assert_eq!(
        store.location("t", hours[0]).await.unwrap().as_deref(),
        Some(switched),
        "a switch is read back"
    );
    let listed = store.partitions("t").await.unwrap();
    let mut expected: Vec<(Hour, String)> =
        hours[1..].iter().map(|at| (*at, format!("tables/t/{}/g1-1-a", at.path()))).collect();
    expected.push((hours[0], switched.to_owned()));
    expected.sort();
    assert_eq!(listed, expected, "partitions, ascending");
    assert_eq!(store.registered("t").await.unwrap(), hours.into(), "hours without their places");
}

async fn dropped(store: &dyn Catalog) {
    let [first, second] = ["2026-11-21T07", "2026-11-21T08"].map(hour);
    store.drop_partition("no_such_table", first).await.unwrap();
    with_table(store, "t").await;
    store.drop_partition("t", first).await.unwrap();
    for at in [first, second] {
        store.set_location("t", at, "here").await.unwrap();
    }
    for _ in 0..2 {
        store.drop_partition("t", first).await.unwrap(); // idempotent
    }
    assert_eq!(store.location("t", first).await.unwrap(), None);
    assert_eq!(store.partitions("t").await.unwrap(), [(second, "here".to_owned())]);
    store.set_location("t", first, "again").await.unwrap();
    assert_eq!(store.location("t", first).await.unwrap().as_deref(), Some("again"));
}

async fn apart(store: &dyn Catalog) {
    for table in ["t", "t_2"] {
        with_table(store, table).await;
    }
    store.set_location("t", hour("2026-11-21T07"), "here").await.unwrap();
    assert_eq!(store.location("t_2", hour("2026-11-21T07")).await.unwrap(), None);
    assert_eq!(store.partitions("t_2").await.unwrap(), []);
}

async fn columns_added(store: &dyn Catalog) {
    for names in [&["a"][..], &["a"], &["a", "b"], &["c", "a"], &[]] {
        store.ensure_table("t", &columns(names)).await.unwrap();
    }
    store.set_location("t", hour("2026-11-21T07"), "kept").await.unwrap();
    store.ensure_table("t", &columns(&["d"])).await.unwrap();
    let kept = store.location("t", hour("2026-11-21T07")).await.unwrap();
    assert_eq!(kept.as_deref(), Some("kept"), "a new column lost a partition");
}

async fn bad_query(store: &dyn Catalog) {
    for sql in ["SELEC nonsense", "SELECT * FROM no_such_table"] {
        rejected(store.query(sql, &Snapshot::default()).await, sql);
    }
}

async fn racing([one, two]: [Arc<dyn Catalog>; 2]) {
    let tasks: Vec<_> = (0..12)
        .map(|i| {
            let store = if i % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                store.ensure_table("t", &columns(&["a", &format!("c{i}")])).await.unwrap();
                store.set_location("t", hour("2026-11-21T07"), &format!("g{i}")).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let listed = one.partitions("t").await.unwrap();
    assert_eq!(listed.len(), 1, "one partition, whoever switched it: {listed:?}");
    assert_eq!(listed, two.partitions("t").await.unwrap());
}

async fn seen_by_other([one, two]: [Arc<dyn Catalog>; 2]) {
    with_table(&*one, "t").await;
    one.set_location("t", hour("2026-11-21T07"), "one").await.unwrap();
    assert_eq!(two.location("t", hour("2026-11-21T07")).await.unwrap().as_deref(), Some("one"));
    two.set_location("t", hour("2026-11-21T07"), "two").await.unwrap();
    assert_eq!(one.partitions("t").await.unwrap(), [(hour("2026-11-21T07"), "two".to_owned())]);
}
