//! Answers that name the events they refuse.
//!
//! On success the receiver may answer with a JSON object, in either form or both; what it does not mention was taken:
//!
//! - `{"results":[{"id":"…","status":"ok"|"rejected"|"retry"|"unauthorized","reason":"…","retry_after_s":n}]}`
//! - `{"rejected":["id", {"id":"…","reason":"…"}]}`
//!
//! In place of `id` an `index` may stand: the event's place in the array, counted from zero. An empty body is fine.

use std::collections::HashMap;

use serde::Deserialize;

use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Outcome, Refusal, status};
use crate::failure::{Class, Failure};

/// Characters of a reason that are kept.
const REASON: usize = 200;

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    results: Vec<Item>,
    #[serde(default)]
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(flatten)]
    of: Of,
    status: Status,
    reason: Option<String>,
    retry_after_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rejected {
    Id(String),
    Index(usize),
    Item {
        #[serde(flatten)]
        of: Of,
        reason: Option<String>,
    },
}

/// Which event is meant.
#[derive(Deserialize)]
struct Of {
    id: Option<String>,
    index: Option<usize>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Rejected,
    Retry,
    Unauthorized,
}

/// The outcomes an answer with a status of success tells.
///
/// An answer we do not understand may hide a refusal. It counts as lost: the events are sent again, and nothing is dropped.
pub(super) fn per_event(batch: Batch<'_>, response: &Response) -> Answer {
    if response.body.trim_ascii().is_empty() {
        return Answer::delivered(batch.events.len());
    }
    if !response.body.trim_ascii_start().starts_with(b"{") {
        return lost(batch, response, "is no JSON object");
    }
    let report = match serde_json::from_slice::<Report>(&response.body) {
        Ok(report) => report,
        Err(error) if response.cut => return lost(batch, response, &format!("is cut at 1 MiB ({error})")),
        Err(error) => return lost(batch, response, &format!("is not of that form ({error})")),
    };
    match outcomes(batch, report) {
        Ok(outcomes) => Answer::Each(outcomes),
        Err(unknown) => lost(batch, response, &unknown),
    }
}

fn lost(batch: Batch<'_>, response: &Response, why: &str) -> Answer {
    let failure = Failure::transient(format!(
        "answered {}, but answer = \"per_event\" is configured and the answer {why}; mend the receiver or configure \"whole\"",
        response.status
    ));
    let refusal = Refusal { failure, response: status::excerpt(response), unknown: true };
    Answer::refused(batch.events.len(), &refusal)
}

/// One outcome for each event; the error says what in the report concerns no event of the batch.
fn outcomes(batch: Batch<'_>, report: Report) -> Result<Vec<Outcome>, String> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, event) in batch.events.iter().enumerate() {
        places.entry(event.id.as_str()).or_default().push(index);
    }
    let meant = |of: &Of| match (&of.id, of.index) {
        (Some(id), _) => {
            places.get(id.as_str()).cloned().ok_or_else(|| "names an id we did not send".to_owned())
        }
        (None, Some(index)) if index < batch.events.len() => Ok(vec![index]),
        (None, Some(_)) => Err("names an index outside the batch".to_owned()),
        (None, None) => Err("names a result without `id` or `index`".to_owned()),
    };
    let mut outcomes: Vec<Outcome> = vec![Ok(()); batch.events.len()];
    for item in report.results {
        if let Some(refusal) = refusal(item.status, item.reason, item.retry_after_s) {
            meant(&item.of)?.into_iter().for_each(|index| outcomes[index] = Err(refusal.clone()));
        }
    }
    for rejected in report.rejected {
        let (of, reason) = match rejected {
            Rejected::Id(id) => (Of { id: Some(id), index: None }, None),
            Rejected::Index(index) => (Of { id: None, index: Some(index) }, None),
            Rejected::Item { of, reason } => (of, reason),
        };
        let refusal = refusal(Status::Rejected, reason, None);
        for index in meant(&of)? {
            outcomes[index] = refusal.clone().map_or(Ok(()), Err);
        }
    }
    Ok(outcomes)
}

fn refusal(status: Status, reason: Option<String>, seconds: Option<u64>) -> Option<Refusal> {
    let (class, said) = match status {
        Status::Ok => return None,
        Status::Rejected => (Class::Rejected, "the receiver rejects it"),
        Status::Retry => (Class::Transient, "the receiver cannot take it now"),
        Status::Unauthorized => {
            (Class::Unauthorized, "the receiver does not let us in: correct the credentials")
        }
    };
    let reason = reason.unwrap_or_default();
    let plain: String = reason.chars().filter(|c| !c.is_control()).take(REASON).collect();
    let detail = if plain.is_empty() { said.to_owned() } else { format!("{said}: {plain}") };
    let mut failure = Failure::new(class, detail);
    failure.retry_after = seconds.map(status::seconds);
    Some(Refusal { failure, response: Some(plain).filter(|plain| !plain.is_empty()), unknown: false })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::destinations::testing;

    /// What is told of each of three events: `d` delivered, `r` rejected, `t` transient, `u` unauthorized, `?` lost.
    fn told(body: &str) -> String {
        let events = testing::events(3);
        let Answer::Each(outcomes) = per_event(testing::batch(&events), &Response::new(200, body.to_owned()))
        else {
            panic!("split")
        };
        let letter = |outcome: &Outcome| match outcome {
            Ok(()) => 'd',
            Err(refusal) if refusal.unknown => '?',
            Err(refusal) => refusal.failure.class.as_str().chars().next().unwrap(),
        };
        outcomes.iter().map(letter).collect()
    }

    #[test]
    fn every_form_of_answer() {
        for (body, wanted) in [
            ("", "ddd"),
            (" \r\n", "ddd"),
            ("{}", "ddd"),
            (r#"{"other":1,"results":[]}"#, "ddd"),
            (r#"{"results":[{"id":"id-2","status":"rejected"},{"id":"id-0","status":"ok"}]}"#, "ddr"),
            (r#"{"results":[{"id":"id-1","status":"retry"},{"index":0,"status":"unauthorized"}]}"#, "utd"),
            (r#"{"rejected":["id-1",2]}"#, "drr"),
            (
                r#"{"rejected":[{"id":"id-0","reason":"old"}],"results":[{"index":1,"status":"retry"}]}"#,
                "rtd",
            ),
            (r#"{"results":[{"id":"id-1","status":"rejected"},{"id":"id-1","status":"ok"}]}"#, "drd"),
            (r#"{"results":[{"id":"else","status":"ok"}]}"#, "ddd"),
            (r#"{"results":[{"id":"else","status":"rejected"}]}"#, "???"),
            (r#"{"rejected":["else"]}"#, "???"),
            (r#"{"rejected":[3]}"#, "???"),
            (r#"{"results":[{"status":"rejected"}]}"#, "???"),
            (r#"{"results":[{"id":"id-1","status":"maybe"}]}"#, "???"),
            (r#"{"results":{"id-1":"ok"}}"#, "???"),
            ("ok", "???"),
            ("[]", "???"),
            ("null", "???"),
            ("{\"results\":[", "???"),
            ("<html>", "???"),
        ] {
            assert_eq!(told(body), wanted, "{body}");
        }
    }

    #[test]
    fn reasons_and_waits_are_kept() {
        let body = r#"{"results":[{"index":0,"status":"retry","reason":"busy\u0007","retry_after_s":9},
            {"index":1,"status":"rejected","reason":"no email"}]}"#;
        let events = testing::events(2);
        let Answer::Each(outcomes) = per_event(testing::batch(&events), &Response::new(200, body)) else {
            panic!("split")
        };
        let busy = outcomes[0].clone().unwrap_err();
        assert_eq!(busy.failure.retry_after, Some(Duration::from_secs(9)));
        assert_eq!(busy.response.as_deref(), Some("busy"));
        let rejected = outcomes[1].clone().unwrap_err();
        assert_eq!(rejected.failure.detail, "the receiver rejects it: no email");
    }

    #[test]
    fn events_of_one_id_share_their_outcome() {
        let events = [testing::event("a", "{}"), testing::event("a", "{}")];
        let answer = per_event(testing::batch(&events), &Response::new(200, r#"{"rejected":["a"]}"#));
        let Answer::Each(outcomes) = answer else { panic!("split") };
        assert!(outcomes.iter().all(Result::is_err));
    }
}
