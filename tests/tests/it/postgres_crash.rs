//! The destination `postgres` while things die: the server, the connection, the node; each row is there once, whatever was repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardmill_connectors::destinations::{Answer, Destination, Event};
use shardmill_connectors::failure::Class;
use shardmill_tests::harness::Node;
use shardmill_tests::harness::servers::Postgres;
use shardmill_tests::harness::servers::postgres::wire::{Held, PLACES};
use shardmill_tests::harness::servers::postgres::{ADMIN, PASSWORD, Place, Wire};
use tokio::task::JoinHandle;

use crate::postgres::{count, deliver, open, refusal, several};
use crate::support::{CONFIG, PATIENCE, Site, accept, ago, until};

/// Rows of a batch: more than one piece of the wire.
const ROWS: usize = 2_000;

/// An attempt, made beside the test.
fn attempt(destination: &Arc<dyn Destination>, events: &[Event]) -> JoinHandle<Answer> {
    let (destination, events) = (destination.clone(), events.to_vec());
    tokio::spawn(async move { deliver(&*destination, &events).await })
}

async fn there(held: Held) {
    tokio::time::timeout(PATIENCE, held.there()).await.expect("the place is never reached");
}

/// How many rows there are of the events called `name`.
async fn rows(server: &Postgres, name: &str) -> usize {
    count(server, &format!("events WHERE event = '{name}'")).await
}

/// What an attempt came to that was held at `place` and cut: nobody knows once the client has sent its commit.
fn judge(answer: Answer, place: Place) {
    let refusal = refusal(answer);
    let unknown = matches!(place, Place::BeforeCommit | Place::AfterCommit);
    assert_eq!(
        (refusal.failure.class, refusal.unknown),
        (Class::Transient, unknown),
        "{place:?}: {refusal:?}"
    );
}

/// Delivers what was lost, batched in another way.
async fn again(destination: &dyn Destination, events: &[Event]) {
    for some in events.chunks(ROWS * 2 / 3) {
        assert_eq!(deliver(destination, some).await, Answer::delivered(some.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_anywhere_in_a_batch_has_each_row_once() {
    let mut server = Postgres::start().await.unwrap();
    let wire = Wire::start(server.port()).await.unwrap();
    let destination = open(wire.port(), json!({"create": true, "tls": "disable"}));
    assert_eq!(deliver(&*destination, &several(&*destination, "first", 1)).await, Answer::delivered(1));
    for place in PLACES {
        let name = format!("{place:?}");
        let events = several(&*destination, &name, ROWS);
        let held = wire.hold_at(place);
        let attempt = attempt(&destination, &events);
        there(held).await;
        server.kill().await.unwrap();
        wire.cut();
        judge(attempt.await.unwrap(), place);
        let refusal = refusal(deliver(&*destination, &events).await);
        assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false), "{refusal:?}");
        server.start_again().await.unwrap();
        wire.lead_to(server.port());
        assert_eq!(rows(&server, &name).await, if place == Place::AfterCommit { ROWS } else { 0 }, "{name}");
        again(&*destination, &events).await;
        assert_eq!(rows(&server, &name).await, ROWS, "{name}");
    }
    assert_eq!(count(&server, "events").await, PLACES.len() * ROWS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_anywhere_in_a_batch_is_replaced_by_another() {
    let server = Postgres::start().await.unwrap();
    let wire = Wire::start(server.port()).await.unwrap();
    let destination = open(wire.port(), json!({"create": true, "tls": "disable"}));
    assert_eq!(deliver(&*destination, &several(&*destination, "first", 1)).await, Answer::delivered(1));
    for place in PLACES {
        let name = format!("{place:?}");
        let events = several(&*destination, &name, ROWS);
        let held = wire.hold_at(place);
        let attempt = attempt(&destination, &events);
        there(held).await;
        wire.cut();
        judge(attempt.await.unwrap(), place);
        again(&*destination, &events).await;
        assert_eq!(rows(&server, &name).await, ROWS, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_goes_on_with_is_not_waited_for_for_long() {
    let server = Postgres::start().await.unwrap();
    let wire = Wire::start(server.port()).await.unwrap();
    // The machine of this one vanishes: its connection stays open, with rows inserted and not committed.
    let dead = open(wire.port(), json!({"create": true, "tls": "disable", "timeout": "3s"}));
    let living = open(server.port(), json!({"timeout": "3s"}));
    assert_eq!(deliver(&*dead, &several(&*dead, "first", 1)).await, Answer::delivered(1));
    let events = several(&*dead, "left", ROWS);
    let held = wire.hold_at(Place::BeforeCommit);
    let attempt = attempt(&dead, &events);
    there(held).await;
    let since = Instant::now();
    // Whoever repeats its rows waits for them, in vain at first perhaps: never longer than it was told.
    while let Answer::Each(outcomes) = deliver(&*living, &events).await {
        let Err(refusal) = &outcomes[0] else { break };
        assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false), "{refusal:?}");
        assert!(since.elapsed() < PATIENCE, "{refusal:?}");
    }
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let refusal = refusal(attempt.await.unwrap());
    assert!(refusal.unknown && refusal.failure.detail.contains("perhaps it was committed"), "{refusal:?}");
    assert_eq!(rows(&server, "left").await, ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_locks_are_waited_for_as_long_as_it_was_told() {
    let server = Postgres::start().await.unwrap();
    let destination = open(server.port(), json!({"create": true, "timeout": "1s"}));
    assert_eq!(deliver(&*destination, &several(&*destination, "first", 1)).await, Answer::delivered(1));
    let events = several(&*destination, "locked", 3);
    let sql = "BEGIN; INSERT INTO events (id) VALUES ('locked-1'); SELECT pg_sleep(600)";
    let mut other = server.psql(sql).spawn().unwrap();
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let asleep = async {
        while server.query(sleeps).await.unwrap() != "1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asleep).await.unwrap();
    let refusal = refusal(deliver(&*destination, &events).await);
    assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false), "{refusal:?}");
    other.kill().await.unwrap();
    server
        .query("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        .await
        .unwrap();
    assert_eq!(deliver(&*destination, &events).await, Answer::delivered(3));
    assert_eq!(rows(&server, "locked").await, 3);
}

/// A node with the wire to a warehouse as its only destination.
fn site(wire: &Wire) -> Site {
    let mut site = Site::new(&format!(
        "{CONFIG}[destinations.warehouse]\nkind = \"postgres\"\nurl = \"postgres://{ADMIN}@127.0.0.1:{}/postgres\"\n\
         password = \"${{WAREHOUSE_PASSWORD}}\"\ntable = \"public.events\"\ncreate = true\ntls = \"disable\"\nbatch_age = \"50ms\"\n",
        wire.port()
    ));
    site.setup.env.insert("WAREHOUSE_PASSWORD".to_owned(), PASSWORD.to_owned());
    site
}

/// Events of one round, recognised by `n` from `from` on.
fn round(from: usize, count: usize) -> Vec<Value> {
    let event = |n: usize| {
        json!({"messageId": format!("m{n}"), "type": "track", "event": "Tested", "timestamp": ago(1).to_string(),
            "userId": format!("u{}", n % 17), "properties": {"n": n}})
    };
    (from..from + count).map(event).collect()
}

async fn delivered(node: &Node, count: usize) {
    let done = |all: &Value| all[0]["delivered"] == count && all[0]["pending"] == 0;
    let all = until(node, "destinations", done).await;
    assert_eq!(all[0]["dead_lettered"], 0, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_around_its_commits_delivers_each_event_once() {
    let server = Postgres::start().await.unwrap();
    let wire = Wire::start(server.port()).await.unwrap();
    let site = site(&wire);
    let mut sent = 0;
    for (place, count) in [(Place::AfterCommit, 400), (Place::BeforeCommit, 300), (Place::WithinRows, 200)] {
        let node = site.start().await;
        let held = wire.hold_at(place);
        accept(&node, &round(sent, count)).await;
        sent += count;
        there(held).await;
        let log = node.log.clone();
        node.kill().await.unwrap();
        wire.cut();
        let node = site.start().await;
        delivered(&node, sent).await;
        node.stop().await.unwrap();
        let told = server
            .query("SELECT count(*), count(DISTINCT id), count(DISTINCT properties->>'n'), max((properties->>'n')::int) FROM events")
            .await
            .unwrap();
        assert_eq!(told, format!("{sent}|{sent}|{sent}|{}", sent - 1), "{place:?}");
        assert!(!std::fs::read_to_string(log).unwrap().contains(PASSWORD));
    }
}
