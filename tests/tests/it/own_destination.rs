//! The README's example: a destination of one's own in five steps, run by the conformance suite.
//!
//! The third party is a notice board that takes lists of notes and answers which it did not take.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde_json::json;
use shardmill_connectors::destinations::endpoint::Endpoint;
use shardmill_connectors::destinations::event::{Item, Shape, Tracked};
use shardmill_connectors::destinations::hide::Secret;
use shardmill_connectors::destinations::http::{HttpConnector, Request, Response, json_object};
use shardmill_connectors::destinations::registry::{Kind, Setup};
use shardmill_connectors::destinations::settings::{Known, SettingProblem, Settings};
use shardmill_connectors::destinations::{Answer, Batch, Event, Limits, Refusal, status};
use shardmill_connectors::failure::Failure;
use shardmill_tests::conformance::destinations::{SECRET, Subject, http};
use shardmill_tests::conformance::receiver::Reply;

// Step 1: what it may be told.
#[derive(Debug)]
struct Board {
    endpoint: Endpoint,
    key: Secret,
}

const SETTINGS: &[Known] = &[
    Known::new("endpoint", "the board's", "where notes are posted to"),
    Known::required("key", "the board's key"),
];

impl HttpConnector for Board {
    const SETTINGS: &'static [Known] = SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        let mut settings = Settings::new(setup.settings, SETTINGS);
        let endpoint = Endpoint::read(&mut settings, "endpoint", Some("https://board.example.com/v1/notes"));
        let key = settings.required("key", "${BOARD_KEY}").map(Secret::new);
        let problems = settings.finish();
        match (endpoint, key) {
            (Some(endpoint), Some(key)) if problems.is_empty() => Ok(Board { endpoint, key }),
            _ => Err(problems),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 20,
            bytes: 256 << 10,
            linger: Duration::from_secs(1),
            concurrency: 4,
            keys_share_batches: false, // it may refuse a note in the middle
        }
    }

    // Step 2: an event becomes a note, a batch becomes a request.
    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        Ok(Some(Shape::json(&json!({ "id": event.id, "text": tracked.whole() }))))
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        Request::new(Method::POST, &self.endpoint)
            .body("application/json", json_object("notes", batch))
            .header(HeaderName::from_static("x-board-key"), self.key.reveal())
    }

    // Step 3: a response becomes an outcome for each event.
    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        if let Some(answer) = status::answer(batch, response) {
            return answer; // 401, 429, 503 and the like mean here what they mean everywhere
        }
        let Ok(report) = serde_json::from_slice::<Report>(&response.body) else {
            let lost = Failure::transient("the board's answer cannot be read");
            return Answer::refused(batch.events.len(), &Refusal { unknown: true, ..lost.into() });
        };
        let why: HashMap<&str, &str> =
            report.failed.iter().map(|failed| (failed.id.as_str(), failed.why.as_str())).collect();
        let outcome = |event: &Event| match why.get(event.id.as_str()) {
            Some(why) => Err(Failure::rejected(format!("the board refuses it: {why}")).into()),
            None => Ok(()),
        };
        Answer::Each(batch.events.iter().map(outcome).collect())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    #[serde(default)]
    failed: Vec<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    id: String,
    why: String,
}

// Step 4: a line of its own; in the crate it stands in `KINDS`.
const BOARD: Kind = Kind::http::<Board>("board", "Notes on a notice board");

// Step 5: the suite that every kind passes, and what is particular to this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_of_ones_own_passes_the_suite() {
    http(&Subject {
        kind: &BOARD,
        settings: |url| json!({"endpoint": format!("{url}/v1/notes"), "key": SECRET}),
        taken: || Reply::new(200, r#"{"failed":[]}"#),
        numbers: |request| {
            let body = request.json();
            let notes = body["notes"].as_array().into_iter().flatten();
            notes.filter_map(|note| note["text"]["n"].as_u64()).collect()
        },
        keys: |request| {
            let body = request.json();
            let notes = body["notes"].as_array().into_iter().flatten();
            notes.filter_map(|note| note["id"].as_str().map(str::to_owned)).collect()
        },
    })
    .await;
}

#[test]
fn the_board_may_refuse_a_note_in_the_middle() {
    let endpoint = Endpoint::anywhere("http://127.0.0.1:1/").unwrap();
    let board = Board { endpoint, key: Secret::new(SECRET) };
    let events: Vec<Event> = (0..3).map(shardmill_tests::conformance::destinations::event).collect();
    let batch = Batch { events: &events, at: shardmill_connectors::Millis(0) };
    let response = Response::new(200, r#"{"failed":[{"id":"id-1","why":"too long"}]}"#);
    let Answer::Each(outcomes) = board.answer(batch, &response) else { panic!("split") };
    let told: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(told, [true, false, true]);
}
