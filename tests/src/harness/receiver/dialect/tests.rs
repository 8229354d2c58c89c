//! Each dialect is understood in its own form and in no other, and answered in it. That these are the forms our connectors speak is
//! tested where they are put together, by the proof `storm`.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::super::faults::Reply;
use super::*;

/// A request of each vendor with the events `k7-3` and `k8-0`.
fn requests() -> Vec<(Dialect, Request)> {
    let form = |dialect, path: &str, item: fn(&str, &str, u64) -> Value, body: fn(Vec<Value>) -> String| {
        let two = [("k7-3", "k7", 3), ("k8-0", "k8", 0)];
        let items = two.iter().map(|(id, key, number)| item(id, key, *number)).collect();
        (dialect, Request { path: path.into(), body: body(items).into(), ..Request::default() })
    };
    vec![
        form(
            Dialect::Amplitude,
            "/2/httpapi",
            |id, key, n| json!({"insert_id": id, "user_id": key, "event_properties": properties(n)}),
            |items| json!({"api_key": "a", "events": items}).to_string(),
        ),
        form(
            Dialect::Customerio,
            "/api/v2/batch",
            |id, key, number| {
                let attributes = json!({"messageId": id, "number": number, "sentMs": 41 + number});
                json!({"identifiers": {"id": key}, "id": "01J", "attributes": attributes})
            },
            |items| json!({"batch": items}).to_string(),
        ),
        form(
            Dialect::Elasticsearch,
            "/events/_bulk?pipeline=p",
            |id, key, n| json!([{"create": {"_id": id}}, {"user_id": key, "properties": properties(n)}]),
            |items| items.iter().map(|pair| format!("{}\n{}\n", pair[0], pair[1])).collect(),
        ),
        form(
            Dialect::Hubspot,
            "/events/v3/send/batch",
            |id, key, number| {
                let texts = json!({"number": number.to_string(), "sent_ms": (41 + number).to_string()});
                json!({"uuid": id, "email": format!("{key}@example.com"), "properties": texts})
            },
            |items| json!({"inputs": items}).to_string(),
        ),
        form(
            Dialect::Mixpanel,
            "/import?strict=1",
            |id, key, number| {
                let more =
                    json!({"$insert_id": id, "distinct_id": key, "number": number, "sentMs": 41 + number});
                json!({"event": "Tested", "properties": more})
            },
            |items| json!(items).to_string(),
        ),
        form(
            Dialect::Segment,
            "/v1/batch",
            |id, key, number| json!({"messageId": id, "userId": key, "properties": properties(number)}),
            |items| json!({"batch": items}).to_string(),
        ),
    ]
}

fn properties(number: u64) -> Value {
    json!({"number": number, "sentMs": 41 + number})
}

fn request(path: &str, body: &str) -> Request {
    Request { path: path.into(), body: body.into(), ..Request::default() }
}

fn gzipped(request: &Request) -> Request {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&request.body).unwrap();
    Request { path: request.path.clone(), body: encoder.finish().unwrap(), gzip: true, ..Request::default() }
}

#[test]
fn events_are_found_in_each_form_compressed_or_not() {
    for (dialect, plain) in requests() {
        for request in [gzipped(&plain), plain] {
            let events = dialect.events(&request);
            let read: Vec<(&str, &str, u64, Millis)> = events
                .iter()
                .map(|event| (event.id.as_str(), event.key.as_str(), event.number, event.sent))
                .collect();
            assert_eq!(read, [("k7-3", "k7", 3, Millis(44)), ("k8-0", "k8", 0, Millis(41))], "{dialect:?}");
        }
    }
}

#[test]
fn what_is_of_another_form_or_address_has_no_events() {
    for (dialect, request) in requests() {
        for (other, of_other) in requests().into_iter().filter(|(other, _)| *other != dialect) {
            assert!(dialect.events(&of_other).is_empty(), "{dialect:?} understands {other:?}");
        }
        let whole = String::from_utf8(request.body.clone()).unwrap();
        for body in [&whole[..whole.len() - 1], &whole.replacen("number", "numbre", 1), "[]", "{}", "", "\n"]
        {
            let request = Request { path: request.path.clone(), body: body.into(), ..Request::default() };
            assert!(dialect.events(&request).is_empty(), "{dialect:?}: {body}");
        }
        let elsewhere = Request { path: "/elsewhere".into(), body: request.body, ..Request::default() };
        assert!(dialect.events(&elsewhere).is_empty(), "{dialect:?}");
    }
    let garbled = Request { path: "/import".into(), body: b"[]".to_vec(), gzip: true, ..Request::default() };
    assert!(Dialect::Mixpanel.events(&garbled).is_empty());
}

#[test]
fn only_hubspot_hands_out_tokens_and_only_for_refresh_tokens() {
    let asked = |path: &str, body: &str| request(path, body);
    let right = asked(TOKENS, "grant_type=refresh_token&client_id=c&refresh_token=r");
    assert!(Dialect::Hubspot.asks_for_token(&right));
    assert!(!Dialect::Segment.asks_for_token(&right));
    assert!(!Dialect::Hubspot.asks_for_token(&asked(TOKENS, "grant_type=password")));
    assert!(!Dialect::Hubspot.asks_for_token(&asked("/events/v3/send/batch", "grant_type=refresh_token")));
    let said = said(Dialect::Hubspot, Reply::Granted, &[], "access-2");
    let granted: Value = serde_json::from_str(&said.body).unwrap();
    assert_eq!((said.status, &granted["access_token"]), (200, &json!("access-2")));
}

#[test]
fn refusals_of_a_whole_request_have_their_status_in_every_dialect() {
    for (dialect, request) in requests() {
        let events = dialect.events(&request);
        for (reply, status, wait) in [
            (Reply::Throttled1s, 429, Some(1)),
            (Reply::Unavailable, 503, None),
            (Reply::Unauthorized, 401, None),
            (Reply::Malformed, 400, None),
        ] {
            let fates: Vec<(&Payload, Reply)> = events.iter().map(|event| (event, reply)).collect();
            let said = said(dialect, reply, &fates, "");
            assert_eq!((said.status, said.retry_after), (status, wait), "{dialect:?} {reply:?}");
        }
    }
}

#[test]
fn elasticsearch_says_of_each_document_what_became_of_it() {
    let (_, request) =
        requests().into_iter().find(|(dialect, _)| *dialect == Dialect::Elasticsearch).unwrap();
    let events = Dialect::Elasticsearch.events(&request);
    let fates =
        [(&events[0], Reply::BadRequest), (&events[1], Reply::Throttled), (&events[1], Reply::Accepted)];
    let body = |fates: &[(&Payload, Reply)]| -> Value {
        let said = said(Dialect::Elasticsearch, Reply::Accepted, fates, "");
        assert_eq!(said.status, 200);
        serde_json::from_str(&said.body).unwrap()
    };
    let told = body(&fates);
    let statuses: Vec<&Value> =
        told["items"].as_array().unwrap().iter().map(|item| &item["create"]["status"]).collect();
    assert_eq!((statuses, &told["errors"]), (vec![&json!(400), &json!(429), &json!(201)], &json!(true)));
    assert_eq!(told["items"][0]["create"]["_id"], "k7-3");
    assert_eq!(told["items"][0]["create"]["error"]["type"], "mapper_parsing_exception");
    assert_eq!(body(&fates[2..])["errors"], false);
}
