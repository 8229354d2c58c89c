//! Tests of redelivery: a scripted destination, real stores, virtual time.

mod erased;
mod settling;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use shardmill_connectors::destinations::{Answer as Answered, Outcome, Part, Refusal};
use shardmill_connectors::failure::Class;
use shardmill_connectors::record::Position;

use super::*;
use crate::dead_letters::letter::{self, Range};
use crate::dead_letters::redrive::Redriven;
use crate::dead_letters::selection::Selection;
use crate::dead_letters::testing::{Site, letter, letters};
use crate::tree::{self, Retry};

/// The row of deliveries as the tree has it, with three attempts.
fn strategy() -> Strategy {
    let (base, max) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(8)));
    tree::delivery(Retry { base, max, attempts: Some(3), max_age: None })
}

/// Answers to the events of one call, given how often each has been sent before.
type Script = Box<dyn Fn(&[Event], &[usize]) -> Answered + Send + Sync>;

/// A destination that does what its script says, and remembers what it was sent.
struct Fake {
    limits: Limits,
    script: Script,
    calls: Mutex<Vec<Vec<Event>>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    fn new(
        events: usize,
        script: impl Fn(&[Event], &[usize]) -> Answered + Send + Sync + 'static,
    ) -> Arc<Self> {
        let limits = Limits {
            events,
            bytes: 1 << 20,
            linger: Duration::ZERO,
            concurrency: 2,
            keys_share_batches: true,
        };
        Arc::new(Fake { limits, script: Box::new(script), calls: Mutex::default() })
    }

    /// One that judges every event by itself.
    fn each(script: impl Fn(&str, usize) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Fake::new(3, move |events, before| {
            Answered::Each(events.iter().zip(before).map(|(e, before)| script(&e.key, *before)).collect())
        })
    }

    /// How often each event was sent, by its key.
    fn sent(&self) -> BTreeMap<String, usize> {
        let mut sent = BTreeMap::new();
        for event in self.calls.lock().unwrap().iter().flatten() {
            *sent.entry(event.key.to_string()).or_default() += 1;
        }
        sent
    }
}

#[async_trait]
impl Destination for Fake {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answered {
        let sent = self.sent();
        let before = |event: &Event| sent.get(event.key.as_str()).copied().unwrap_or(0);
        let before: Vec<usize> = batch.events.iter().map(before).collect();
        self.calls.lock().unwrap().push(batch.events.to_vec());
        (self.script)(batch.events, &before)
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        json!(batch.events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>())
    }
}

struct One(Target);

impl Targets for One {
    fn target(&self, name: &str) -> Option<Target> {
        (name == "crm").then(|| self.0.clone())
    }
}

fn prepare(letter: &Letter) -> Prepared {
    match letter.key.as_str() {
        "k100" => Prepared::Skip("no consent".into()),
        "k101" => Prepared::Invalid("no object".into()),
        "k103" => panic!("the mapping trips over k103"),
        key => Prepared::Event(Event {
            id: letter.origin.sequence.as_str().into(),
            key: key.into(),
            name: None,
            data: letter.data().unwrap().into(),
            part: Default::default(),
            origin: Arc::new(letter.origin.clone()),
        }),
    }
}

fn to(fake: &Arc<Fake>) -> One {
    One(Target {
        destination: fake.clone(),
        prepare: Arc::new(prepare),
        limits: fake.limits,
        strategy: strategy(),
        on_unknown: OnUnknown::Repeat,
        quotas: Vec::new(),
    })
}

fn refused(class: Class) -> Outcome {
    let failure = Failure::new(class, format!("it is {class}"));
    Err(Refusal { failure, response: Some("answer".into()), unknown: false })
}

async fn site(count: u64) -> Site {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(0..count, "crm")).await;
    site
}

/// selected, delivered, came back, skipped, pending.
fn counts(done: &Redriven) -> [u64; 5] {
    [done.selected, done.delivered, done.came_back, done.skipped, done.pending]
}

#[tokio::test(start_paused = true)]
async fn everything_goes_once_to_the_one_that_failed() {
    let site = site(10).await;
    site.file("dead/events/0/1-b.ndjson", &letters(20..23, "gone")).await;
    site.edit(&letter(4, "crm").id, r#"{"n":4.10}"#).await;
    let fake = Fake::each(|_, _| Ok(()));
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!(counts(&done), [13, 10, 0, 3, 0]);
    assert!(done.failed.len() == 1 && done.failed[0].contains("`gone` is not configured"), "{done:?}");
    assert!(fake.sent().values().all(|sent| *sent == 1) && fake.sent().len() == 10);
    let calls = fake.calls.lock().unwrap().clone();
    assert!(calls.iter().all(|call| call.len() <= 3), "as the destination wants them");
    let edited = calls.iter().flatten().find(|event| event.key == "k4").unwrap();
    assert_eq!(edited.data, Bytes::from_static(br#"{"n":4.10}"#));
    assert_eq!(site.pending().await, ["20", "21", "22"]);
    assert_eq!(site.announced().await, 3);
    let again = site.redrive(&to(&fake), false).await;
    assert_eq!((again.selected, again.delivered, fake.sent().len()), (3, 0, 10), "settled is settled");
}

#[tokio::test(start_paused = true)]
async fn every_class_ends_as_its_strategy_says() {
    let site = site(9).await;
    let slow = Failure::throttled("slow down", Some(Duration::from_secs(40)));
    let fake = Fake::each(move |key, before| match (key, before) {
        ("k1", 0..2) | ("k3", _) => refused(Class::Transient),
        ("k2", _) => refused(Class::Rejected),
        ("k4", 0) => Err(slow.clone().into()),
        // Its neighbours were taken: it is about the event.
        ("k7", _) => refused(Class::Unauthorized),
        _ => Ok(()),
    });
    let start = tokio::time::Instant::now();
    let done = site.redrive(&to(&fake), false).await;
    assert!(start.elapsed() >= Duration::from_secs(40), "what it asks for wins");
    let sent: Vec<usize> = fake.sent().into_values().collect();
    assert_eq!((sent, done.failed.is_empty()), (vec![1, 3, 1, 3, 2, 1, 1, 1, 1], true), "{done:?}");
    assert_eq!(counts(&done), [9, 6, 3, 0, 0]);
    let found = site.find(&Selection::default()).await;
    let mut back: Vec<_> = found.iter().map(|found| &found.letter).collect();
    back.sort_by_key(|letter| letter.key.clone());
    let told: Vec<_> = back.iter().map(|l| (l.key.as_str(), l.class, l.attempts, l.redrives)).collect();
    let expected =
        [("k2", Class::Rejected, 1, 1), ("k3", Class::Transient, 3, 1), ("k7", Class::Rejected, 1, 1)];
    assert_eq!(told, expected);
    assert_eq!((back[0].response.as_deref(), back[1].attempted_at.len()), (Some("answer"), 3));
    assert_ne!(back[0].id, letter(2, "crm").id);
    assert_eq!((site.all().await.len(), site.announced().await), (12, 3));
    // What came back can be redriven again.
    let done = site.redrive(&to(&Fake::each(|_, _| Ok(()))), false).await;
    assert_eq!((counts(&done), site.announced().await), ([3, 3, 0, 0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_stop_it_and_bury_nothing() {
    let site = site(100).await;
    let fake = Fake::each(|key, _| match key {
        "k0" | "k1" | "k2" => Ok(()),
        _ => refused(Class::Unauthorized),
    });
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!(counts(&done), [100, 3, 0, 0, 97], "{done:?}");
    assert!(done.failed[0].contains("`crm`") && done.failed[0].contains("unauthorized"), "{done:?}");
    assert!(fake.calls.lock().unwrap().len() < 10, "nothing is begun once it is known");
    assert_eq!(site.pending().await.len(), 97);
    let mended = Fake::each(|_, _| Ok(()));
    assert_eq!(counts(&site.redrive(&to(&mended), false).await), [97, 97, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_whole_is_halved_down_to_the_poison() {
    let site = site(16).await;
    let fake = Fake::new(8, |events, _| match events.iter().any(|event| event.key == "k5") {
        true => Answered::Split(Failure::rejected("something in it is wrong").into()),
        false => Answered::delivered(events.len()),
    });
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!(counts(&done), [16, 15, 1, 0, 0]);
    assert_eq!(site.pending().await, ["5"]);
    assert_eq!(fake.calls.lock().unwrap().len(), 8, "8 8 4 4 2 2 1 1");
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_answers_for_too_few_is_a_bug() {
    let site = site(4).await;
    let done = site.redrive(&to(&Fake::new(2, |_, _| Answered::delivered(0))), false).await;
    assert_eq!((counts(&done), done.failed.len()), ([4, 0, 4, 0, 0], 0), "{done:?}");
    let found = site.find(&Selection::default()).await;
    assert!(found.iter().all(|found| found.letter.reason.contains("answered for 0 of 1")), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_the_connector_comes_back_and_no_other() {
    let site = site(8).await;
    let fake = Fake::new(4, |events, _| match events.iter().any(|event| event.key == "k5") {
        true => panic!("it trips over {}", "k5"),
        false => Answered::delivered(events.len()),
    });
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!((counts(&done), done.failed.len()), ([8, 7, 1, 0, 0], 0), "{done:?}");
    let back = site.find(&Selection::default()).await;
    let told: Vec<_> = back.iter().map(|found| (found.letter.key.as_str(), found.letter.class)).collect();
    assert_eq!(told, [("k5", Class::Crashed)]);
    assert!(back[0].letter.reason.contains("it trips over k5"), "{}", back[0].letter.reason);
    assert_eq!(
        fake.calls.lock().unwrap().len(),
        12,
        "once the first four, three times the second, then its halves and theirs"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_its_mapping_comes_back_and_no_other() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(102..106, "crm")).await;
    let done = site.redrive(&to(&Fake::each(|_, _| Ok(()))), false).await;
    assert_eq!((counts(&done), done.failed.len()), ([4, 3, 1, 0, 0], 0), "{done:?}");
    let back = site.find(&Selection::default()).await;
    assert_eq!((back[0].letter.key.as_str(), back[0].letter.attempts), ("k103", 0));
    assert!(back[0].letter.reason.contains("the mapping trips over k103"), "{}", back[0].letter.reason);
}

#[tokio::test(start_paused = true)]
async fn a_single_event_refused_whole_comes_back_whatever_the_class() {
    for class in [Class::Rejected, Class::Transient, Class::Throttled, Class::Unauthorized] {
        let site = site(2).await;
        let fake =
            Fake::new(1, move |_, _| Answered::Split(Failure::new(class, "refused as a whole").into()));
        let done = site.redrive(&to(&fake), false).await;
        assert_eq!((counts(&done), done.failed.len()), ([2, 0, 2, 0, 0], 0), "{class}: {done:?}");
        assert!(fake.sent().values().all(|sent| *sent == 1), "{class}");
        let back = site.find(&Selection::default()).await;
        assert!(back.iter().all(|found| found.letter.class == Class::Rejected), "{class}: {back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_taken_is_sent_again_only_where_it_may() {
    for (on_unknown, sent, came_back) in [(OnUnknown::Repeat, 2, 0), (OnUnknown::DeadLetter, 1, 1)] {
        let site = site(2).await;
        let failure = Failure::transient("the answer was lost");
        let lost = Refusal { failure, response: None, unknown: true };
        let fake = Fake::each(move |key, before| match (key, before) {
            ("k1", 0) => Err(lost.clone()),
            _ => Ok(()),
        });
        let mut targets = to(&fake);
        targets.0.on_unknown = on_unknown;
        let done = site.redrive(&targets, false).await;
        assert_eq!(counts(&done), [2, 2 - came_back, came_back, 0, 0], "{done:?}");
        assert_eq!(fake.sent()["k1"], sent);
        let back = site.find(&Selection::default()).await;
        assert!(back.iter().all(|found| found.letter.reason.contains("nobody knows")), "{back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_mapping_leaves_out_or_cannot_make_is_told() {
    let site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(99..103, "crm")).await;
    let fake = Fake::each(|_, _| Ok(()));
    let dry = site.redrive(&to(&fake), true).await;
    assert_eq!(counts(&dry), [4, 2, 1, 1, 0]);
    assert_eq!(dry.requests, [json!(["k99", "k102"])]);
    assert!(fake.sent().is_empty() && site.pending().await.len() == 4, "a dry run changes nothing");
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!(counts(&done), [4, 2, 1, 1, 0]);
    let left = site.find(&Selection::default()).await;
    assert_eq!((left.len(), left[0].letter.reason.as_str(), left[0].letter.attempts), (1, "no object", 0));
}

#[tokio::test(start_paused = true)]
async fn events_come_no_faster_than_asked() {
    let site = site(9).await;
    let fake = Fake::each(|_, _| Ok(()));
    let mut targets = to(&fake);
    targets.0.quotas = vec![Quota::events(1, 2)];
    let start = tokio::time::Instant::now();
    site.redrive(&targets, false).await;
    assert!(start.elapsed() >= Duration::from_secs(12), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_come_no_faster_than_the_third_party_takes_them() {
    let site = site(9).await;
    let fake = Fake::each(|_, _| Ok(()));
    let mut targets = to(&fake);
    targets.0.quotas = vec![Quota::requests(1, 10)];
    let start = tokio::time::Instant::now();
    site.redrive(&targets, false).await;
    let requests = u32::try_from(9_usize.div_ceil(fake.limits.events)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(10) * (requests - 1), "{:?}", start.elapsed());
    assert!(requests > 1);
}

#[tokio::test(start_paused = true)]
async fn letters_of_different_parts_go_apart_and_no_part_gets_more_than_it_takes() {
    let site = site(8).await;
    let fake = Fake::each(|_, _| Ok(()));
    let mut targets = to(&fake);
    targets.0.limits.events = 8;
    targets.0.prepare = Arc::new(|letter: &Letter| match prepare(letter) {
        Prepared::Event(event) => {
            let even = event.key.ends_with(['0', '2', '4', '6', '8']);
            let part = if even {
                Part::named("even")
            } else {
                Part { most: NonZeroUsize::new(3), ..Part::default() }
            };
            Prepared::Event(Event { part, ..event })
        }
        other => other,
    });
    let dry = site.redrive(&targets, true).await;
    assert_eq!(dry.requests, [json!(["k0", "k2", "k4", "k6"]), json!(["k1", "k3", "k5"]), json!(["k7"])]);
    let done = site.redrive(&targets, false).await;
    assert_eq!((done.delivered, fake.sent().len()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn a_range_is_settled_when_all_of_it_is() {
    let site = Site::new();
    let inner = letters(0..7, "crm");
    let object = "dead/ranges/crm-1.ndjson";
    site.ports.objects.put(object, letter::to_ndjson(&inner).unwrap().into()).await.unwrap();
    let position = |n: u64| Position { sequence: n.into(), subsequence: 0 };
    let range = Range { object: object.into(), events: 7, from: position(0), to: position(6) };
    let whole = Letter::range(&inner[0], range);
    assert_ne!(whole.id, inner[0].id);
    site.file("dead/events/0/1-a.ndjson", &[whole, letter(50, "crm")]).await;
    let stops = Fake::each(|key, _| if matches!(key, "k6") { refused(Class::Unauthorized) } else { Ok(()) });
    let done = site.redrive(&to(&stops), false).await;
    assert_eq!((done.delivered, done.pending), (7, 1), "{done:?}");
    assert_eq!(site.pending().await, ["0"], "its first event is settled, the range is not");
    let fake = Fake::each(|_, _| Ok(()));
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!((done.delivered, fake.sent().into_keys().collect::<Vec<_>>()), (1, vec!["k6".to_owned()]));
    assert!(site.pending().await.is_empty());
}
