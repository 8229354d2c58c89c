//! When redelivered letters are settled, and what a kill before that leaves behind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shardmill_connectors::ports::{Document, Documents, Tag, Written};

use super::*;

#[tokio::test(start_paused = true)]
async fn many_are_settled_in_few_writes() {
    let mut site = Site::new();
    site.file("dead/events/0/1-a.ndjson", &letters(200..1400, "crm")).await;
    let writes = Arc::new(AtomicUsize::new(0));
    let inner = site.ports.documents.clone();
    site.ports.documents = Arc::new(Counted { inner, writes: writes.clone() });
    let fake = Fake::each(|_, _| Ok(()));
    let done = site.redrive(&to(&fake), false).await;
    assert_eq!(counts(&done), [1200, 1200, 0, 0, 0]);
    assert!(site.pending().await.is_empty());
    assert_eq!(writes.swap(0, Ordering::SeqCst), 3, "500, 500, 200: nothing takes time here");
    // Slowly: what was taken is settled within a second or so, however little it is.
    site.file("dead/events/0/1-b.ndjson", &letters(2000..2010, "crm")).await;
    let mut slow = to(&fake);
    slow.0.quotas = vec![Quota::events(3, 2)];
    writes.store(0, Ordering::SeqCst);
    assert_eq!(site.redrive(&slow, false).await.delivered, 10);
    let settled = writes.load(Ordering::SeqCst);
    assert!((2..=4).contains(&settled), "four batches, two seconds apart: {settled}");
}

/// Documents whose settlements are held up for ever while the flag is up.
#[derive(Debug)]
struct Held {
    inner: Arc<dyn Documents>,
    held: Arc<AtomicBool>,
    reached: Arc<tokio::sync::Notify>,
}

#[async_trait]
impl Documents for Held {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        self.inner.read(key).await
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        if key.starts_with("settled/") && self.held.load(Ordering::SeqCst) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.write(key, body, expected).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        self.inner.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        self.inner.list(prefix).await
    }
}

/// Documents that count the writes of settlements.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Documents>,
    writes: Arc<AtomicUsize>,
}

#[async_trait]
impl Documents for Counted {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        self.inner.read(key).await
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        if key.starts_with("settled/") {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.write(key, body, expected).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        self.inner.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        self.inner.list(prefix).await
    }
}

#[tokio::test(start_paused = true)]
async fn killed_between_sending_and_settling_it_repeats_under_the_same_key() {
    let mut site = site(6).await;
    let (held, reached) = (Arc::new(AtomicBool::new(true)), Arc::new(tokio::sync::Notify::new()));
    let inner = site.ports.documents.clone();
    site.ports.documents = Arc::new(Held { inner, held: held.clone(), reached: reached.clone() });
    let fake = Fake::each(|key, _| if key == "k4" { refused(Class::Rejected) } else { Ok(()) });
    let targets = to(&fake);
    // Dropped in the middle, as a kill would.
    tokio::select! {
        done = site.redrive(&targets, false) => panic!("it was not held up: {done:?}"),
        () = reached.notified() => {}
    }
    held.store(false, Ordering::SeqCst);
    let once = fake.calls.lock().unwrap().len();
    assert!(once > 0 && site.pending().await.len() == 6, "sent, and nothing settled");
    let done = site.redrive(&targets, false).await;
    assert_eq!(counts(&done), [6, 5, 1, 0, 0]);
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in fake.calls.lock().unwrap().iter().flatten() {
        keys.entry(event.key.to_string()).or_default().push(event.id.to_string());
    }
    assert!(keys.values().any(|ids| ids.len() == 2), "something was repeated");
    assert!(keys.values().all(|ids| ids.iter().all(|id| *id == ids[0])), "under its key: {keys:?}");
    assert_eq!(site.pending().await, ["4"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_is_a_letter_before_the_old_one_is_settled() {
    let mut site = site(1).await;
    let (held, reached) = (Arc::new(AtomicBool::new(true)), Arc::new(tokio::sync::Notify::new()));
    let inner = site.ports.documents.clone();
    site.ports.documents = Arc::new(Held { inner, held: held.clone(), reached: reached.clone() });
    let fake = Fake::each(|_, _| refused(Class::Rejected));
    let targets = to(&fake);
    tokio::select! {
        done = site.redrive(&targets, false) => panic!("it was not held up: {done:?}"),
        () = reached.notified() => {}
    }
    held.store(false, Ordering::SeqCst);
    let found = site.find(&Selection::default()).await;
    let redrives: Vec<u32> = found.iter().map(|found| found.letter.redrives).collect();
    assert_eq!((redrives, site.announced().await), (vec![0, 1], 2), "both, so that neither can be missed");
    let old: Vec<Found> = found.into_iter().filter(|found| found.letter.redrives == 0).collect();
    crate::dead_letters::settle(&site.ports, &old, Settlement::Purged).await.unwrap();
    let done = site.redrive(&to(&Fake::each(|_, _| Ok(()))), false).await;
    assert_eq!((done.delivered, site.announced().await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_came_back_before_a_kill_waits_once_in_the_end() {
    // What the second run meets for the old letter and for the new one, and whether one waits in the end.
    for (old, new, waits) in [(true, true, false), (false, false, true), (false, true, false)] {
        let mut site = site(1).await;
        let (held, reached) = (Arc::new(AtomicBool::new(true)), Arc::new(tokio::sync::Notify::new()));
        let inner = site.ports.documents.clone();
        site.ports.documents = Arc::new(Held { inner, held: held.clone(), reached: reached.clone() });
        let refuses = Fake::each(|_, _| refused(Class::Rejected));
        let targets = to(&refuses);
        tokio::select! {
            done = site.redrive(&targets, false) => panic!("it was not held up: {done:?}"),
            () = reached.notified() => {}
        }
        held.store(false, Ordering::SeqCst);
        let found = site.find(&Selection::default()).await;
        let (first, second) = (found[0].letter.redrives, found[1].letter.redrives);
        assert_eq!([first, second].into_iter().max(), Some(1));
        let takes = [if first == 0 { old } else { new }, if first == 0 { new } else { old }];
        // One batch holds both: the script goes by their places.
        let fake = Fake::new(3, move |events, _| {
            assert!(events.len() == 2 && events[0].id == events[1].id, "under one idempotency key");
            let of = |taken: bool| if taken { Ok(()) } else { refused(Class::Rejected) };
            Answered::Each(takes.iter().map(|taken| of(*taken)).collect())
        });
        site.redrive(&to(&fake), false).await;
        let left = site.find(&Selection::default()).await;
        assert_eq!(left.len(), usize::from(waits), "{old} {new}: {left:?}");
        assert!(left.iter().all(|found| found.letter.redrives == 2), "{left:?}");
        assert_eq!(site.announced().await, u64::from(waits), "{old} {new}");
    }
}
