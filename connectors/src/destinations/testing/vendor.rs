//! A vendor at work: events become requests to a third party on loopback, answers become outcomes, both as texts to compare.
//!
//! What is particular to a vendor is in the tests of its folder. What every vendor must do is in [`Vendor::keeps_the_rules`].

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::receiver::{Closed, Received, Receiver, Reply};
use super::{AT, event};
use crate::destinations::registry::{self, Setup};
use crate::destinations::sender::Sender;
use crate::destinations::{Answer, Batch, Destination, Event, Outcome, Shaped};
use crate::failure::Class;
use crate::record::{Origin, Sequence};

/// What settings hold wherever they want a secret.
pub const SECRET: &str = "s3cr3t-of-the-vendor";

/// Headers of a request that say nothing about the vendor.
const ORDINARY: [&str; 5] = ["host", "user-agent", "accept", "content-length", "accept-encoding"];

/// A vendor's kind and settings, and what it does when all is well.
#[derive(Debug, Clone)]
pub struct Vendor {
    /// The kind.
    pub kind: &'static str,
    /// Its settings as JSON, `URL` in place of the third party's address.
    pub settings: &'static str,
    /// An event that it takes.
    pub event: &'static str,
    /// What the third party answers when it takes everything.
    pub taken: Reply,
}

/// A destination of a vendor, and its third party.
#[derive(Debug)]
pub struct Bench {
    /// The third party.
    pub receiver: Receiver,
    /// The destination.
    pub destination: Arc<dyn Destination>,
}

/// What became of some events.
#[derive(Debug, Clone)]
pub struct Told {
    /// The requests that arrived, as text, in order.
    pub requests: Vec<String>,
    /// One for each event, in order.
    pub outcomes: Vec<String>,
}

impl Vendor {
    /// Opens the destination; its third party answers what [`Vendor::taken`] says unless a test scripts something else.
    pub async fn bench(&self) -> Bench {
        self.patient("20s").await
    }

    async fn patient(&self, timeout: &str) -> Bench {
        let receiver = Receiver::start(self.taken.clone()).await;
        let destination = self.open(receiver.url(), timeout);
        Bench { receiver, destination }
    }

    fn open(&self, url: &str, timeout: &str) -> Arc<dyn Destination> {
        let mut settings: Value =
            serde_json::from_str(&self.settings.replace("URL", url)).expect("settings are JSON");
        settings["timeout"] = timeout.into();
        let kind = registry::find(self.kind).expect("the kind is in the registry");
        let setup = Setup {
            name: "subject".into(),
            settings: settings.as_object().expect("settings are a table").clone(),
            batch: None,
            base_dir: ".".into(),
            sender: Sender::new().expect("a sender"),
        };
        kind.open(setup).unwrap_or_else(|problems| panic!("{}: {problems:?}", self.kind))
    }

    /// One event, delivered while the third party replies so.
    pub async fn answered(&self, reply: Reply) -> Told {
        let bench = self.bench().await;
        bench.receiver.script(reply);
        bench.deliver(&[self.event]).await
    }

    /// What every vendor must do, whatever its answers look like. Statuses that mean something else to this vendor are `except`ed;
    /// its own tests say what.
    pub async fn keeps_the_rules(&self, except: &[u16]) {
        self.statuses(except).await;
        self.waits(except).await;
        self.redirects().await;
        self.lost_answers().await;
        self.strange_answers().await;
        self.secrets().await;
    }

    async fn statuses(&self, except: &[u16]) {
        for (status, class) in [
            (301, Class::Unauthorized),
            (401, Class::Unauthorized),
            (403, Class::Unauthorized),
            (408, Class::Transient),
            (413, Class::Rejected),
            (429, Class::Throttled),
            (500, Class::Transient),
            (502, Class::Transient),
            (503, Class::Transient),
            (504, Class::Transient),
        ] {
            if !except.contains(&status) {
                let told = self.answered(Reply::new(status, "a reason")).await;
                assert!(told.outcomes[0].starts_with(class.as_str()), "{status}: {:?}", told.outcomes);
            }
        }
    }

    async fn waits(&self, except: &[u16]) {
        for (status, seconds) in [(429, 120), (503, 7)] {
            if !except.contains(&status) {
                let told =
                    self.answered(Reply::new(status, "").with("retry-after", seconds.to_string())).await;
                let wanted = format!("throttled after {seconds} s: ");
                assert!(told.outcomes[0].starts_with(&wanted), "{status}: {:?}", told.outcomes);
            }
        }
    }

    async fn redirects(&self) {
        for status in [301, 302, 307, 308] {
            let bench = self.bench().await;
            bench.receiver.script(
                Reply::new(status, "").with("location", format!("{}/elsewhere", bench.receiver.url())),
            );
            let told = bench.deliver(&[self.event]).await;
            assert_eq!(told.requests.len(), 1, "{status} was followed");
        }
    }

    async fn lost_answers(&self) {
        for reply in [Reply::Reset, Reply::ResetWithin(200)] {
            let bench = self.bench().await;
            bench.receiver.script(reply.clone());
            perhaps_taken(&bench.deliver(&[self.event]).await, &reply);
        }
        perhaps_taken(&self.hanging().await, &Reply::Hang);
        let closed = Closed::port();
        let destination = self.open(&closed.url(), "20s");
        let outcomes = deliver(&*destination, &[self.event]).await;
        assert!(outcomes[0].starts_with("transient: no connection"), "{outcomes:?}");
    }

    /// A request that is never answered. On a busy machine it may time out before it has arrived: then with more time.
    async fn hanging(&self) -> Told {
        for timeout in ["300ms", "3s"] {
            let bench = self.patient(timeout).await;
            bench.receiver.script(Reply::Hang);
            let told = bench.deliver(&[self.event]).await;
            if !told.requests.is_empty() {
                return told;
            }
        }
        let bench = self.patient("20s").await;
        bench.receiver.script(Reply::Hang);
        bench.deliver(&[self.event]).await
    }

    /// Whatever comes back with a good status, nothing is given up for it.
    async fn strange_answers(&self) {
        let (huge, deep) = (vec![b'x'; 3 << 20], "[".repeat(100_000));
        for body in [&b""[..], b"null", b"[]", b"\xff\xfe\x00", b"<html>Sorry</html>", deep.as_bytes(), &huge]
        {
            let told = self.answered(Reply::new(200, body.to_vec())).await;
            let fair = told.outcomes[0] == "delivered" || told.outcomes[0].starts_with("transient");
            assert!(fair, "{}: {:?}", String::from_utf8_lossy(&body[..body.len().min(20)]), told.outcomes);
        }
    }

    async fn secrets(&self) {
        for status in [200, 400, 401, 500] {
            let echo = format!("{{\"you sent\":\"{SECRET}\"}}");
            let bench = self.bench().await;
            bench.receiver.script(Reply::new(status, echo).with("x-echo", SECRET));
            let events = [event("id-0", self.event)];
            let Shaped::Send(shaped) = bench.destination.shape(events[0].clone()) else {
                panic!("it takes this event")
            };
            let batch = [shaped];
            let batch = Batch { events: &batch, at: AT };
            let answer = bench.destination.deliver(batch).await;
            let shown = format!("{answer:?} {:?} {}", bench.destination, bench.destination.preview(batch));
            assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
        }
    }
}

fn perhaps_taken(told: &Told, reply: &Reply) {
    assert!(told.outcomes[0].starts_with("transient, perhaps taken: "), "{reply:?}: {:?}", told.outcomes);
    assert_eq!(told.requests.len(), 1, "{reply:?}: sent once");
}

impl Bench {
    /// Delivers events as a lane does: each is shaped, those of one part are sent together.
    pub async fn deliver(&self, events: &[&str]) -> Told {
        let outcomes = deliver(&*self.destination, events).await;
        Told { requests: self.receiver.take().iter().map(text).collect(), outcomes }
    }
}

/// The outcomes of events with the ids their `messageId`s say, or `id-0`, `id-1`, …
async fn deliver(destination: &dyn Destination, events: &[&str]) -> Vec<String> {
    let mut outcomes = vec![String::new(); events.len()];
    let mut parts: Vec<Vec<(usize, Event)>> = Vec::new();
    for (index, json) in events.iter().enumerate() {
        let id = serde_json::from_str::<Value>(json).ok();
        let id = id.and_then(|event| event["messageId"].as_str().map(str::to_owned));
        let event = event(&id.unwrap_or_else(|| format!("id-{index}")), json);
        let origin = Origin { sequence: Sequence::from(7 + index as u64), ..(*event.origin).clone() };
        match destination.shape(Event { origin: Arc::new(origin), ..event }) {
            Shaped::Skip => outcomes[index] = "skipped".into(),
            Shaped::Refuse(_, failure) => outcomes[index] = format!("refused: {}", failure.detail),
            Shaped::Send(event) => match parts.iter_mut().find(|part| part[0].1.part == event.part) {
                Some(part) => part.push((index, event)),
                None => parts.push(vec![(index, event)]),
            },
        }
    }
    for part in parts {
        for some in part.chunks(part[0].1.part.most(&destination.limits())) {
            let batch: Vec<Event> = some.iter().map(|(_, event)| event.clone()).collect();
            let told = match destination.deliver(Batch { events: &batch, at: AT }).await {
                Answer::Each(each) => each.iter().map(outcome).collect(),
                Answer::Split(refusal) => {
                    let prefix = if some.len() > 1 { "split, " } else { "" };
                    vec![format!("{prefix}{}", outcome(&Err(refusal))); some.len()]
                }
            };
            assert_eq!(told.len(), some.len(), "one outcome for each event");
            some.iter().zip(told).for_each(|((index, _), told)| outcomes[*index] = told);
        }
    }
    outcomes
}

fn outcome(outcome: &Outcome) -> String {
    let Err(refusal) = outcome else { return "delivered".into() };
    let failure = &refusal.failure;
    let wait =
        failure.retry_after.map(|wait: Duration| format!(" after {} s", wait.as_secs())).unwrap_or_default();
    let unknown = if refusal.unknown { ", perhaps taken" } else { "" };
    format!("{}{wait}{unknown}: {}", failure.class.as_str(), failure.detail)
}

/// A request as a test writes it: method, path and headers, then the body. JSON is compared as JSON, line by line.
pub fn request(head: &str, body: &str) -> String {
    let head: Vec<&str> = head.trim().lines().map(str::trim).collect();
    format!("{}\n\n{}", head.join("\n"), canonical(body)).trim_end().to_owned()
}

/// Every line that is JSON with its keys in one order.
fn canonical(body: &str) -> String {
    let whole: Result<Value, _> = serde_json::from_str(body);
    let line = |line: &str| {
        serde_json::from_str::<Value>(line).map_or_else(|_| line.to_owned(), |json| json.to_string())
    };
    match whole {
        Ok(json) => json.to_string(),
        Err(_) => body.trim().lines().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// A request as text: the headers that matter, the body as it was before compression.
fn text(received: &Received) -> String {
    let mut lines = vec![format!("{} {}", received.method, received.path)];
    let telling = received.headers.iter().filter(|(name, _)| !ORDINARY.contains(&name.as_str()));
    lines.extend(telling.map(|(name, value)| format!("{name}: {value}")));
    let mut body = Vec::new();
    match received.header("content-encoding") {
        "gzip" => _ = GzDecoder::new(received.body.as_ref()).read_to_end(&mut body).expect("gzip"),
        _ => body = received.body.to_vec(),
    }
    request(&lines.join("\n"), &String::from_utf8_lossy(&body))
}
