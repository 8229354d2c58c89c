//! `send` against a collector that behaves badly first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::batch::{Batch, Item};
use super::client::{Client, Outcome};

type Script = fn(usize, &str) -> (StatusCode, Value);

async fn collector(script: Script) -> String {
    let turn = Arc::new(AtomicUsize::new(0));
    let handler = move |State(turn): State<Arc<AtomicUsize>>, body: String| async move {
        let (status, answer) = script(turn.fetch_add(1, Ordering::SeqCst), &body);
        (status, [("retry-after", "0")], Json(answer)).into_response()
    };
    let router = Router::new().route("/v1/events", post(handler)).with_state(turn);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn all(body: &str) -> (StatusCode, Value) {
    (StatusCode::OK, json!({"accepted": body.lines().count(), "refused": []}))
}

async fn deliver(url: &str, count: u64, give_up: Duration) -> Outcome {
    let items = (0..count).map(|n| Item { index: 100 + n, text: format!("{{\"n\":{n}}}") }).collect();
    let client = Client::new(url, Some("events"), give_up).unwrap();
    client.deliver(Batch { items, ..Batch::default() }).await
}

#[tokio::test]
async fn overload_is_waited_out_and_refusals_that_pass_are_repeated_alone() {
    let url = collector(|turn, body| match turn {
        0 => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
        1 => {
            let refused = json!([{"index": 1, "code": "throttled", "message": "slow"},
                                 {"index": 2, "code": "rejected", "message": "no"}]);
            (StatusCode::MULTI_STATUS, json!({"accepted": 1, "refused": refused}))
        }
        _ => {
            assert_eq!(body, "{\"n\":1}\n");
            all(body)
        }
    })
    .await;
    let outcome = deliver(&url, 3, Duration::from_secs(20)).await;
    assert!(outcome.gave_up.is_none());
    assert_eq!((outcome.verdicts.accepted, outcome.verdicts.retried), (2, 2));
    assert_eq!(outcome.verdicts.refused[0].index, 102);
}

#[tokio::test]
async fn what_is_too_large_is_halved() {
    let url = collector(|_, body| match body.lines().count() {
        0..=2 => all(body),
        _ => (StatusCode::PAYLOAD_TOO_LARGE, json!({})),
    })
    .await;
    assert_eq!(deliver(&url, 7, Duration::from_secs(5)).await.verdicts.accepted, 7);
}

#[tokio::test]
async fn giving_up_is_told() {
    let url = collector(|_, _| (StatusCode::SERVICE_UNAVAILABLE, json!({}))).await;
    let outcome = deliver(&url, 2, Duration::from_millis(300)).await;
    assert_eq!((outcome.verdicts.accepted, outcome.verdicts.refused.len()), (0, 2));
    assert!(outcome.gave_up.unwrap().detail.contains("gave up"));
    let missing = collector(|_, _| {
        let refused = json!([{"index": 0, "code": "unknown_stream", "message": "there is no stream `x`"}]);
        (StatusCode::NOT_FOUND, json!({"accepted": 0, "refused": refused}))
    })
    .await;
    let outcome = deliver(&missing, 1, Duration::from_secs(60)).await;
    assert_eq!(outcome.gave_up.unwrap().detail, "there is no stream `x`");
}

#[tokio::test]
async fn a_dead_collector_is_given_up() {
    let outcome = deliver("http://127.0.0.1:9", 1, Duration::from_millis(250)).await;
    assert!(outcome.gave_up.is_some() && outcome.verdicts.retried == 0 || outcome.verdicts.retried == 1);
}
