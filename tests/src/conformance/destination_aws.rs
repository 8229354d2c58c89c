//! What a destination on AWS must do: deliver in order, tell the truth about what became of each event, show no secret.
//!
//! It runs against a server that speaks the service's protocol, through a proxy that does what servers do not: refuse, reset, lose an
//! answer, take too long.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::Millis;
use shardmill_connectors::destinations::{
    Answer, Batch, Destination, Event, Outcome, Refusal, Shaped, registry,
};
use shardmill_connectors::failure::Class;

use super::check;
use super::destinations::{SECRET, event, open};
use super::receiver::Closed;
use crate::harness::proxy::{Fault, FaultProxy, Rule};

/// A kind of destination on AWS, and what the suite must know of its service.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The kind.
    pub kind: &'a str,
    /// Its settings, but for where it is and who signs.
    pub settings: Value,
    /// Other settings, that name what is not there.
    pub missing: Value,
    /// The server: `http://127.0.0.1:PORT`.
    pub server: &'a str,
    /// The operation that delivers, as the proxy calls it.
    pub operation: &'a str,
    /// Refusals in the service's own words, and what they mean.
    pub refusals: &'a [(u16, &'a str, Class)],
    /// Whether who may deliver may also ask whether all is well.
    pub may_ask: bool,
}

/// A destination behind the proxy.
struct Bench<'s> {
    subject: &'s Subject<'s>,
    proxy: FaultProxy,
    destination: Arc<dyn Destination>,
}

/// Opens a subject's destination at `url`.
fn at(subject: &Subject<'_>, settings: &Value, url: &str, timeout: &str) -> Arc<dyn Destination> {
    let mut all = settings.as_object().expect("settings are a table").clone();
    let place = json!({
        "endpoint": url, "region": "us-east-1", "timeout": timeout,
        "access_key_id": "test", "secret_access_key": SECRET,
    });
    all.extend(place.as_object().expect("a table").clone());
    let kind = registry::find(subject.kind).expect("the kind is in the registry");
    open(kind, &Value::Object(all), None, Path::new("."))
}

fn shaped(destination: &dyn Destination, numbers: Range<u64>) -> Vec<Event> {
    let shape = |n| match destination.shape(event(n)) {
        Shaped::Send(event) => event,
        other => panic!("an event of the suite is not sent: {other:?}"),
    };
    numbers.map(shape).collect()
}

/// One attempt for the events with these numbers; there must be an outcome for each, and no secret anywhere.
async fn deliver(destination: &dyn Destination, numbers: Range<u64>) -> Vec<Outcome> {
    let events = shaped(destination, numbers);
    let answer = destination.deliver(Batch { events: &events, at: Millis::now() }).await;
    let shown = format!("{answer:?} {destination:?}");
    assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
    match answer {
        Answer::Each(outcomes) => {
            assert_eq!(outcomes.len(), events.len(), "one outcome for each event");
            outcomes
        }
        Answer::Split(refusal) => vec![Err(refusal); events.len()],
    }
}

fn refusal(outcomes: &[Outcome]) -> &Refusal {
    outcomes.first().and_then(|outcome| outcome.as_ref().err()).expect("a refusal")
}

impl<'s> Bench<'s> {
    async fn new(subject: &'s Subject<'s>) -> Self {
        let proxy = FaultProxy::start(subject.server, 7).await.expect("a proxy");
        let destination = at(subject, &subject.settings, proxy.url(), "20s");
        Bench { subject, proxy, destination }
    }

    /// How many events the destination takes at once, at most 40.
    fn most(&self) -> u64 {
        self.destination.limits().events.min(40) as u64
    }

    /// One attempt for `count` events from `first` on, whose call meets this fault; all events meet the same.
    async fn meets(&self, fault: Fault, first: u64, count: u64) -> Refusal {
        let shown = format!("{fault:?}");
        self.proxy.rules([Rule::new(fault).operation(self.subject.operation)]);
        let calls = self.proxy.counts().of(&self.call());
        let outcomes = deliver(&*self.destination, first..first + count).await;
        self.proxy.rules([]);
        assert_eq!(self.proxy.counts().of(&self.call()), calls + 1, "{shown}: one call");
        let first = refusal(&outcomes).clone();
        let alike = |outcome: &Outcome| outcome.as_ref().is_err_and(|other| other.failure == first.failure);
        assert!(outcomes.iter().all(alike), "{shown}: {outcomes:?}");
        first
    }

    fn call(&self) -> String {
        format!("{}:{}", self.subject.kind, self.subject.operation)
    }
}

/// Runs every check. `arrived` tells the `n` of every event that is there by now; of one batch in order.
pub async fn aws(subject: &Subject<'_>, arrived: impl AsyncFn() -> Vec<u64>) {
    check("delivered in order", in_order(subject, &arrived)).await;
    check("deliveries at once", at_once(subject, &arrived)).await;
    check("previews", previews(subject, &arrived)).await;
    check("refusals", refusals(subject, &arrived)).await;
    check("lost answers", lost_answers(subject, &arrived)).await;
    check("answers that come too late", late_answers(subject)).await;
    check("no connection", no_connection(subject)).await;
    check("what is not there", missing(subject)).await;
    check("questions", questions(subject)).await;
}

async fn in_order(subject: &Subject<'_>, arrived: &impl AsyncFn() -> Vec<u64>) {
    let bench = Bench::new(subject).await;
    for numbers in [0..1, 100..100 + bench.most()] {
        let outcomes = deliver(&*bench.destination, numbers.clone()).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let there: Vec<u64> = arrived().await.into_iter().filter(|n| numbers.contains(n)).collect();
        assert_eq!(there, numbers.collect::<Vec<_>>());
    }
}

async fn at_once(subject: &Subject<'_>, arrived: &impl AsyncFn() -> Vec<u64>) {
    let bench = Bench::new(subject).await;
    let attempts = (200..210).map(|n| {
        let destination = bench.destination.clone();
        tokio::spawn(async move { deliver(&*destination, n..n + 1).await })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        assert_eq!(attempt.await.unwrap(), [Ok(())]);
    }
    let mut there: Vec<u64> = arrived().await.into_iter().filter(|n| (200..210).contains(n)).collect();
    there.sort_unstable();
    assert_eq!(there, (200..210).collect::<Vec<_>>());
}

async fn previews(subject: &Subject<'_>, arrived: &impl AsyncFn() -> Vec<u64>) {
    let bench = Bench::new(subject).await;
    for numbers in [300..301, 300..300 + bench.most()] {
        let events = shaped(&*bench.destination, numbers);
        let batch = Batch { events: &events, at: Millis::now() };
        let shown = bench.destination.preview(batch).to_string();
        assert!(shown.contains("id-300") && !shown.contains(SECRET), "{shown}");
        assert_eq!(bench.destination.preview(batch).to_string(), shown, "a repetition is the same");
    }
    assert!(arrived().await.iter().all(|n| *n < 300), "a preview sent something");
    assert_eq!(bench.proxy.counts().of(&bench.call()), 0);
}

async fn refusals(subject: &Subject<'_>, arrived: &impl AsyncFn() -> Vec<u64>) {
    let bench = Bench::new(subject).await;
    let before: BTreeSet<u64> = arrived().await.into_iter().collect();
    for count in [1, bench.most()] {
        for (status, code, class) in subject.refusals {
            let told = bench.meets(Fault::error(*status, code), 400, count).await;
            assert_eq!((told.failure.class, told.unknown), (*class, false), "{code}: {told:?}");
            assert!(told.failure.detail.contains(code), "{code}: {told:?}");
            assert!(told.response.as_ref().is_some_and(|response| response.contains(code)), "{told:?}");
            let must_act = *class == Class::Unauthorized;
            assert!(!must_act || told.failure.detail.contains("; "), "{code} has no remedy: {told:?}");
        }
    }
    let after: BTreeSet<u64> = arrived().await.into_iter().collect();
    assert_eq!(after, before, "what was refused has arrived");
    assert_eq!(deliver(&*bench.destination, 400..401).await, [Ok(())], "a refusal has an effect on the next");
}

/// The connection breaks after the call was sent: before or after the server has seen it, nobody can tell.
async fn lost_answers(subject: &Subject<'_>, arrived: &impl AsyncFn() -> Vec<u64>) {
    let bench = Bench::new(subject).await;
    for (first, count) in [(500, 1), (600, bench.most())] {
        for fault in [Fault::Reset, Fault::Lost] {
            let told = bench.meets(fault, first, count).await;
            assert_eq!((told.failure.class, told.unknown), (Class::Transient, true), "{told:?}");
        }
        let there: BTreeSet<u64> = arrived().await.into_iter().collect();
        assert!((first..first + count).all(|n| there.contains(&n)), "the server has taken what was lost");
        let again = deliver(&*bench.destination, first..first + count).await;
        assert!(again.iter().all(Result::is_ok), "{again:?}");
    }
}

async fn late_answers(subject: &Subject<'_>) {
    let mut bench = Bench::new(subject).await;
    bench.destination = at(subject, &subject.settings, bench.proxy.url(), "2s");
    for count in [1, bench.most()] {
        let told = bench.meets(Fault::Delay(Duration::from_secs(60)), 700, count).await;
        assert_eq!((told.failure.class, told.unknown), (Class::Transient, true), "{told:?}");
    }
}

async fn no_connection(subject: &Subject<'_>) {
    let closed = Closed::port();
    let destination = at(subject, &subject.settings, &closed.url(), "20s");
    let outcomes = deliver(&*destination, 800..801).await;
    let told = refusal(&outcomes);
    assert_eq!((told.failure.class, told.unknown), (Class::Transient, false), "nothing was sent: {told:?}");
}

async fn missing(subject: &Subject<'_>) {
    let destination = at(subject, &subject.missing, subject.server, "20s");
    let count = destination.limits().events.min(3) as u64;
    for outcome in deliver(&*destination, 900..900 + count).await {
        let told = outcome.unwrap_err();
        assert_eq!((told.failure.class, told.unknown), (Class::Unauthorized, false), "{told:?}");
        assert!(told.failure.detail.contains("; create the "), "{told:?}");
    }
}

async fn questions(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    assert_eq!(bench.destination.probe().await, Ok(true));
    let wrong = at(subject, &subject.missing, subject.server, "20s").probe().await.unwrap_err();
    assert_eq!(wrong.class, Class::Unauthorized, "{wrong}");
    bench.proxy.rules([Rule::new(Fault::error(403, "AccessDeniedException"))]);
    let told = bench.destination.probe().await;
    match subject.may_ask {
        true => assert_eq!(told.unwrap_err().class, Class::Unauthorized),
        false => assert_eq!(told, Ok(false), "who may only deliver need not be allowed to ask"),
    }
    bench.proxy.rules([Rule::new(Fault::error(403, "ExpiredTokenException"))]);
    assert_eq!(bench.destination.probe().await.unwrap_err().class, Class::Unauthorized);
}
