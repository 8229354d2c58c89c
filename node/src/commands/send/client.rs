//! One batch at a collector: tried until every event has a final verdict, or the time for trying is over.

use std::time::{Duration, Instant};

use rand::Rng;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;
use shardmill_connectors::Failure;

use super::batch::{Batch, Item};
use super::report::{Refusal, Verdicts};
use crate::commands::ops_client::root_cause;

/// The first wait before a batch is tried again, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Codes of refusals that trying again may mend.
const PASSING: [&str; 4] = ["throttled", "transient", "crashed", "overloaded"];

/// What became of a batch.
pub(super) struct Outcome {
    pub(super) verdicts: Verdicts,
    /// Why nothing more should be sent.
    pub(super) gave_up: Option<Failure>,
}

/// A collector's address for one stream.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: reqwest::Url,
    give_up: Duration,
}

#[derive(Debug, Deserialize)]
struct Answer {
    accepted: u64,
    refused: Vec<AnswerRefusal>,
}

#[derive(Debug, Deserialize)]
struct AnswerRefusal {
    index: usize,
    code: String,
    message: String,
}

/// What one attempt came to.
enum Attempt {
    /// The collector judged: so many accepted, these refused, these to be tried again.
    Judged(u64, Vec<Refusal>, Vec<Item>),
    /// Try the same again, no sooner than this.
    Later(Option<Duration>, String),
    /// Too large: try it in halves.
    TooLarge(String),
    /// Trying again cannot help.
    Hopeless(String),
}

impl Client {
    pub(super) fn new(to: &str, stream: Option<&str>, give_up: Duration) -> Result<Client, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::rejected(format!("`{to}` is not a collector's URL: {error}"))
        };
        let mut url = reqwest::Url::parse(to).map_err(|error| wrong(&error))?;
        if url.path() == "/" {
            url.set_path("/v1/events");
        }
        if let Some(stream) = stream {
            url.query_pairs_mut().append_pair("stream", stream);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| wrong(&error))?;
        Ok(Client { http, url, give_up })
    }

    /// Delivers a batch.
    pub(super) async fn deliver(&self, batch: Batch) -> Outcome {
        let count = batch.items.len() + batch.unreadable.len();
        let mut verdicts = Verdicts {
            sent: u64::try_from(count).unwrap_or(u64::MAX),
            refused: batch.unreadable,
            bytes: u64::try_from(batch.bytes).unwrap_or(u64::MAX),
            ..Verdicts::default()
        };
        let started = Instant::now();
        let mut waiting = vec![batch.items];
        let mut gave_up = None;
        while let Some(items) = waiting.pop() {
            if items.is_empty() {
                continue;
            }
            if let Some(failure) = &gave_up {
                give_back(items, failure, &mut verdicts);
            } else if let Err(failure) = self.part(items, started, (&mut waiting, &mut verdicts)).await {
                gave_up = Some(failure);
            }
        }
        verdicts.refused.sort_by_key(|refusal| refusal.index);
        Outcome { verdicts, gave_up }
    }

    /// Tries one part of a batch until it is judged or given up; halves of what is too large go to `waiting`.
    async fn part(
        &self,
        mut items: Vec<Item>,
        started: Instant,
        (waiting, verdicts): (&mut Vec<Vec<Item>>, &mut Verdicts),
    ) -> Result<(), Failure> {
        let mut wait = WAITS.0;
        loop {
            let (after, why) = match self.attempt(&items).await {
                Attempt::Judged(accepted, refused, again) => {
                    verdicts.accepted += accepted;
                    verdicts.refused.extend(refused);
                    items = again;
                    if items.is_empty() {
                        return Ok(());
                    }
                    (None, "the collector could not take some events now".to_owned())
                }
                Attempt::TooLarge(_) if items.len() > 1 => {
                    let second = items.split_off(items.len() / 2);
                    waiting.extend([second, items]); // the first half is taken next
                    return Ok(());
                }
                Attempt::TooLarge(why) => {
                    verdicts
                        .refused
                        .extend(items.iter().map(|item| Refusal::new(item.index, "payload_too_large", &why)));
                    return Ok(());
                }
                Attempt::Hopeless(why) => {
                    let failure = Failure::rejected(why);
                    give_back(items, &failure, verdicts);
                    return Err(failure);
                }
                Attempt::Later(after, why) => (after, why),
            };
            let pause = after.unwrap_or_default().max(jittered(wait));
            if started.elapsed() + pause > self.give_up {
                let failure = Failure::transient(format!("gave up after {:?}: {why}", self.give_up));
                give_back(items, &failure, verdicts);
                return Err(failure);
            }
            verdicts.retried += 1;
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    async fn attempt(&self, items: &[Item]) -> Attempt {
        let body: String = items.iter().flat_map(|item| [item.text.as_str(), "\n"]).collect();
        let request =
            self.http.post(self.url.clone()).header(header::CONTENT_TYPE, "application/x-ndjson").body(body);
        match request.send().await {
            Ok(response) => judged(response, items).await,
            Err(error) if error.is_builder() => Attempt::Hopeless(root_cause(&error)),
            Err(error) => Attempt::Later(None, format!("{}: {}", self.url, root_cause(&error))),
        }
    }
}

async fn judged(response: Response, items: &[Item]) -> Attempt {
    let status = response.status();
    let after =
        response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Attempt::Later(None, root_cause(&error)),
    };
    let answer: Option<Answer> = serde_json::from_slice(&body).ok();
    let first = answer.as_ref().and_then(|answer| answer.refused.first());
    let why =
        first.map_or_else(|| format!("the collector answered {status}"), |refusal| refusal.message.clone());
    match (status, answer) {
        (StatusCode::PAYLOAD_TOO_LARGE, _) => Attempt::TooLarge(why),
        (StatusCode::OK | StatusCode::MULTI_STATUS | StatusCode::BAD_REQUEST, Some(answer)) => {
            sorted(answer, items)
        }
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
            Attempt::Later(after.map(Duration::from_secs), why)
        }
        (status, _) if status.is_server_error() => Attempt::Later(after.map(Duration::from_secs), why),
        _ => Attempt::Hopeless(why),
    }
}

/// Refusals for good apart from those to be tried again.
fn sorted(answer: Answer, items: &[Item]) -> Attempt {
    let (mut refused, mut again) = (Vec::new(), Vec::new());
    for refusal in answer.refused {
        match items.get(refusal.index) {
            Some(item) if PASSING.contains(&refusal.code.as_str()) => again.push(item.clone()),
            Some(item) => refused.push(Refusal::new(item.index, refusal.code, refusal.message)),
            None => {}
        }
    }
    Attempt::Judged(answer.accepted, refused, again)
}

fn give_back(items: Vec<Item>, failure: &Failure, verdicts: &mut Verdicts) {
    verdicts
        .refused
        .extend(items.into_iter().map(|item| Refusal::new(item.index, "gave_up", &failure.detail)));
}

/// Four fifths to six fifths of the wait, so that many senders do not come back at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.8..1.2))
}
