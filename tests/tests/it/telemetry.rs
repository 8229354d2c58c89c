//! Traces from the collector to the compactor, as a receiver of OTLP/HTTP gets them; metrics, health.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use shardmill_actors::telemetry::{METRICS, SPANS};
use shardmill_tests::harness::{Node, Setup, client};

use crate::support::until;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

type Spans = Arc<Mutex<Vec<Span>>>;

/// A receiver of traces, at the path that belongs to them and nowhere else.
async fn receiver() -> (String, Spans) {
    async fn take(State(spans): State<Spans>, body: Bytes) -> &'static str {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        ""
    }
    let spans = Spans::default();
    let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

async fn send(node: &Node, events: &str, trace: Option<&str>) {
    let url = format!("{}/v1/events?stream=events", node.collector);
    let mut request = reqwest::Client::new().post(url).header("content-type", "application/x-ndjson");
    if let Some(trace) = trace {
        request = request.header("traceparent", format!("00-{trace}-{CALLER}-01"));
    }
    assert_eq!(request.body(events.to_owned()).send().await.unwrap().status(), 200);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_collector_to_the_lake() {
    let (url, received) = receiver().await;
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(&folder.path().join("data"), None).env(ENDPOINT, &url);
    let node = Node::start(&setup).await.unwrap();
    send(
        &node,
        "{\"event\":\"Traced\",\"userId\":\"u\"}\n{\"event\":\"Broken\",\"properties\":1}\n",
        Some(TRACE),
    )
    .await;
    node.drained(2, Duration::from_secs(30)).await.unwrap();
    node.tell("compact", &json!({})).await.unwrap();
    metrics_and_health(&node).await;
    // A node that stops leaves what it has not yet delivered to the next.
    until(&node, "destinations", |all| all[0]["delivered"].as_u64() > Some(0)).await;
    node.stop().await.unwrap();
    let dir = setup.data_dir.display().to_string();
    let redrive = ["dlq", "redrive", "--data-dir", &dir, "--json"];
    assert_eq!(client::run_with(&redrive, &[(ENDPOINT, &url)]).await.unwrap().json().unwrap()["selected"], 1);

    let spans = received.lock().unwrap().clone();
    for span in &spans {
        assert!(SPANS.contains(&span.name.as_str()), "`{}` is in no list", span.name);
    }
    for name in SPANS {
        assert!(!named(&spans, name).is_empty(), "no `{name}` among {}", spans.len());
    }
    let collect = named(&spans, "collect")[0];
    assert_eq!((hex(&collect.trace_id).as_str(), hex(&collect.parent_span_id).as_str()), (TRACE, CALLER));
    // Later spans are of other traces, and say whose records they worked on: the collector's own span.
    for name in ["read", "standardise", "commit"] {
        let linked = |span: &&Span| {
            hex(&span.trace_id) != TRACE
                && span
                    .links
                    .iter()
                    .any(|link| hex(&link.trace_id) == TRACE && link.span_id == collect.span_id)
        };
        assert!(named(&spans, name).iter().any(linked), "no `{name}` is linked to the trace");
    }
    let brought = |span: &&Span| span.attributes.iter().any(|attribute| attribute.key == "records");
    assert!(named(&spans, "read").iter().all(brought));
}

/// Every metric of the list has its head; those of what has just happened have samples.
async fn metrics_and_health(node: &Node) {
    let get = async |path: &str| reqwest::get(format!("{}{path}", node.ops)).await.unwrap();
    assert_eq!(get("/healthz").await.status(), 200);
    assert_eq!(get("/readyz").await.status(), 200);
    let page = get("/metrics").await.text().await.unwrap();
    for (name, _, meaning) in METRICS {
        assert_eq!(page.matches(&format!("# HELP {name} {meaning}\n")).count(), 1, "{name} in {page}");
    }
    for sample in [
        "shardmill_collect_requests_total{door=\"events\",status=\"200\"} 1",
        "shardmill_collect_events_accepted_total{stream=\"events\"} 2",
        "shardmill_rows_committed_total{table=\"events\"} 1",
        "shardmill_dead_letters_total{table=\"events\"} 1",
        "shardmill_generations_total{table=\"events\"} 1",
        "shardmill_records_read_total{stream=\"events\"} 2",
        "shardmill_budget_used_bytes{budget=\"builders\"}",
        "shardmill_lag_ms ",
    ] {
        assert!(page.contains(sample), "`{sample}` in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_traces_has_a_bounded_number_of_links() {
    let (url, received) = receiver().await;
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(&folder.path().join("data"), None).env(ENDPOINT, &url);
    let node = Node::start(&setup).await.unwrap();
    // One key, so one shard; one commit at the end.
    let sends =
        (1..=50u32).map(|trace| {
            let node = &node;
            async move {
                send(node, "{\"event\":\"Many\",\"userId\":\"u\"}", Some(&format!("{trace:032x}"))).await
            }
        });
    futures::future::join_all(sends).await;
    node.drained(50, Duration::from_secs(30)).await.unwrap();
    node.stop().await.unwrap();
    let spans = received.lock().unwrap().clone();
    let links = |name| named(&spans, name).iter().map(|span| span.links.len()).max().unwrap_or(0);
    assert_eq!(named(&spans, "collect").len(), 50);
    assert!(links("standardise") <= 32 && links("commit") <= 32);
    assert!(links("commit") > 1, "several traces in one commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_or_makes_no_sense_disturbs_nobody() {
    // Port 9 answers nobody; the other is no URL at all.
    for endpoint in ["http://127.0.0.1:9", "no url: at all"] {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(&folder.path().join("data"), None).env(ENDPOINT, endpoint);
        let node = Node::start(&setup).await.unwrap();
        send(&node, "{\"event\":\"Untold\",\"userId\":\"u\"}", None).await;
        node.drained(1, Duration::from_secs(30)).await.unwrap();
        node.stop().await.unwrap();
    }
}
