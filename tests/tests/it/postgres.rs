//! The destination `postgres` on a real server: each row once with its values, and what the server refuses told as what it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_connectors::destinations::testing::{batch, event, samples};
use shardmill_connectors::destinations::{Answer, Destination, Event, Refusal, Shaped, registry};
use shardmill_connectors::failure::Class;
use shardmill_tests::conformance::destinations;
use shardmill_tests::harness::servers::Postgres;
use shardmill_tests::harness::servers::postgres::{ADMIN, PASSWORD};

use crate::support::PATIENCE;

/// A destination on the server at this port of loopback; `more` settings win.
pub(crate) fn open(port: u16, more: Value) -> Arc<dyn Destination> {
    let mut settings = json!({
        "host": "127.0.0.1", "port": port, "database": "postgres", "user": ADMIN, "password": PASSWORD, "table": "events",
    });
    settings.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    destinations::open(registry::find("postgres").unwrap(), &settings, None, Path::new("."))
}

/// An event with this id, as the destination sends it.
pub(crate) fn shaped(destination: &dyn Destination, id: &str, data: &str) -> Event {
    match destination.shape(event(id, data)) {
        Shaped::Send(event) => event,
        other => panic!("it takes this event: {other:?}"),
    }
}

/// `count` events with the ids `NAME-0`, `NAME-1`, …
pub(crate) fn several(destination: &dyn Destination, name: &str, count: usize) -> Vec<Event> {
    let data =
        |n: usize| json!({"type": "track", "event": name, "userId": n, "properties": {"n": n}}).to_string();
    (0..count).map(|n| shaped(destination, &format!("{name}-{n}"), &data(n))).collect()
}

pub(crate) async fn deliver(destination: &dyn Destination, events: &[Event]) -> Answer {
    tokio::time::timeout(PATIENCE, destination.deliver(batch(events))).await.expect("an answer in time")
}

/// The one refusal that every event met.
pub(crate) fn refusal(answer: Answer) -> Refusal {
    let Answer::Each(outcomes) = answer else { panic!("split: {answer:?}") };
    let first = outcomes[0].clone().expect_err("a refusal");
    assert!(outcomes.iter().all(|outcome| outcome.as_ref() == Err(&first)), "{outcomes:?}");
    assert!(!format!("{first:?}").contains(PASSWORD), "{first:?}");
    first
}

/// How many rows there are of a table, and as a condition behind it says.
pub(crate) async fn count(server: &Postgres, what: &str) -> usize {
    server.query(&format!("SELECT count(*) FROM {what}")).await.unwrap().parse().unwrap()
}

/// A batch and its halves, as a lane does it: what was refused alone, by id.
async fn halved(destination: &dyn Destination, events: &[Event]) -> BTreeMap<String, Refusal> {
    let (mut left, mut refused) = (vec![events.to_vec()], BTreeMap::new());
    while let Some(some) = left.pop() {
        match deliver(destination, &some).await {
            Answer::Split(refusal) => {
                assert_eq!((refusal.failure.class, refusal.unknown), (Class::Rejected, false), "{refusal:?}");
                match some.as_slice() {
                    [alone] => _ = refused.insert(alone.id.to_string(), refusal),
                    several => left.extend(several.chunks(several.len().div_ceil(2)).map(<[Event]>::to_vec)),
                }
            }
            answer => assert_eq!(answer, Answer::delivered(some.len())),
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_once_with_their_values() {
    let server = Postgres::start().await.unwrap();
    // Whatever the server is told to do with its commits: ours are on the disk.
    server.query(&format!("ALTER ROLE {ADMIN} SET synchronous_commit = off")).await.unwrap();
    let destination = open(server.port(), json!({"create": true}));
    assert!(destination.probe().await.unwrap());
    assert_eq!(
        server.query("SELECT to_regclass('events') IS NULL").await.unwrap(),
        "t",
        "a probe makes nothing"
    );
    let text = "tab\t line\n return\r back\\slash \\N \\. \u{7f} \"quoted\" 'x' Zoë 🦀";
    let odd =
        json!({"event": text, "userId": 7, "properties": {"text": text, "big": 1e300, "list": [1, null]}})
            .to_string();
    let events = [("order", samples::ORDER_COMPLETED), ("identify", samples::IDENTIFY), ("odd", &odd)]
        .map(|(id, data)| shaped(&*destination, id, data));
    assert_eq!(deliver(&*destination, &events[..2]).await, Answer::delivered(2));
    let durable = "ALTER TABLE events ADD COLUMN durable text DEFAULT current_setting('synchronous_commit')";
    server.query(durable).await.unwrap();
    // The same again, and with others, in another order: what is there stays as it is.
    for some in [&events[..2], &events[1..], &[events[2].clone(), events[0].clone(), events[2].clone()]] {
        assert_eq!(deliver(&*destination, some).await, Answer::delivered(some.len()));
    }
    assert_eq!(
        server.query("SELECT string_agg(id, ',' ORDER BY id) FROM events").await.unwrap(),
        "identify,odd,order"
    );
    assert_eq!(server.query("SELECT durable FROM events WHERE id = 'odd'").await.unwrap(), "on");
    let row = async |id: &str| -> Value {
        let row =
            server.query(&format!("SELECT row_to_json(e) FROM events e WHERE id = '{id}'")).await.unwrap();
        serde_json::from_str(&row).unwrap()
    };
    let (order, said) =
        (row("order").await, serde_json::from_str::<Value>(samples::ORDER_COMPLETED).unwrap());
    assert_eq!((&order["properties"], &order["context"]), (&said["properties"], &said["context"]));
    assert_eq!((&order["user_id"], &order["event"]), (&json!("u_48213"), &json!("Order Completed")));
    assert_eq!(
        (&order["type"], &order["traits"], &order["name"]),
        (&json!("track"), &json!(null), &json!(null))
    );
    let identify = row("identify").await;
    assert_eq!(identify["traits"]["company"]["name"], "Analytical Ltd");
    let odd = row("odd").await;
    assert_eq!(
        (&odd["event"], &odd["properties"]["text"], &odd["user_id"]),
        (&json!(text), &json!(text), &json!("7"))
    );
    assert_eq!((&odd["properties"]["big"], &odd["properties"]["list"]), (&json!(1e300), &json!([1, null])));
    let times = "SELECT (extract(epoch FROM ts) * 1000)::bigint, pg_typeof(ts), pg_typeof(properties), pg_typeof(id), \
                 received_at = ts FROM events WHERE id = 'order'";
    let told = server.query(times).await.unwrap();
    assert_eq!(told, "1773480413589|timestamp with time zone|jsonb|text|t");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_replaced_when_they_were_closed() {
    let server = Postgres::start().await.unwrap();
    let destination = open(server.port(), json!({"create": true}));
    let ours = "SELECT count(*), string_agg(DISTINCT application_name, ',') FROM pg_stat_activity WHERE application_name LIKE 'shardmill%'";
    for round in 0..5 {
        let events = several(&*destination, &format!("round{round}"), 2);
        assert_eq!(deliver(&*destination, &events).await, Answer::delivered(2));
        assert_eq!(server.query(ours).await.unwrap(), "1|shardmill subject");
    }
    let end = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name LIKE 'shardmill%'";
    assert_eq!(server.query(end).await.unwrap(), "1");
    let events = several(&*destination, "after", 2);
    assert_eq!(
        deliver(&*destination, &events).await,
        Answer::delivered(2),
        "nothing was sent on the connection that was closed"
    );
    assert_eq!(count(&server, "events").await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_of_the_same_rows_at_a_time_wait_for_each_other() {
    let server = Postgres::start().await.unwrap();
    let workers = (0..4).map(|worker| {
        // Each node has connections of its own; all find no table at first.
        let destination = open(server.port(), json!({"create": true}));
        let mut events = several(&*destination, "same", 2_000);
        tokio::spawn(async move {
            for round in 0..5 {
                // No two batches are alike, and no two orders.
                events.rotate_left(worker * 300 + round * 7);
                events.reverse();
                let some = &events[..1_500];
                let answer = deliver(&*destination, some).await;
                assert_eq!(answer, Answer::delivered(some.len()), "worker {worker}, round {round}");
            }
            assert_eq!(deliver(&*destination, &events).await, Answer::delivered(events.len()));
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert_eq!(count(&server, "events").await, 2_000);
    assert_eq!(count(&server, "events WHERE id = 'same-' || (properties->>'n')").await, 2_000);
    assert!(!server.said().contains("deadlock"), "{}", server.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_must_mend_pauses_and_says_what() {
    let server = Postgres::start().await.unwrap();
    let sql = "CREATE ROLE reader LOGIN PASSWORD 'of-the-reader'; CREATE ROLE late LOGIN SUPERUSER PASSWORD 'of-the-late'; \
               ALTER ROLE late SET default_transaction_read_only = on; \
               CREATE TABLE plain (id text, n text); CREATE TABLE narrow (id text PRIMARY KEY); \
               CREATE TABLE strict (id text PRIMARY KEY, n text, must text NOT NULL)";
    server.query(sql).await.unwrap();
    let two = json!({"id": "id", "n": "/n"});
    let reader =
        json!({"user": "reader", "password": "of-the-reader", "table": "narrow", "columns": {"id": "id"}});
    let late = json!({"user": "late", "password": "of-the-late", "table": "narrow", "columns": {"id": "id"}});
    for (more, class, wanted) in [
        (json!({"password": "wrong-password"}), Class::Unauthorized, "28P01"),
        (json!({"user": "nobody-knows"}), Class::Unauthorized, "correct `user` and `password`"),
        (json!({"database": "nowhere"}), Class::Unauthorized, "3D000"),
        (json!({"tls": "require"}), Class::Unauthorized, "let the server speak TLS"),
        (json!({}), Class::Unauthorized, "set create = true"),
        (json!({"table": "plain", "columns": two}), Class::Unauthorized, "unique index"),
        (json!({"table": "narrow", "columns": two}), Class::Unauthorized, "add the column there"),
        (reader.clone(), Class::Unauthorized, "grant the user INSERT and SELECT"),
        (late, Class::Transient, "name the server that takes writes"),
    ] {
        let destination = open(server.port(), more.clone());
        let refusal = refusal(deliver(&*destination, &several(&*destination, "a", 2)).await);
        assert_eq!((refusal.failure.class, refusal.unknown), (class, false), "{more}: {refusal:?}");
        assert!(refusal.failure.detail.contains(wanted), "{more}: {refusal:?}");
        let probed = destination.probe().await.unwrap_err();
        assert_eq!(probed, refusal.failure, "{more}: asked before, it says the same");
        assert!(!format!("{refusal:?}").contains("wrong-password"), "{refusal:?}");
    }
    let nowhere = open(server.port(), json!({"table": "nowhere.events", "create": true}));
    let refusal = refusal(deliver(&*nowhere, &several(&*nowhere, "a", 2)).await);
    assert!(
        refusal.failure.detail.contains("3F000") && refusal.failure.class == Class::Unauthorized,
        "{refusal:?}"
    );
    // What no row can have is not the rows' fault; nobody knows before the first is put there.
    let strict = open(server.port(), json!({"table": "strict", "columns": two}));
    let refusal = self::refusal(deliver(&*strict, &several(&*strict, "a", 2)).await);
    let (class, told) = (refusal.failure.class, &refusal.failure.detail);
    assert!(
        class == Class::Unauthorized && told.contains("`must`") && told.contains("add it to `columns`"),
        "{told}"
    );
    // What the advice says is enough.
    server.query("GRANT INSERT, SELECT ON narrow TO reader").await.unwrap();
    let granted = open(server.port(), reader);
    assert!(granted.probe().await.unwrap());
    assert_eq!(deliver(&*granted, &several(&*granted, "a", 2)).await, Answer::delivered(2));
    // A table that lacks columns gets them, where that is wanted.
    let wider = open(server.port(), json!({"table": "narrow", "create": true}));
    assert!(wider.probe().await.unwrap());
    assert_eq!(deliver(&*wider, &several(&*wider, "b", 3)).await, Answer::delivered(3));
    assert_eq!(count(&server, "narrow WHERE (properties->'n') IS NOT NULL").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_are_found_among_those_that_do() {
    let server = Postgres::start().await.unwrap();
    let sql = "CREATE TABLE events (id text PRIMARY KEY, n integer CONSTRAINT small CHECK (n < 1000), \
               mail text NOT NULL CONSTRAINT one_each UNIQUE); INSERT INTO events VALUES ('old', 1, 'taken@example.com')";
    server.query(sql).await.unwrap();
    let destination = open(server.port(), json!({"columns": {"id": "id", "n": "/n", "mail": "/mail"}}));
    let mut events: Vec<Event> = (0..40)
        .map(|n| {
            shaped(
                &*destination,
                &format!("good-{n}"),
                &json!({"n": n, "mail": format!("{n}@example.com")}).to_string(),
            )
        })
        .collect();
    let bad = [
        ("text", json!({"n": "s3cr3t-value", "mail": "a"}), "22P02", "for the column `n`"),
        ("huge", json!({"n": 5_000_000_000_i64, "mail": "b"}), "22003", "for the column `n`"),
        ("large", json!({"n": 5_000, "mail": "c"}), "23514", "by the constraint `small`"),
        ("missing", json!({"n": 1}), "23502", "for the column `mail`"),
        ("taken", json!({"n": 1, "mail": "taken@example.com"}), "23505", "by the constraint `one_each`"),
    ];
    for (place, (id, data, ..)) in bad.iter().enumerate() {
        events.insert(place * 9, shaped(&*destination, id, &data.to_string()));
    }
    let refused = halved(&*destination, &events).await;
    assert_eq!(refused.len(), bad.len(), "{refused:?}");
    for (id, _, state, place) in bad {
        let refusal = &refused[id];
        assert!(
            refusal.failure.detail.contains(state) && refusal.failure.detail.contains(place),
            "{id}: {refusal:?}"
        );
        // What is in a row goes with its letter, and into no log.
        assert!(
            refusal.response.is_some() && !refusal.failure.detail.contains("s3cr3t-value"),
            "{refusal:?}"
        );
    }
    assert!(refused["text"].response.as_ref().unwrap().contains("s3cr3t-value"), "{refused:?}");
    assert_eq!(count(&server, "events WHERE id LIKE 'good-%'").await, 40);
    assert_eq!(count(&server, "events").await, 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_asks_who_the_server_is() {
    let server = Postgres::start_with_tls().await.unwrap();
    let checked =
        json!({"create": true, "host": "localhost", "tls": "verify-full", "root_cert": server.authority()});
    let destination = open(server.port(), checked.clone());
    assert_eq!(deliver(&*destination, &several(&*destination, "checked", 2)).await, Answer::delivered(2));
    let ours = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'shardmill%'";
    assert_eq!(server.query(ours).await.unwrap(), "t");
    for mode in ["require", "prefer"] {
        let destination = open(server.port(), json!({"create": true, "tls": mode}));
        assert_eq!(
            deliver(&*destination, &several(&*destination, mode, 2)).await,
            Answer::delivered(2),
            "{mode}"
        );
    }
    let mut elsewhere = checked;
    elsewhere["host"] = "127.0.0.1".into(); // the certificate is for the name
    for (more, wanted) in [(elsewhere, "certificate"), (json!({"tls": "disable"}), "28000")] {
        let destination = open(server.port(), more);
        let refusal = refusal(deliver(&*destination, &several(&*destination, "never", 2)).await);
        assert_eq!((refusal.failure.class, refusal.unknown), (Class::Unauthorized, false), "{refusal:?}");
        assert!(refusal.failure.detail.contains(wanted), "{refusal:?}");
    }
    assert_eq!(count(&server, "events").await, 6);
}
