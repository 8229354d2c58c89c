//! What Amplitude says of a batch. One bad event and nothing of the request was taken: the answer names the bad ones by place.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::request::alone;
use crate::destinations::http::Response;
use crate::destinations::{Answer, Batch, Event, Outcome, Refusal, status};
use crate::failure::Failure;

/// How long users and devices wait that were too fast, when Amplitude does not say.
const WAIT: Duration = Duration::from_secs(30);

/// Lists of places for each field, and what their events did.
const WRONG: [(&str, &str); 3] = [
    ("events_with_missing_fields", "a field is missing"),
    ("events_with_invalid_fields", "a field is invalid"),
    ("events_with_invalid_id_lengths", "an id is too short or too long"),
];

/// Judges an answer.
pub(super) fn answer(batch: Batch<'_>, response: &Response) -> Answer {
    let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let own = match response.status {
        400 => unwelcome(batch, response, &told).or_else(|| wrong(batch, response, &told)),
        429 => Some(throttled(batch, response, &told)),
        _ => None,
    };
    own.or_else(|| status::answer(batch, response)).unwrap_or_else(|| taken(batch, response, &told))
}

/// A good status: events are answered in JSON, the forms of single ones perhaps in words.
fn taken(batch: Batch<'_>, response: &Response, told: &Value) -> Answer {
    let code = told["code"].as_u64();
    let words = !response.body.trim_ascii_start().starts_with(b"<");
    if code == Some(200) || code.is_none() && words && alone(batch).is_some() {
        return Answer::delivered(batch.events.len());
    }
    status::unreadable(batch, response, "is none of Amplitude's")
}

/// Refused for who we are, which Amplitude says with 400 too.
fn unwelcome(batch: Batch<'_>, response: &Response, told: &Value) -> Option<Answer> {
    let error = told["error"].as_str().unwrap_or_default();
    let key = error.to_lowercase().starts_with("invalid api key");
    let why = match told["missing_field"].as_str() {
        Some(field @ ("api_key" | "events")) => format!("it misses `{field}`"),
        _ if key => error.to_owned(),
        _ => return None,
    };
    let failure = Failure::unauthorized(format!(
        "Amplitude refuses the request: {why}; correct `api_key`, then resume"
    ));
    Some(Answer::refused(batch.events.len(), &refusal(response, failure)))
}

/// Events are wrong, and named: the others can be sent again without them. `None` where nothing is named that was sent.
fn wrong(batch: Batch<'_>, response: &Response, told: &Value) -> Option<Answer> {
    let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
    for (list, what) in WRONG {
        for (field, places) in told[list].as_object().into_iter().flatten() {
            reasons
                .extend(self::places(batch, places)?.into_iter().map(|at| (at, format!("{what}: {field}"))));
        }
    }
    let silenced = places(batch, &told["silenced_events"])?;
    reasons.extend(silenced.into_iter().map(|at| (at, "its device is silenced".to_owned())));
    if reasons.is_empty() {
        return None;
    }
    let each = |place: usize| {
        let failure = match reasons.get(&place) {
            Some(reason) => Failure::rejected(format!("Amplitude refuses it: {reason}")),
            None => Failure::transient("Amplitude took nothing of a request with wrong events in it"),
        };
        Err(refusal(response, failure))
    };
    Some(Answer::Each((0..batch.events.len()).map(each).collect()))
}

/// A list of places; none where there is no list. `None` where it names what was not sent.
fn places(batch: Batch<'_>, list: &Value) -> Option<Vec<usize>> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let place = |place: &Value| usize::try_from(place.as_u64()?).ok().filter(|at| *at < batch.events.len());
    list.iter().map(place).collect()
}

/// Too fast: some users and devices, which are named, or all of us.
fn throttled(batch: Batch<'_>, response: &Response, told: &Value) -> Answer {
    let wait = status::wait(response, batch.at).unwrap_or(WAIT);
    let slow = |what: &str| Failure::throttled(what, Some(wait));
    let named = places(batch, &told["throttled_events"]).unwrap_or_default();
    let judge = |(place, event): (usize, &Event)| {
        let ids = Ids::of(event);
        if ids.are_in(told, ["exceeded_daily_quota_users", "exceeded_daily_quota_devices"]) {
            return Some(Failure::rejected(
                "its user or device has had all events of the day; redeliver it tomorrow",
            ));
        }
        let fast = named.contains(&place) || ids.are_in(told, ["throttled_users", "throttled_devices"]);
        fast.then(|| slow("Amplitude says that its user or device is too fast"))
    };
    let judged: Vec<Option<Failure>> = batch.events.iter().enumerate().map(judge).collect();
    if judged.iter().all(Option::is_none) {
        return Answer::refused(batch.events.len(), &refusal(response, slow(&status::told(429))));
    }
    let others = || Failure::transient("Amplitude took nothing of a request with too many events of others");
    let outcomes: Vec<Outcome> =
        judged.into_iter().map(|failure| Err(refusal(response, failure.unwrap_or_else(others)))).collect();
    Answer::Each(outcomes)
}

fn refusal(response: &Response, failure: Failure) -> Refusal {
    Refusal { response: status::excerpt(response), ..failure.into() }
}

/// Whose an event is, as it was sent.
struct Ids([Option<String>; 2]);

impl Ids {
    fn of(event: &Event) -> Self {
        let data: Value = serde_json::from_slice(&event.data).unwrap_or_default();
        let item = data.get("event").unwrap_or(&data);
        Ids(["user_id", "device_id"].map(|name| item[name].as_str().map(str::to_owned)))
    }

    /// Whether the user is in the first of two tables, or the device in the second.
    fn are_in(&self, told: &Value, tables: [&str; 2]) -> bool {
        let mut both = self.0.iter().zip(tables);
        both.any(|(id, table)| id.as_ref().is_some_and(|id| told[table].get(id).is_some()))
    }
}
