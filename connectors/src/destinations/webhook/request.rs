//! A batch as a webhook request.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use serde::Serialize;
use serde_json::value::RawValue;

use super::settings::{Format, Webhook};
use super::sign;
use crate::destinations::http::Request;
use crate::destinations::{Batch, Event, Refusal};
use crate::failure::Failure;

/// The request that delivers `batch`: an object where events go one by one, else an array.
pub(super) fn request(hook: &Webhook, batch: Batch<'_>) -> Result<Request, Refusal> {
    let id = sign::request_id(batch.events);
    let seconds = batch.at.0.div_euclid(1000);
    let body = body(hook, batch.events)?;
    let signatures = sign::signatures(&hook.keys, &id, seconds, &body);
    let mut request = Request::new(hook.method.clone(), &hook.endpoint).body(media(hook), body);
    for (name, value) in &hook.headers {
        request.headers.insert(name.clone(), value.clone());
    }
    if hook.format == Format::CloudEvents {
        request.headers.insert(CONTENT_TYPE, reqwest::header::HeaderValue::from_static(media(hook)));
    }
    request = request
        .header(HeaderName::from_static("webhook-id"), &id)?
        .header(HeaderName::from_static("webhook-timestamp"), &seconds.to_string())?;
    if !signatures.is_empty() {
        request = request.header(HeaderName::from_static("webhook-signature"), &signatures)?;
    }
    // What is signed is what the receiver reads: the body before compression, which proxies may undo on the way.
    let request = if hook.gzip { request.gzipped() } else { request };
    Ok(request.idempotent(id))
}

fn media(hook: &Webhook) -> &'static str {
    match (hook.format, hook.batch) {
        (Format::Json, _) => "application/json",
        (Format::CloudEvents, ..=1) => "application/cloudevents+json",
        (Format::CloudEvents, _) => "application/cloudevents-batch+json",
    }
}

fn body(hook: &Webhook, events: &[Event]) -> Result<Bytes, Refusal> {
    let written: Vec<Bytes> = match hook.format {
        Format::Json => events.iter().map(|event| event.data.clone()).collect(),
        Format::CloudEvents => events.iter().map(envelope).collect::<Result<_, _>>()?,
    };
    match written.as_slice() {
        [one] if hook.batch == 1 => Ok(one.clone()),
        several => {
            let mut body = vec![b'['];
            body.extend_from_slice(&several.join(&b','));
            body.push(b']');
            Ok(body.into())
        }
    }
}

/// CloudEvents 1.0, structured.
#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: &'a str,
    time: String,
    partitionkey: &'a str,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

fn envelope(event: &Event) -> Result<Bytes, Refusal> {
    let no_json =
        |error: serde_json::Error| Refusal::from(Failure::rejected(format!("the event is no JSON: {error}")));
    let envelope = Envelope {
        specversion: "1.0",
        id: &event.id,
        source: format!("shardmill/{}", event.origin.stream),
        r#type: event.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("event"),
        time: event.origin.arrived_at.to_string(),
        partitionkey: &event.key,
        datacontenttype: "application/json",
        data: serde_json::from_slice(&event.data).map_err(no_json)?,
    };
    serde_json::to_vec(&envelope).map(Bytes::from).map_err(no_json)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::{Value, json};

    use super::*;
    use crate::destinations::registry::Setup;
    use crate::destinations::sender::Sender;
    use crate::destinations::testing::{self, batch, event, events};

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn hook(settings: &Value, batch: Option<usize>) -> Webhook {
        let mut all = json!({"url": "https://hooks.example.net/hooks/events"});
        let map = all.as_object_mut().unwrap();
        map.extend(settings.as_object().unwrap().clone());
        let (settings, sender) = (map.clone(), Sender::new().unwrap());
        let setup = Setup { name: "hook".into(), settings, batch, base_dir: ".".into(), sender };
        super::super::settings::read(setup).unwrap()
    }

    fn text(request: &Request, header: &str) -> String {
        request.headers.get(header).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn one_event_signed() {
        let id = "0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01";
        let data = format!(r#"{{"type":"track","messageId":"{id}"}}"#);
        let request = request(&hook(&json!({"secret": KEY}), None), batch(&[event(id, &data)])).unwrap();
        assert_eq!((request.method.as_str(), request.body.as_ref()), ("POST", data.as_bytes()));
        assert_eq!(text(&request, "content-type"), "application/json");
        assert_eq!(text(&request, "webhook-id"), id);
        assert_eq!(text(&request, "webhook-timestamp"), "1773480420");
        let signature = "v1,SDhdbLkic1XbAISvptM22jNPtRXTCWBYOflCwe1WoTI=";
        assert_eq!(text(&request, "webhook-signature"), signature);
        assert_eq!(request.idempotency_key.as_deref(), Some(id));
    }

    #[test]
    fn without_a_secret_there_is_no_signature() {
        let request = request(&hook(&json!({}), None), batch(&events(1))).unwrap();
        assert!(!request.headers.contains_key("webhook-signature"));
        assert_eq!(text(&request, "webhook-id"), "id-0");
    }

    #[test]
    fn batches_are_arrays_and_keep_their_id() {
        let hook = hook(&json!({"secret": KEY}), Some(10));
        let all = events(3);
        let first = request(&hook, batch(&all)).unwrap();
        assert_eq!(first.body.as_ref(), br#"[{"n":0},{"n":1},{"n":2}]"#);
        let later = Batch { at: testing::AT.plus(60_000), ..batch(&all) };
        let second = request(&hook, later).unwrap();
        assert_eq!(text(&first, "webhook-id"), text(&second, "webhook-id"));
        for new in ["webhook-timestamp", "webhook-signature"] {
            assert_ne!(text(&first, new), text(&second, new), "{new} is that of the first attempt");
        }
        let one = request(&hook, batch(&all[..1])).unwrap();
        assert_eq!(one.body.as_ref(), br#"[{"n":0}]"#, "an array, however many there are");
        assert_eq!(text(&one, "webhook-id"), "id-0");
    }

    #[test]
    fn compressed_bodies_are_signed_as_they_were() {
        let (all, body) = (events(3), br#"[{"n":0},{"n":1},{"n":2}]"#);
        let plain = request(&hook(&json!({"secret": KEY}), Some(10)), batch(&all)).unwrap();
        let gzipped = request(&hook(&json!({"secret": KEY, "gzip": true}), Some(10)), batch(&all)).unwrap();
        assert_eq!(
            (text(&plain, "content-encoding"), text(&gzipped, "content-encoding").as_str()),
            (String::new(), "gzip")
        );
        assert_eq!(text(&gzipped, "content-type"), "application/json");
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(gzipped.body.as_ref()).read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), plain.body.as_ref()), (body.as_slice(), body.as_slice()));
        for same in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            assert_eq!(text(&gzipped, same), text(&plain, same), "{same}");
        }
        let again = request(&hook(&json!({"secret": KEY, "gzip": true}), Some(10)), batch(&all)).unwrap();
        assert_eq!(again.body, gzipped.body, "every attempt sends the same bytes");
        assert_eq!(gzipped.preview()["body"], plain.preview()["body"], "people see it as it was");
    }

    #[test]
    fn own_headers_win_where_they_may() {
        let settings = json!({"headers": {"content-type": "application/vnd.acme+json", "x-team": "a"}});
        let request = request(&hook(&settings, None), batch(&events(1))).unwrap();
        assert_eq!(text(&request, "content-type"), "application/vnd.acme+json");
        assert_eq!(text(&request, "x-team"), "a");
    }

    #[test]
    fn cloud_events() {
        let settings = json!({"format": "cloudevents"});
        let one = request(&hook(&settings, None), batch(&events(1))).unwrap();
        assert_eq!(text(&one, "content-type"), "application/cloudevents+json");
        let wanted = json!({
            "specversion": "1.0", "id": "id-0", "source": "shardmill/web", "type": "Order Completed",
            "time": "2026-03-14T09:26:53.589Z", "partitionkey": "u_48213",
            "datacontenttype": "application/json", "data": {"n": 0},
        });
        assert_eq!(serde_json::from_slice::<Value>(&one.body).unwrap(), wanted);
        let several = request(&hook(&settings, Some(5)), batch(&events(2))).unwrap();
        assert_eq!(text(&several, "content-type"), "application/cloudevents-batch+json");
        assert_eq!(serde_json::from_slice::<Value>(&several.body).unwrap()[0], wanted);
        let broken = request(&hook(&settings, None), batch(&[event("a", "{")])).unwrap_err();
        assert_eq!(broken.failure.class, crate::failure::Class::Rejected);
    }

    #[test]
    fn ids_that_fit_into_no_header_are_refused() {
        let refusal = request(&hook(&json!({}), None), batch(&[event("a\nb", "{}")])).unwrap_err();
        assert_eq!(refusal.failure.class, crate::failure::Class::Rejected);
    }
}
