//! Notices that announce raw files: what S3, EventBridge and SNS write into a queue, and paths as people write them.
//!
//! Known forms (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>): the classic
//! message with `Records`, S3's test message, EventBridge's event, any of these as the text `Message` of an SNS notification;
//! and a bare `s3://bucket/key`, `file:///path` or absolute path. Only objects that were created count.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::ports::Place;
use crate::standardise::time::rfc3339;

/// Wrappers around wrappers that are opened, at most.
const WRAPPERS: usize = 3;

/// A file as a notice announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Where it is.
    pub place: Place,
    /// The ETag that the notice names, without quotes.
    pub etag: Option<String>,
    /// What orders the notices of one key.
    pub sequencer: Option<String>,
    /// The size that the notice names, in bytes.
    pub size: Option<u64>,
    /// When it was created, by the notice; when the notice was sent, if it does not say.
    pub at: Millis,
    /// How often it was announced again by a redrive.
    pub redrives: u32,
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notice {
    /// Files that were created.
    pub files: Vec<Announced>,
    /// What was not understood.
    pub problems: Vec<String>,
}

/// Reads a notice that was sent at `sent_at`.
pub fn read(body: &str, sent_at: Millis) -> Notice {
    let mut notice = Notice::default();
    if let Err(problem) = message(body.trim(), sent_at, WRAPPERS, &mut notice) {
        notice.problems.push(problem);
    }
    notice
}

fn message(body: &str, sent_at: Millis, wrappers: usize, notice: &mut Notice) -> Result<(), String> {
    if !body.starts_with('{') {
        notice.files.push(bare(body, sent_at)?);
        return Ok(());
    }
    let value: Value = serde_json::from_str(body).map_err(|error| format!("not JSON: {error}"))?;
    let is = |key: &str, wanted: &str| value.get(key).and_then(Value::as_str) == Some(wanted);
    if let Some(records) = value.get("Records").and_then(Value::as_array) {
        let redrives = value.pointer("/shardmill/redrives").and_then(Value::as_u64).unwrap_or(0);
        for (index, record) in records.iter().enumerate() {
            match classic(record, sent_at) {
                Ok(file) => {
                    notice.files.extend(file.map(|file| Announced {
                        redrives: u32::try_from(redrives).unwrap_or(u32::MAX),
                        ..file
                    }))
                }
                Err(problem) => notice.problems.push(format!("record {index}: {problem}")),
            }
        }
        Ok(())
    } else if is("Event", "s3:TestEvent") {
        Ok(())
    } else if is("source", "aws.s3") {
        notice.files.extend(event_bridge(value, sent_at)?);
        Ok(())
    } else if is("Type", "Notification") && wrappers > 0 {
        let inner = value.get("Message").and_then(Value::as_str);
        let inner = inner.ok_or("an SNS notification without the text `Message`")?;
        message(inner.trim(), sent_at, wrappers - 1, notice)
    } else {
        Err("neither S3's, EventBridge's nor SNS' form of a notice".into())
    }
}

/// A notice in the classic form.
pub fn write(file: &Announced) -> String {
    let object = json!({
        "key": form_encoded(&file.place.key), "size": file.size, "eTag": file.etag,
        "versionId": file.place.version, "sequencer": file.sequencer,
    });
    let record = json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "eventTime": file.at.to_string(), "s3": {"bucket": {"name": file.place.bucket}, "object": object},
    });
    let mut notice = json!({"Records": [record]});
    if file.redrives > 0 {
        notice["shardmill"] = json!({"redrives": file.redrives});
    }
    notice.to_string()
}

/// One of the `Records` of a classic message; `None` when it tells of something else than a new object.
fn classic(record: &Value, sent_at: Millis) -> Result<Option<Announced>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Record {
        #[serde(default)]
        event_version: Option<String>,
        event_name: String,
        #[serde(default)]
        event_time: Option<String>,
        s3: S3,
    }
    #[derive(Deserialize)]
    struct S3 {
        bucket: Bucket,
        object: Object,
    }
    let record = Record::deserialize(record).map_err(|error| error.to_string())?;
    let version = record.event_version.as_deref().unwrap_or("2.1");
    if version.split('.').next() != Some("2") {
        return Err(format!("the version {version} of S3's notices is not known"));
    }
    let name = record.event_name.strip_prefix("s3:").unwrap_or(&record.event_name);
    if !name.starts_with("ObjectCreated:") {
        return Ok(None);
    }
    let key = form_decoded(&record.s3.object.key)?;
    let at = record.event_time.as_deref();
    announced(record.s3.bucket, Object { key, ..record.s3.object }, moment(at, sent_at)?).map(Some)
}

/// EventBridge's event, whose key is not encoded.
fn event_bridge(event: Value, sent_at: Millis) -> Result<Option<Announced>, String> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "detail-type")]
        detail_type: String,
        #[serde(default)]
        time: Option<String>,
        detail: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        bucket: Bucket,
        object: Object,
    }
    if event.get("detail-type").and_then(Value::as_str).is_some_and(|kind| kind != "Object Created") {
        return Ok(None);
    }
    let event = Event::deserialize(event).map_err(|error| error.to_string())?;
    if event.detail_type != "Object Created" {
        return Ok(None);
    }
    announced(event.detail.bucket, event.detail.object, moment(event.time.as_deref(), sent_at)?).map(Some)
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "eTag", alias = "etag", alias = "ETag")]
    etag: Option<String>,
    #[serde(default, rename = "versionId", alias = "version-id")]
    version: Option<String>,
    #[serde(default)]
    sequencer: Option<String>,
}

fn announced(bucket: Bucket, object: Object, at: Millis) -> Result<Announced, String> {
    if object.key.is_empty() || (bucket.name.is_empty() && !object.key.starts_with('/')) {
        return Err("a bucket or a key without a name".into());
    }
    let some = |text: Option<String>| {
        text.map(|text| text.trim_matches('"').to_owned()).filter(|text| !text.is_empty() && text != "null")
    };
    Ok(Announced {
        place: Place { bucket: bucket.name, key: object.key, version: some(object.version) },
        etag: some(object.etag),
        sequencer: some(object.sequencer),
        size: object.size,
        at,
        redrives: 0,
    })
}

fn moment(text: Option<&str>, sent_at: Millis) -> Result<Millis, String> {
    let Some(text) = text else { return Ok(sent_at) };
    let micros = rfc3339(text).ok_or_else(|| format!("`{text}` is not a time"))?;
    Ok(Millis(micros.div_euclid(1000)))
}

/// `s3://bucket/key`, `file:///path` or an absolute path.
fn bare(text: &str, at: Millis) -> Result<Announced, String> {
    let (bucket, key) = match text.strip_prefix("s3://") {
        Some(rest) => rest.split_once('/').unwrap_or_default(),
        None => ("", text.strip_prefix("file://").unwrap_or(text)),
    };
    let named = if bucket.is_empty() { key.starts_with('/') } else { !key.is_empty() };
    if !named || text.contains(['\n', '\r', '\0']) {
        return Err("neither JSON nor s3://bucket/key nor an absolute path".into());
    }
    let place = Place { bucket: bucket.to_owned(), key: key.to_owned(), version: None };
    Ok(Announced { place, etag: None, sequencer: None, size: None, at, redrives: 0 })
}

fn form_encoded(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

/// A key as forms encode it: `+` is a space, `%XX` a byte, the bytes are UTF-8.
fn form_decoded(key: &str) -> Result<String, String> {
    let wrong = || format!("the key `{key}` is not encoded as in a form");
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or_else(wrong)?);
                rest = &rest[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Millis = Millis(1_795_000_000_000);

    fn one(body: &Value) -> Announced {
        let notice = read(&body.to_string(), SENT);
        assert!(notice.problems.is_empty() && notice.files.len() == 1, "{notice:?}");
        notice.files.into_iter().next().unwrap()
    }

    fn record(name: &str, key: &str) -> Value {
        json!({"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1",
            "eventTime": "2026-03-14T09:30:00.000Z", "eventName": name,
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "acme-events"}, "object": {"key": key, "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "0055AED6DCD90281E5"}}})
    }

    #[test]
    fn a_classic_notice_names_decoded_keys() {
        let key = "in/2026-03-14/gr%C3%BC%C3%9Fe+an+alle%2B1.json.gz";
        let file = one(&json!({"Records": [record("ObjectCreated:Put", key)]}));
        assert_eq!(file.place.key, "in/2026-03-14/grüße an alle+1.json.gz");
        assert_eq!(file.place.url(), "s3://acme-events/in/2026-03-14/grüße an alle+1.json.gz");
        assert_eq!((file.size, file.at.to_string()), (Some(1024), "2026-03-14T09:30:00.000Z".into()));
        assert_eq!(file.etag.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(one(&json!({"Records": [record("s3:ObjectCreated:Copy", "a%2Fb")]})).place.key, "a/b");
    }

    #[test]
    fn several_records_each_get_their_verdict() {
        let body = json!({"Records": [record("ObjectCreated:Put", "a"), record("ObjectRemoved:Delete", "b"),
            record("ObjectCreated:CompleteMultipartUpload", "%zz"), {"eventName": "ObjectCreated:Put"},
            record("ObjectCreated:Post", "c")]});
        let notice = read(&body.to_string(), SENT);
        let keys: Vec<&str> = notice.files.iter().map(|file| file.place.key.as_str()).collect();
        assert_eq!((keys, notice.problems.len()), (vec!["a", "c"], 2), "{notice:?}");
    }

    #[test]
    fn wrappers_are_opened_and_test_messages_ignored() {
        let classic = json!({"Records": [record("ObjectCreated:Put", "a+b")]});
        let sns = json!({"Type": "Notification", "MessageId": "x", "Message": classic.to_string()});
        assert_eq!(one(&sns).place.key, "a b");
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"});
        assert_eq!(read(&test.to_string(), SENT), Notice::default());
        let wrapped = json!({"Type": "Notification", "Message": test.to_string()});
        assert_eq!(read(&wrapped.to_string(), SENT), Notice::default());
    }

    #[test]
    fn what_is_announced_again_is_read_as_it_was() {
        for (bucket, key, redrives) in [("b", "in/grüße an+alle%1.gz", 3), ("", "/data/a b.json", 0)] {
            let file = Announced {
                place: Place { bucket: bucket.into(), key: key.into(), version: Some("v".into()) },
                etag: None,
                sequencer: Some("00".into()),
                size: Some(7),
                at: Millis(1_795_000_000_123),
                redrives,
            };
            assert_eq!(read(&write(&file), SENT), Notice { files: vec![file], problems: vec![] });
        }
    }

    #[test]
    fn event_bridge_does_not_encode_keys() {
        let event = |kind: &str| {
            json!({"version": "0", "id": "i", "detail-type": kind, "source": "aws.s3", "time": "2026-03-14T09:30:00Z",
            "detail": {"version": "0", "bucket": {"name": "b"}, "object": {"key": "a+b%20c", "size": 7, "etag": "e",
                "version-id": "v1", "sequencer": "00"}, "reason": "PutObject"}})
        };
        let file = one(&event("Object Created"));
        assert_eq!((file.place.key.as_str(), file.place.version.as_deref()), ("a+b%20c", Some("v1")));
        assert_eq!((file.etag.as_deref(), file.size), (Some("e"), Some(7)));
        assert_eq!(read(&event("Object Deleted").to_string(), SENT), Notice::default());
    }

    #[test]
    fn paths_are_announced_as_they_are() {
        let place = |text: &str| read(text, SENT).files.into_iter().next().map(|file| file.place.url());
        assert_eq!(place("file:///data/a b.json\n").as_deref(), Some("file:///data/a b.json"));
        assert_eq!(place("/data/a.json").as_deref(), Some("file:///data/a.json"));
        assert_eq!(place("s3://b/k+1.gz").as_deref(), Some("s3://b/k+1.gz"));
        for wrong in ["", "hello", "s3://b", "s3:///k", "{", "[]", "{\"a\":1}", "data/a.json"] {
            let notice = read(wrong, SENT);
            assert!(notice.files.is_empty() && notice.problems.len() == 1, "{wrong}");
        }
    }
}
