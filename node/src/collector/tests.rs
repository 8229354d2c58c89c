//! The collector over a real socket, with a stream in memory behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use shardmill_connectors::Failure;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{NewRecord, Position};
use tokio::sync::Semaphore;

use super::{Door, Keys, Options, router};

#[derive(Default)]
struct Memory {
    records: Mutex<Vec<NewRecord>>,
    failure: Mutex<Option<Failure>>,
    next: AtomicU64,
    hold: Option<Arc<Semaphore>>,
}

#[async_trait]
impl Door for Memory {
    fn streams(&self) -> Vec<String> {
        vec!["web".into(), "events".into()]
    }

    fn key(&self, _stream: &str, event: &Object<'_>) -> Option<String> {
        Keys::key(&shardmill_connectors::fields::Fields::default(), event)
    }

    async fn put(
        &self,
        _stream: &str,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Result<Position, Failure>>, Failure> {
        if let Some(hold) = &self.hold {
            let _ = hold.acquire().await;
        }
        if let Some(failure) = self.failure.lock().unwrap().clone() {
            return Err(failure);
        }
        let put = |record: NewRecord| {
            if record.data.windows(6).any(|part| part == b"REFUSE") {
                return Err(Failure::rejected("too strange"));
            }
            self.records.lock().unwrap().push(record);
            Ok(Position { sequence: self.next.fetch_add(1, Ordering::SeqCst).into(), subsequence: 0 })
        };
        Ok(records.into_iter().map(put).collect())
    }
}

struct Collector {
    url: String,
    memory: Arc<Memory>,
}

async fn start_with(memory: Memory, options: Options) -> Collector {
    let memory = Arc::new(memory);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = router(memory.clone(), Options { default_stream: Some("events".into()), ..options });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Collector { url, memory }
}

async fn start() -> Collector {
    start_with(Memory::default(), Options::new(256 << 10, 4 << 20)).await
}

impl Collector {
    async fn post(&self, path: &str, media: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = Client::new().post(format!("{}{path}", self.url)).header("content-type", media);
        request.body(body).send().await.unwrap()
    }

    async fn json(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let response = self.post("/v1/events?stream=web", "application/json", body).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn stored(&self) -> Vec<String> {
        let records = self.memory.records.lock().unwrap();
        records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
    }

    fn fail(&self, failure: Failure) {
        *self.memory.failure.lock().unwrap() = Some(failure);
    }
}

#[tokio::test]
async fn events_are_stored_as_they_came() {
    let collector = start().await;
    let one = r#"{"a": 1.10, "big": 123456789012345678901234567890, "a": "\u0041"}"#;
    assert_eq!(collector.json(format!("  {one}\n")).await, (200, json!({"accepted": 1, "refused": []})));
    let (status, body) =
        collector.json(format!("[{one},\n {{\"userId\":\"u\"}}, 5, {{\"x\":\"REFUSE\"}}]")).await;
    assert_eq!((status, &body["accepted"]), (207, &json!(2)));
    assert_eq!(
        (&body["refused"][0]["index"], &body["refused"][0]["code"]),
        (&json!(2), &json!("not_an_object"))
    );
    assert_eq!((&body["refused"][1]["index"], &body["refused"][1]["code"]), (&json!(3), &json!("rejected")));
    assert_eq!(collector.stored(), [one, one, "{\"userId\":\"u\"}"]);
    let keys: Vec<_> = collector.memory.records.lock().unwrap().iter().map(|r| r.key.to_string()).collect();
    assert_eq!((keys[0].len(), keys[2].as_str()), (36, "u"));
}

#[tokio::test]
async fn lines_are_judged_one_by_one() {
    let collector = start().await;
    let body = b"{\"a\":1}\r\n\n{\"a\":\n \"x\"\n{\"b\":2}\n\xff\n".to_vec();
    let response = collector.post("/v1/events?stream=web", "application/x-ndjson; charset=utf-8", body).await;
    assert_eq!(response.status(), 207);
    let body: Value = response.json().await.unwrap();
    let indexes: Vec<_> =
        body["refused"].as_array().unwrap().iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert_eq!((&body["accepted"], indexes), (&json!(2), vec![1, 2, 4]));
    assert!(body["refused"][0]["message"].as_str().unwrap().contains("line 3 column"), "{body}");
    assert_eq!(collector.stored(), ["{\"a\":1}", "{\"b\":2}"]);
}

#[tokio::test]
async fn ugly_bodies_are_refused_and_the_collector_lives() {
    let collector = start().await;
    let deep = "[".repeat(100_000);
    let ugly: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"  \n\t ".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"a\":\"\xff\xfe\"}".to_vec(),
        b"\xef\xbb\xbf{\"a\":1}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        b"{\"a\":1} {\"b\":2}".to_vec(),
        b"{\"a\":1,}".to_vec(),
        b"{\"a\":01}".to_vec(),
        b"{\"a\":NaN}".to_vec(),
        b"{\"a\"".to_vec(),
        b"{\"\\ud800\":1}".to_vec(),
        b"[1,2,[3]]".to_vec(),
        b"{\"a\":\"\n\"}".to_vec(),
        b"\0".to_vec(),
        deep.clone().into_bytes(),
        format!("{{\"a\":{deep}").into_bytes(),
        format!("{deep}{}", "]".repeat(100_000)).into_bytes(),
    ];
    for body in ugly {
        let shown = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
        for media in ["application/json", "application/x-ndjson"] {
            if media.ends_with("ndjson") && (shown.contains("} {") || body.contains(&b'\n')) {
                continue;
            }
            let response = collector.post("/v1/events?stream=web", media, body.clone()).await;
            assert_eq!(response.status(), 400, "{media}: {shown}");
        }
        for path in ["/v1/track", "/v1/batch"] {
            let response = collector.post(path, "text/plain", body.clone()).await;
            assert_eq!(response.status(), 400, "{path}: {shown}");
        }
    }
    let surrogate = collector.json(r#"{"a":"\ud800"}"#).await;
    assert!([200, 400].contains(&surrogate.0));
    let (_, body) = collector.json("{\n  \"a\": tru }").await;
    let message = body["refused"][0]["message"].as_str().unwrap();
    assert!(message.contains("line 2 column"), "{message}");
    let (_, body) = collector.json(b"{\n\"a\":\"\xff\"}".to_vec()).await;
    assert!(body["refused"][0]["message"].as_str().unwrap().contains("line 2 column 6"), "{body}");
}

#[tokio::test]
async fn whole_requests_are_turned_away_with_their_status() {
    let collector = start().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(300 << 10));
    assert_eq!(collector.json(large.clone()).await.0, 413);
    let chunked = futures::stream::iter(
        large.into_bytes().chunks(9_000).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>(),
    );
    let unannounced = reqwest::Body::wrap_stream(chunked);
    assert_eq!(collector.json(unannounced).await.0, 413);
    assert_eq!(collector.post("/v1/events?stream=web", "text/csv", "{}").await.status(), 415);
    let unknown = collector.post("/v1/events?stream=nope", "application/json", "{}").await;
    assert_eq!(unknown.status(), 404);
    let body: Value = unknown.json().await.unwrap();
    assert!(body["refused"][0]["message"].as_str().unwrap().contains("events, web"), "{body}");
    collector.fail(Failure::throttled("slow down", Some(Duration::from_millis(2_500))));
    let response = collector.post("/v1/events?stream=web", "application/json", "{}").await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "3"));
    collector.fail(Failure::transient("the disk is full"));
    let response = collector.post("/v1/track", "application/json", "{}").await;
    assert!(response.headers().contains_key("retry-after") && response.status() == 503);
    assert!(response.text().await.unwrap().contains("the disk is full"));
}

#[tokio::test]
async fn gzip_is_unpacked_within_the_limit() {
    let collector = start().await;
    let pack = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    };
    let post = |body: Vec<u8>, encoding: &'static str| {
        let request = Client::new().post(format!("{}/v1/events?stream=web", collector.url));
        request
            .header("content-type", "application/json")
            .header("content-encoding", encoding)
            .body(body)
            .send()
    };
    assert_eq!(post(pack(b"{\"a\":1}"), "gzip").await.unwrap().status(), 200);
    assert_eq!(post(pack(&vec![b' '; 8 << 20]), "gzip").await.unwrap().status(), 413);
    assert_eq!(post(b"not gzip".to_vec(), "gzip").await.unwrap().status(), 400);
    assert_eq!(post(b"{}".to_vec(), "br").await.unwrap().status(), 415);
    assert_eq!(collector.stored(), ["{\"a\":1}"]);
}

#[tokio::test]
async fn overload_is_answered_at_once_and_room_comes_back() {
    let hold = Arc::new(Semaphore::new(0));
    let memory = Memory { hold: Some(hold.clone()), ..Memory::default() };
    let collector = Arc::new(start_with(memory, Options::new(1_000, 2_000)).await);
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(900));
    let first = tokio::spawn({
        let (collector, big) = (collector.clone(), big.clone());
        async move { collector.json(big).await.0 }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (status, body) = collector.json(big.clone()).await;
    assert_eq!((status, &body["refused"][0]["code"]), (429, &json!("overloaded")));
    hold.add_permits(100);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(collector.json(big).await.0, 200);
    let few = Options { in_flight: 0, ..Options::new(1_000, 2_000) };
    assert_eq!(start_with(Memory::default(), few).await.json("{}").await.0, 503);
}

#[tokio::test]
async fn segments_calls_and_batches() {
    let collector = start().await;
    let track =
        collector.post("/v1/t", "text/plain", r#"{"writeKey":"k","userId":"u","event":"Ping"}"#).await;
    assert_eq!(
        (track.status().as_u16(), track.json::<Value>().await.unwrap()),
        (200, json!({"success": true}))
    );
    let large = "x".repeat(33 << 10);
    let batch = json!({"writeKey": "abc123", "context": {"library": {"name": "acme"}}, "batch": [
        {"type": "identify", "userId": "u"}, {"type": "track", "event": large}, 7,
        {"type": "page", "anonymousId": "a", "context": {"locale": "en"}}]});
    let answer = collector.post("/v1/batch", "application/json", batch.to_string()).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["success"], &answer["accepted"]), (&json!(true), &json!(2)));
    let codes: Vec<_> =
        answer["refused"].as_array().unwrap().iter().map(|r| r["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["payload_too_large", "not_an_object"]);
    let stored = collector.stored();
    assert!(stored.iter().all(|event| !event.contains("abc123") && event.contains("receivedAt")));
    let page: Value = serde_json::from_str(&stored[2]).unwrap();
    assert_eq!(page["context"], json!({"library": {"name": "acme"}, "locale": "en"}));
    assert_eq!(
        collector.post("/v1/identify", "application/json", format!("{{\"a\":\"{large}\"}}")).await.status(),
        400
    );
    assert_eq!(collector.post("/v1/batch", "application/json", "{\"batch\":[]}").await.status(), 200);
}

#[tokio::test]
async fn browsers_and_traces() {
    let collector = start().await;
    let url = format!("{}/v1/track", collector.url);
    let preflight =
        Client::new().request(reqwest::Method::OPTIONS, &url).header("origin", "https://shop.example");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.example");
    assert!(answer.headers()["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for header in [trace, "nonsense"] {
        let request = Client::new().post(&url).header("traceparent", header).body("{}");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let records = collector.memory.records.lock().unwrap();
    assert_eq!((records[0].trace.as_deref(), records[1].trace.as_deref()), (Some(trace), None));
}
