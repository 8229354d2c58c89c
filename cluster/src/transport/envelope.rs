//! What a message looks like on its way: a versioned envelope, and an answer that says so when it cannot be answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shardmill_connectors::failure::{Class, Failure};

use super::Refusal;

/// The largest message, in bytes, that is sent: with what is put around it, it must fit a frame of 1 MiB.
pub(super) const LARGEST: usize = (1 << 20) - (16 << 10);

/// The kind of a heartbeat.
pub(super) const PING: &str = "ping";

/// Which versions of the protocol a node speaks. Within one version fields are only added, with defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// The version it writes.
    pub speaks: u32,
    /// The oldest version it still understands, the one before its own as a rule: so that nodes can be replaced one by one.
    pub understands: u32,
}

impl Protocol {
    /// What this build speaks.
    pub const OURS: Protocol = Protocol { speaks: 1, understands: 1 };

    /// Whether two nodes can talk to each other.
    pub fn fits(&self, other: &Protocol) -> bool {
        self.speaks >= other.understands && other.speaks >= self.understands
    }
}

/// A request or a notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Envelope {
    /// The version it is written in.
    pub(super) v: u32,
    /// The oldest version that can understand it.
    pub(super) min_v: u32,
    /// Names the request in the logs of both sides.
    pub(super) id: String,
    /// The trace it belongs to, as W3C writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
    /// What is asked.
    pub(super) kind: String,
    /// With what.
    #[serde(default)]
    pub(super) body: Value,
}

impl Envelope {
    /// Whether a node that speaks `ours` can tell what is meant.
    pub(super) fn is_understood(&self, ours: &Protocol) -> bool {
        self.min_v <= ours.speaks && self.v >= ours.understands
    }

    /// The bytes to send.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Failure> {
        let bytes = serde_json::to_vec(self).map_err(|error| {
            Failure::crashed(format!("`{}` cannot be written as JSON: {error}", self.kind))
        })?;
        match bytes.len() {
            length if length > LARGEST => {
                Err(Failure::rejected(format!("`{}` has {length} bytes: {LARGEST} can be sent", self.kind)))
            }
            _ => Ok(bytes),
        }
    }

    /// Reads what came.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes)
            .map_err(|error| Failure::rejected(format!("a message that is no envelope: {error}")))
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// This.
    Done(Value),
    /// Nothing: this side speaks version `v`, and that is no request it knows.
    Unsupported { v: u32 },
    /// A failure, of our own vocabulary.
    Failed {
        class: Class,
        detail: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        let retry_after_ms =
            failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        Answer::Failed { class: failure.class, detail: failure.detail, retry_after_ms }
    }
}

impl Answer {
    /// What a handler's outcome is called on the way.
    pub(super) fn of(outcome: Result<Value, Refusal>) -> Self {
        match outcome {
            Ok(value) => Answer::Done(value),
            Err(Refusal::Unsupported { v, .. }) => Answer::Unsupported { v },
            Err(Refusal::Failed(failure)) => failure.into(),
        }
    }

    /// What it means for whoever asked for `kind`.
    pub(super) fn outcome(self, kind: &str) -> Result<Value, Refusal> {
        match self {
            Answer::Done(value) => Ok(value),
            Answer::Unsupported { v } => Err(Refusal::Unsupported { kind: kind.to_owned(), v }),
            Answer::Failed { class, detail, retry_after_ms } => {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                Err(Refusal::Failed(Failure { class, retry_after, detail }))
            }
        }
    }

    /// The bytes to send; an answer that does not fit a frame becomes one that says so.
    pub(super) fn encode(&self) -> Vec<u8> {
        let told = |failure: Failure| serde_json::to_vec(&Answer::from(failure)).unwrap_or_default();
        match serde_json::to_vec(self) {
            Ok(bytes) if bytes.len() <= LARGEST => bytes,
            Ok(bytes) => {
                let length = bytes.len();
                told(Failure::rejected(format!("the answer has {length} bytes: {LARGEST} can be sent")))
            }
            Err(error) => told(Failure::crashed(format!("the answer cannot be written as JSON: {error}"))),
        }
    }

    /// Reads what came; what cannot be read is an outcome nobody knows.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes)
            .map_err(|error| Failure::transient(format!("an answer that cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_on_the_way_stays() {
        let envelope = Envelope {
            v: 1,
            min_v: 1,
            id: "7".into(),
            trace: None,
            kind: "nudge".into(),
            body: json!({"shard": "0"}),
        };
        let written = String::from_utf8(envelope.encode().unwrap()).unwrap();
        assert_eq!(written, r#"{"v":1,"min_v":1,"id":"7","kind":"nudge","body":{"shard":"0"}}"#);
        let newer = r#"{"v":3,"min_v":1,"id":"7","kind":"nudge","hue":"red"}"#;
        assert_eq!(Envelope::decode(newer.as_bytes()).unwrap().body, Value::Null, "added fields are ignored");
        for (answer, written) in [
            (Answer::Done(json!(1)), r#"{"done":1}"#),
            (Answer::Unsupported { v: 1 }, r#"{"unsupported":{"v":1}}"#),
            (Failure::fenced("x").into(), r#"{"failed":{"class":"fenced","detail":"x"}}"#),
        ] {
            assert_eq!(String::from_utf8(answer.encode()).unwrap(), written);
            assert_eq!(Answer::decode(written.as_bytes()).unwrap(), answer);
        }
    }

    #[test]
    fn what_does_not_fit_a_frame_is_told() {
        let body = json!("x".repeat(LARGEST));
        let envelope =
            Envelope { v: 1, min_v: 1, id: "7".into(), trace: None, kind: "k".into(), body: body.clone() };
        assert_eq!(envelope.encode().unwrap_err().class, Class::Rejected);
        let answer = Answer::decode(&Answer::Done(body).encode()).unwrap();
        assert!(matches!(answer, Answer::Failed { class: Class::Rejected, .. }), "{answer:?}");
    }

    #[test]
    fn neighbouring_versions_understand_each_other() {
        let [one, two, three] =
            [(1, 1), (2, 1), (3, 2)].map(|(speaks, understands)| Protocol { speaks, understands });
        assert!(one.fits(&two) && two.fits(&one) && two.fits(&three) && three.fits(&two));
        assert!(!one.fits(&three) && !three.fits(&one));
        let envelope = |v, min_v| Envelope {
            v,
            min_v,
            id: String::new(),
            trace: None,
            kind: String::new(),
            body: Value::Null,
        };
        assert!(envelope(3, 2).is_understood(&two) && !envelope(3, 3).is_understood(&two));
        assert!(!envelope(1, 1).is_understood(&three));
    }
}
