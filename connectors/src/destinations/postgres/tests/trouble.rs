//! What errors mean, and connections that do not come about.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{open, shaped};
use crate::destinations::postgres::answer::{Meaning, meaning};
use crate::destinations::testing::batch;
use crate::destinations::testing::receiver::Closed;
use crate::destinations::{Answer, Destination, Refusal};
use crate::failure::Class;

#[test]
fn every_state_has_its_meaning() {
    for state in [
        "08000",
        "08003",
        "08006",
        "08P01",
        "25006",
        "25P02",
        "25P03",
        "26000",
        "40001",
        "40P01",
        "42P05",
        "53000",
        "53100",
        "53200",
        "53300",
        "55006",
        "55P03",
        "57014",
        "57P01",
        "57P02",
        "57P03",
        "57P05",
        "58030",
        "XX000",
        "",
        "5",
        "what is this",
    ] {
        assert_eq!(meaning(state), Meaning::Later, "{state}");
    }
    for state in
        ["28000", "28P01", "3D000", "3F000", "42501", "42601", "42703", "42704", "42P01", "42P10", "0A000"]
    {
        assert!(
            matches!(meaning(state), Meaning::Stop(remedy) if remedy.ends_with("then resume")),
            "{state}"
        );
    }
    for state in [
        "22001", "22003", "22007", "22021", "22P02", "22P05", "23502", "23503", "23505", "23514", "44000",
        "54000", "P0001",
    ] {
        assert_eq!(meaning(state), Meaning::Rows, "{state}");
    }
}

/// The one refusal that all events of a batch met.
async fn refused(destination: &dyn Destination) -> Refusal {
    let events = [shaped(destination, "id-0", "{}"), shaped(destination, "id-1", "{}")];
    let Answer::Each(mut outcomes) = destination.deliver(batch(&events)).await else { panic!("split") };
    assert_eq!((outcomes.len(), &outcomes[0]), (2, &outcomes[1]));
    outcomes.remove(0).unwrap_err()
}

#[tokio::test]
async fn without_a_connection_nothing_was_taken() {
    let closed = Closed::port();
    let refusal = refused(&*open(json!({ "port": closed.address().port() }))).await;
    assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false), "{refusal:?}");
    assert!(refusal.failure.detail.starts_with("no connection: "), "{refusal:?}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = open(json!({"port": silent.local_addr().unwrap().port(), "timeout": "200ms"}));
    let refusal = refused(&*destination).await;
    assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false), "{refusal:?}");
    assert_eq!(
        refusal.failure.detail,
        format!("no connection: no answer within {:?}", Duration::from_millis(200))
    );
    let failure = destination.probe().await.unwrap_err();
    assert_eq!(failure.class, Class::Transient, "{failure}");
}

#[tokio::test]
async fn who_wants_tls_takes_nothing_less() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        stream.read_exact(&mut asked).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        let mut more = Vec::new();
        stream.read_to_end(&mut more).await.unwrap();
        (asked, more)
    });
    let refusal = refused(&*open(json!({"port": port, "tls": "require"}))).await;
    assert_eq!((refusal.failure.class, refusal.unknown), (Class::Unauthorized, false), "{refusal:?}");
    assert!(refusal.failure.detail.contains("let the server speak TLS"), "{refusal:?}");
    let (asked, more) = server.await.unwrap();
    assert_eq!((asked, more), ([0, 0, 0, 8, 4, 210, 22, 47], Vec::new()), "it went on without TLS");
}
