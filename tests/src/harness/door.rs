//! The collector's door, used directly: a body in, a status and verdicts out.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

/// The collector's answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether it says when to come back.
    pub retry_after: bool,
    /// `{accepted, refused}`; null when the body was no JSON.
    pub body: Value,
}

impl Answer {
    /// How many events were accepted.
    pub fn accepted(&self) -> u64 {
        self.body["accepted"].as_u64().unwrap_or(0)
    }

    /// The places of the events that were refused.
    pub fn refused(&self) -> BTreeSet<u64> {
        let refused = self.body["refused"].as_array().into_iter().flatten();
        refused.filter_map(|event| event["index"].as_u64()).collect()
    }

    /// The first refusal in words.
    pub fn message(&self) -> &str {
        self.body["refused"][0]["message"].as_str().unwrap_or_default()
    }
}

/// Posts bodies to the streams of one collector.
#[derive(Debug, Clone)]
pub struct Door {
    client: reqwest::Client,
    collector: String,
}

impl Door {
    /// The door of the collector at this URL.
    pub fn new(collector: &str) -> Result<Door, String> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build();
        Ok(Door { client: client.map_err(|error| error.to_string())?, collector: collector.to_owned() })
    }

    /// Posts one body.
    pub async fn post(&self, stream: &str, media: &str, body: Vec<u8>) -> Result<Answer, String> {
        let url = format!("{}/v1/events?stream={stream}", self.collector);
        let request = self.client.post(&url).header("content-type", media).body(body);
        let answer =
            request.send().await.map_err(|error| format!("the collector does not answer: {error:?}"))?;
        let (status, retry_after) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body = answer.json().await.unwrap_or(Value::Null);
        Ok(Answer { status, retry_after, body })
    }

    /// Posts one event a line.
    pub async fn lines(&self, stream: &str, lines: &[String]) -> Result<Answer, String> {
        self.post(stream, "application/x-ndjson", lines.join("\n").into_bytes()).await
    }
}
