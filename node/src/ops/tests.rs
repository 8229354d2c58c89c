//! The ops listener over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use shardmill_connectors::Failure;

use super::{Access, Admin, Health, Ops, router};
use crate::config::Secret;
use crate::telemetry;

struct Echo;

#[async_trait]
impl Admin for Echo {
    async fn request(&self, command: &str, arguments: Value) -> Result<Value, Failure> {
        match command {
            "nodes" => Err(Failure::transient("asking around")),
            _ => Ok(json!({"command": command, "arguments": arguments})),
        }
    }
}

async fn start(token: Option<&str>, address: &str) -> (String, Arc<Health>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let health = Arc::new(Health::default());
    let pretended: SocketAddr = address.parse().unwrap();
    let ops = Ops {
        admin: Arc::new(Echo),
        health: health.clone(),
        metrics: telemetry::metrics().unwrap(),
        access: Access::new(token.map(Secret::new), pretended),
    };
    tokio::spawn(async move { axum::serve(listener, router(ops)).await });
    (url, health)
}

async fn post(url: &str, token: Option<&str>, origin: Option<&str>) -> StatusCode {
    let mut request = Client::new().post(format!("{url}/api/compact")).json(&json!({"table": "events"}));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn health_readiness_metrics_dashboard() {
    let (url, health) = start(None, "127.0.0.1:1").await;
    let get = |path: &str| reqwest::get(format!("{url}{path}"));
    assert_eq!(get("/healthz").await.unwrap().status(), 200);
    assert_eq!(get("/readyz").await.unwrap().status(), 503);
    health.ready();
    assert_eq!(get("/readyz").await.unwrap().status(), 200);
    ::metrics::counter!("shardmill_test_total").increment(3);
    assert!(get("/metrics").await.unwrap().text().await.unwrap().contains("shardmill_test_total 3"));
    let page = get("/").await.unwrap().text().await.unwrap();
    assert!(page.contains("shardmill") && !page.contains("http://") && !page.contains("https://"));
}

#[tokio::test]
async fn reads_are_forwarded_and_changes_cannot_be_read() {
    let (url, _) = start(Some("t"), "127.0.0.1:1").await;
    let answer: Value =
        reqwest::get(format!("{url}/api/dlq/list?class=rejected")).await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({"command": "dlq/list", "arguments": {"class": "rejected"}}));
    assert_eq!(reqwest::get(format!("{url}/api/compact")).await.unwrap().status(), 404);
    assert_eq!(reqwest::get(format!("{url}/api/nodes")).await.unwrap().status(), 503);
}

#[tokio::test]
async fn changes_need_the_token_or_loopback() {
    let (url, _) = start(Some("t"), "127.0.0.1:1").await;
    assert_eq!(post(&url, Some("t"), None).await, 200);
    assert_eq!(post(&url, Some("x"), None).await, 403);
    assert_eq!(post(&url, None, None).await, 401);
    let (url, _) = start(None, "127.0.0.1:1").await;
    assert_eq!(post(&url, None, None).await, 200);
    assert_eq!(post(&url, None, Some(&url)).await, 200);
    assert_eq!(post(&url, None, Some("http://evil.example")).await, 403);
    let plain = Client::new().post(format!("{url}/api/compact")).body("{}").send().await.unwrap();
    assert_eq!(plain.status(), 415);
    let (url, _) = start(None, "10.0.0.1:1").await;
    assert_eq!(post(&url, None, None).await, 403);
}
