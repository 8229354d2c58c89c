//! What the body of a message stands for.
//!
//! SQS takes the characters that XML 1.0 takes: tab, line feed, carriage return, and U+0020 to U+10FFFF without the
//! surrogates, U+FFFE and U+FFFF. A payload with any other is sent as `{"shardmill:form":"base64","payload":"…"}`, one that
//! is too large as `{"shardmill:form":"object","key":"queue/…"}`, and one that begins like these two as base64, too, so that
//! every payload comes back as it was.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// How a body begins that stands for something else.
const MARK: &str = "{\"shardmill:form\":";
/// What the names of objects that hold payloads begin with.
pub const FOLDER: &str = "queue/";

/// The body of a message that is not the payload itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "shardmill:form", rename_all = "snake_case", deny_unknown_fields)]
enum Stand {
    Base64 { payload: String },
    Object { key: String },
}

/// What a body turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The payload.
    Payload(String),
    /// The name of the object that holds the payload.
    Object(String),
}

/// The body that carries `payload` in the message itself, which may be longer than the payload.
pub fn inline(payload: &str) -> String {
    if payload.chars().all(is_taken) && !payload.starts_with(MARK) {
        return payload.to_owned();
    }
    text(&Stand::Base64 { payload: STANDARD.encode(payload) })
}

/// The body that points to an object.
pub fn pointer(key: &str) -> String {
    text(&Stand::Object { key: key.to_owned() })
}

/// What a received body stands for. What was not written by us is a payload, whatever it looks like.
pub fn read(body: String) -> Form {
    if !body.starts_with(MARK) {
        return Form::Payload(body);
    }
    match serde_json::from_str(&body) {
        // No other object is ever read, or removed, because a message says so.
        Ok(Stand::Object { key }) if key.starts_with(FOLDER) => Form::Object(key),
        Ok(Stand::Base64 { payload }) => {
            let bytes = STANDARD.decode(payload).ok();
            Form::Payload(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(body))
        }
        _ => Form::Payload(body),
    }
}

/// Whether SQS takes the character.
fn is_taken(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn text(stand: &Stand) -> String {
    // Two strings in a struct cannot fail to become JSON.
    serde_json::to_string(stand).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_sqs_takes_is_sent_as_it_is() {
        for payload in ["", "{}", "Zoë 🚀\n\t\"\r", "{\"shardmill\":1}", "\u{7f}\u{85}\u{fffd}"] {
            assert_eq!(inline(payload), payload);
        }
    }

    #[test]
    fn what_sqs_refuses_goes_as_base64() {
        for payload in ["\0", "a\u{b}b", "\u{1b}", "\u{fffe}", "\u{ffff}"] {
            let body = inline(payload);
            assert!(body.starts_with(MARK) && body.chars().all(is_taken), "{body}");
            assert_eq!(read(body), Form::Payload(payload.to_owned()));
        }
    }

    #[test]
    fn pointers_lead_to_our_folder_only() {
        assert_eq!(read(pointer("queue/x")), Form::Object("queue/x".to_owned()));
        for body in [pointer("tables/x"), "{\"shardmill:form\":\"new\"}".to_owned(), MARK.to_owned()] {
            assert_eq!(read(body.clone()), Form::Payload(body));
        }
        assert!(pointer("queue/x").starts_with(MARK), "{}", pointer("queue/x"));
    }

    proptest! {
        #[test]
        fn every_payload_comes_back(payload in any::<String>(), marked in any::<bool>()) {
            let payload = if marked { format!("{MARK}{payload}") } else { payload };
            let body = inline(&payload);
            prop_assert!(body.chars().all(is_taken));
            prop_assert_eq!(read(body), Form::Payload(payload));
        }
    }
}
