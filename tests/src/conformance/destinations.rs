//! What every kind of destination must do: deliver in order, tell the truth about what became of each event, show no secret.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use shardmill_connectors::Millis;
use shardmill_connectors::destinations::registry::{Kind, Setup};
use shardmill_connectors::destinations::sender::Sender;
use shardmill_connectors::destinations::{Answer, Batch, Destination, Event, Outcome, Refusal, Shaped};
use shardmill_connectors::failure::Class;
use shardmill_connectors::record::{Origin, Sequence};

use super::check;
use super::receiver::{Closed, Received, Receiver, Reply};

/// What the settings of a subject hold wherever they want a secret.
pub const SECRET: &str = "s3cr3t-of-the-suite";

/// A kind of HTTP destination, and what the suite must know of its third party.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The kind.
    pub kind: &'a Kind,
    /// Its settings, with [`SECRET`] as secret and the given URL as third party.
    pub settings: fn(url: &str) -> Value,
    /// What the third party answers when it takes everything.
    pub taken: fn() -> Reply,
    /// The events in a request, in order, told by the `n` they were made with.
    pub numbers: fn(&Received) -> Vec<u64>,
    /// What the third party recognises a repetition by; one for each event, or one for the request.
    pub keys: fn(&Received) -> Vec<String>,
}

/// An event `{"n": n, "messageId": "id-n"}` with the id `id-n`.
pub fn event(n: u64) -> Event {
    let origin = Origin {
        stream: "web".into(),
        shard: "shard-0".into(),
        sequence: Sequence::from(n),
        subsequence: 0,
        arrived_at: Millis(1_773_480_413_589),
    };
    let id = format!("id-{n}");
    let data = json!({"n": n, "messageId": id}).to_string().into();
    Event {
        id: id.into(),
        key: format!("k-{}", n % 7).into(),
        name: None,
        data,
        part: Default::default(),
        origin: Arc::new(origin),
    }
}

pub(super) fn events(count: usize) -> Vec<Event> {
    (0..count as u64).map(event).collect()
}

pub(super) fn batch(events: &[Event]) -> Batch<'_> {
    Batch { events, at: Millis::now() }
}

/// The events as the destination sends them.
fn shaped(destination: &dyn Destination, events: Vec<Event>) -> Vec<Event> {
    let shape = |event| match destination.shape(event) {
        Shaped::Send(event) => event,
        other => panic!("an event of the suite is not sent: {other:?}"),
    };
    events.into_iter().map(shape).collect()
}

/// Opens a destination of a kind in `base_dir`.
pub fn open(
    kind: &Kind,
    settings: &Value,
    batch: Option<usize>,
    base_dir: &std::path::Path,
) -> Arc<dyn Destination> {
    let settings: Map<String, Value> = settings.as_object().expect("settings are a table").clone();
    let sender = Sender::new().expect("a sender");
    let setup = Setup { name: "subject".into(), settings, batch, base_dir: base_dir.to_owned(), sender };
    kind.open(setup).unwrap_or_else(|problems| panic!("{}: {problems:?}", kind.name))
}

/// A subject at work: the destination and its third party.
struct Bench {
    receiver: Receiver,
    destination: Arc<dyn Destination>,
}

impl Bench {
    /// With 50 events in a batch where the kind takes so many.
    async fn new(subject: &Subject<'_>) -> Self {
        Self::patient(subject, "20s").await
    }

    async fn patient(subject: &Subject<'_>, timeout: &str) -> Self {
        let receiver = Receiver::start((subject.taken)()).await;
        let destination = Self::open(subject, receiver.url(), timeout);
        Bench { receiver, destination }
    }

    fn open(subject: &Subject<'_>, url: &str, timeout: &str) -> Arc<dyn Destination> {
        let mut settings = (subject.settings)(url);
        settings["timeout"] = timeout.into();
        open(subject.kind, &settings, Some(50), std::path::Path::new("."))
    }

    /// How many events the destination takes at once, at most 50.
    fn most(&self) -> usize {
        self.destination.limits().events.min(50)
    }

    /// One attempt for `count` events; there must be an outcome for each, and no secret anywhere.
    async fn deliver(&self, count: usize) -> Told {
        told(&*self.destination, count).await
    }

    async fn answered(&self, reply: Reply, count: usize) -> Told {
        self.receiver.script(reply);
        self.deliver(count).await
    }
}

/// What an attempt came to: split or not, and an outcome for each event.
pub(super) struct Told {
    split: bool,
    outcomes: Vec<Outcome>,
}

impl Told {
    pub(super) fn classes(&self) -> Vec<Option<Class>> {
        let class = |outcome: &Outcome| outcome.as_ref().err().map(|refusal| refusal.failure.class);
        self.outcomes.iter().map(class).collect()
    }

    fn refusal(&self) -> &Refusal {
        self.outcomes.first().and_then(|outcome| outcome.as_ref().err()).expect("a refusal")
    }
}

pub(super) async fn told(destination: &dyn Destination, count: usize) -> Told {
    let events = events(count);
    let answer = destination.deliver(batch(&shaped(destination, events))).await;
    let shown = format!("{answer:?} {destination:?}");
    assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
    match answer {
        Answer::Each(outcomes) => {
            assert_eq!(outcomes.len(), count, "one outcome for each event");
            Told { split: false, outcomes }
        }
        Answer::Split(refusal) => Told { split: true, outcomes: vec![Err(refusal); count] },
    }
}

/// Runs every check of an HTTP destination.
pub async fn http(subject: &Subject<'_>) {
    check("delivered in order", in_order(subject)).await;
    check("deliveries at once", at_once(subject)).await;
    check("idempotency keys", idempotency(subject)).await;
    check("previews", previews(subject)).await;
    check("statuses", statuses(subject)).await;
    check("times to come back", waits(subject)).await;
    check("redirects", redirects(subject)).await;
    check("strange answers", strange_answers(subject)).await;
    check("secrets that come back", echoes(subject)).await;
    check("lost answers", lost_answers(subject)).await;
    check("no connection", no_connection(subject)).await;
}

async fn in_order(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for count in [1, bench.most()] {
        let told = bench.deliver(count).await;
        assert!(told.outcomes.iter().all(Result::is_ok), "{:?}", told.outcomes);
        let arrived: Vec<u64> = bench.receiver.take().iter().flat_map(subject.numbers).collect();
        assert_eq!(arrived, (0..count as u64).collect::<Vec<_>>(), "a batch of {count}");
    }
}

async fn at_once(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    let attempts: Vec<_> = (0..20)
        .map(|n| {
            let destination = bench.destination.clone();
            tokio::spawn(
                async move { destination.deliver(batch(&shaped(&*destination, vec![event(n)]))).await },
            )
        })
        .collect();
    for attempt in attempts {
        assert_eq!(attempt.await.unwrap(), Answer::delivered(1));
    }
    let mut arrived: Vec<u64> = bench.receiver.take().iter().flat_map(subject.numbers).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..20).collect::<Vec<_>>());
}

async fn idempotency(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    let mut before = Vec::new();
    for count in [1, bench.most()] {
        bench.answered(Reply::new(500, ""), count).await;
        let first = bench.receiver.take().iter().flat_map(subject.keys).collect::<Vec<_>>();
        bench.deliver(count).await;
        let second = bench.receiver.take().iter().flat_map(subject.keys).collect::<Vec<_>>();
        assert_eq!(first, second, "the keys of {count} events change from attempt to attempt");
        assert!(!first.is_empty() && first.iter().all(|key| !key.is_empty()), "{first:?}");
        before.push(first);
    }
    let another = shaped(&*bench.destination, vec![event(1_000_000)]);
    bench.destination.deliver(batch(&another)).await;
    let other: Vec<String> = bench.receiver.take().iter().flat_map(subject.keys).collect();
    assert!(!before.contains(&other), "two events have one key: {other:?}");
}

async fn previews(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for count in [1, bench.most()] {
        let shown = bench.destination.preview(batch(&shaped(&*bench.destination, events(count)))).to_string();
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains("id-0"), "the event is not in its preview: {shown}");
    }
    assert!(bench.receiver.take().is_empty(), "a preview sent something");
    let shown = format!("{:?}", bench.destination);
    assert!(!shown.contains(SECRET), "{shown}");
}

/// Statuses without a rule of the third party's own. Those of 4xx may be read more finely by a kind; these may not.
const STATUSES: [(u16, Class); 11] = [
    (301, Class::Unauthorized),
    (401, Class::Unauthorized),
    (403, Class::Unauthorized),
    (408, Class::Transient),
    (425, Class::Transient),
    (429, Class::Throttled),
    (500, Class::Transient),
    (502, Class::Transient),
    (503, Class::Transient),
    (504, Class::Transient),
    (599, Class::Transient),
];

async fn statuses(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for count in [1, bench.most()] {
        for (status, class) in STATUSES {
            let told = bench.answered(Reply::new(status, "a reason"), count).await;
            assert_eq!(told.classes(), vec![Some(class); count], "{status}");
            assert!(!told.split && !told.refusal().unknown, "{status}");
            assert_eq!(told.refusal().response.as_deref(), Some("a reason"), "{status}");
            assert!(told.refusal().failure.detail.contains(&status.to_string()), "{status}");
        }
        for status in [400, 413, 422] {
            let told = bench.answered(Reply::new(status, "no"), count).await;
            assert_eq!(told.classes(), vec![Some(Class::Rejected); count], "{status}");
            assert!(told.split || count == 1, "{status}: nobody said which event is to blame");
        }
    }
    let told = bench.deliver(1).await;
    assert_eq!(told.classes(), [None], "a refusal has an effect on the next attempt");
}

async fn waits(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for (status, value, seconds) in [
        (429, "120".to_owned(), 120),
        (503, "7".to_owned(), 7),
        (503, "Sun, 06 Nov 1994 08:50:37 GMT".to_owned(), 60),
        (429, "99999999999999999999".to_owned(), 86_400),
    ] {
        let reply = Reply::new(status, "").with("Retry-After", value);
        let told = bench.answered(reply.with("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), 1).await;
        let failure = &told.refusal().failure;
        assert_eq!(failure.class, Class::Throttled, "{failure:?}");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(seconds)), "{failure:?}");
    }
    let told = bench.answered(Reply::new(429, "").with("Retry-After", "soon"), 1).await;
    assert_eq!(told.refusal().failure.retry_after, None);
}

async fn redirects(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = format!("{}/elsewhere", bench.receiver.url());
        let told = bench.answered(Reply::new(status, "").with("Location", elsewhere), 1).await;
        assert_eq!(told.classes(), [Some(Class::Unauthorized)], "{status}");
        assert_eq!(bench.receiver.take().len(), 1, "{status} was followed");
    }
}

/// Whatever comes back, no event is given up for it, none is called delivered when the status says otherwise, and what is kept
/// of it is short.
async fn strange_answers(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    let huge = vec![b'x'; 8 << 20];
    let deep = "[".repeat(100_000);
    let bodies = [&b""[..], b"null", b"[]", b"\xff\xfe\x00", b"<html>Sorry</html>", deep.as_bytes(), &huge];
    for count in [1, bench.most()] {
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            let told = bench.answered(Reply::new(200, body.to_vec()), count).await;
            let taken = |class: &Option<Class>| matches!(class, None | Some(Class::Transient));
            assert!(told.classes().iter().all(taken) && !told.split, "200 {shown}: {:?}", told.classes());
            let told = bench.answered(Reply::new(500, body.to_vec()), count).await;
            assert_eq!(told.classes(), vec![Some(Class::Transient); count], "500 {shown}");
            let kept = told.refusal().response.as_deref().unwrap_or_default();
            assert!(kept.chars().count() <= 300 && !kept.chars().any(char::is_control), "{kept:?}");
        }
    }
    assert_eq!(
        bench.deliver(1).await.classes(),
        [None],
        "a strange answer has an effect on the next attempt"
    );
}

async fn echoes(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for status in [200, 400, 401, 500] {
        let echo = format!("{{\"you sent\":\"{SECRET}\",\"rejected\":[\"{SECRET}\"]}}");
        let reply = Reply::new(status, echo).with("x-echo", SECRET);
        bench.answered(reply, 1).await; // looks for the secret itself
    }
}

async fn lost_answers(subject: &Subject<'_>) {
    let bench = Bench::new(subject).await;
    for count in [1, bench.most()] {
        for reply in [Reply::Reset, Reply::ResetWithin(200), Reply::ResetWithin(500)] {
            let shown = format!("{reply:?}");
            let told = bench.answered(reply, count).await;
            perhaps_taken(&told, bench.receiver.take().len(), &shown);
        }
        hanging(subject, count).await;
    }
}

/// A request that is never answered. On a busy machine it may time out before it has arrived: then with more time.
async fn hanging(subject: &Subject<'_>, count: usize) {
    let mut seen = (None, 0);
    for timeout in ["300ms", "3s", "20s"] {
        let bench = Bench::patient(subject, timeout).await;
        let told = bench.answered(Reply::Hang, count).await;
        seen = (Some(told), bench.receiver.take().len());
        if seen.1 > 0 {
            break;
        }
    }
    perhaps_taken(&seen.0.expect("three attempts"), seen.1, "Hang");
}

fn perhaps_taken(told: &Told, requests: usize, shown: &str) {
    assert!(
        told.classes().iter().all(|class| *class == Some(Class::Transient)),
        "{shown}: {:?}",
        told.classes()
    );
    let unknown = told.outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|refusal| refusal.unknown));
    assert!(unknown, "{shown}: the events may have been taken, and that is not said");
    assert_eq!(requests, 1, "{shown}: sent once");
}

async fn no_connection(subject: &Subject<'_>) {
    let receiver = Receiver::start((subject.taken)()).await;
    let closed = Closed::port();
    drop(receiver);
    let destination = Bench::open(subject, &closed.url(), "20s");
    let told = told(&*destination, 1).await;
    assert_eq!(told.classes(), [Some(Class::Transient)]);
    assert!(!told.refusal().unknown, "nothing was sent: {:?}", told.refusal());
}
