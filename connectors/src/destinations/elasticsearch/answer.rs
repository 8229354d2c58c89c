//! What Elasticsearch says of each document: a good status says only that the request was read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::settings::Elasticsearch;
use crate::destinations::http::Response;
use crate::destinations::status::{self, Policy};
use crate::destinations::{Answer, Batch, Outcome, Refusal};
use crate::failure::Failure;

/// How long a cluster is left alone that takes nothing: its disks are full, and somebody must come.
const BLOCKED: Duration = Duration::from_secs(5 * 60);

/// Says that a document of this id is there.
const CONFLICT: &str = "version_conflict_engine_exception";

#[derive(Deserialize)]
struct Bulk {
    /// In the order of the request; each under what was to be done.
    items: Vec<BTreeMap<String, Document>>,
}

#[derive(Deserialize)]
struct Document {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl Document {
    fn kind(&self) -> &str {
        self.error["type"].as_str().unwrap_or_default()
    }

    fn told(&self) -> String {
        let text = |pointer| self.error.pointer(pointer).and_then(Value::as_str);
        let parts = [text("/type"), text("/reason"), text("/caused_by/reason")];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        match parts.as_slice() {
            [] => status::told(self.status),
            parts => parts.join(": "),
        }
    }
}

/// Judges an answer.
pub(super) fn judged(settings: &Elasticsearch, batch: Batch<'_>, response: &Response) -> Answer {
    if response.status == 404 {
        let detail = "answered 404 Not Found; create the index, or correct `url` or `index`, then resume";
        let refusal = Refusal { response: status::excerpt(response), ..Failure::unauthorized(detail).into() };
        return Answer::refused(batch.events.len(), &refusal);
    }
    status::answer(batch, response).unwrap_or_else(|| documents(settings, batch, response))
}

fn documents(settings: &Elasticsearch, batch: Batch<'_>, response: &Response) -> Answer {
    let sent = batch.events.len();
    if response.cut && sent > 1 {
        // The answer to fewer is shorter. Documents that were taken are found to be there.
        let failure = Failure::transient("the answer is too long to be read");
        return Answer::Split(Refusal { unknown: true, ..failure.into() });
    }
    let Ok(bulk) = serde_json::from_slice::<Bulk>(&response.body) else {
        return status::unreadable(batch, response, "does not say what became of the documents");
    };
    if bulk.items.len() != sent {
        let told = bulk.items.len();
        return status::unreadable(batch, response, &format!("tells of {told} documents; {sent} were sent"));
    }
    let mut outcomes = Vec::with_capacity(sent);
    for mut item in bulk.items {
        let Some(document) = item.remove(settings.op()) else {
            return status::unreadable(batch, response, "tells of something else than was to be done");
        };
        outcomes.push(outcome(settings, &document));
    }
    Answer::Each(outcomes)
}

/// Whether an argument is wrong that no document has brought.
fn blames_settings(told: &str) -> bool {
    ["op_type", "pipeline with id", "write index"].iter().any(|word| told.contains(word))
}

fn outcome(settings: &Elasticsearch, document: &Document) -> Outcome {
    let told = format!("Elasticsearch does not take the document: {}", document.told());
    let mut unknown = false;
    let failure = match (document.status, document.kind()) {
        (200 | 201, _) if document.error.is_null() => return Ok(()),
        (409, CONFLICT | "") if settings.creates => return Ok(()),
        (_, "cluster_block_exception") => {
            Failure::throttled(format!("{told}; look at the cluster's disks"), Some(BLOCKED))
        }
        (404, _) => Failure::unauthorized(format!("{told}; create the index, then resume")),
        (400, "illegal_argument_exception") if blames_settings(&told) => {
            Failure::unauthorized(format!("{told}; correct `op`, `pipeline` or `index`, then resume"))
        }
        // Full queues or memory of one shard: the other documents were taken.
        (429, _) => Failure::transient(told),
        (status, _) => match status::policy(status, false) {
            Policy::Taken => {
                unknown = true;
                Failure::transient(told)
            }
            Policy::Split => Failure::rejected(told),
            Policy::Refused(class) => Failure::new(class, told),
        },
    };
    let response = status::excerpt(&Response::new(document.status, document.error.to_string()));
    Err(Refusal { failure, response, unknown })
}
