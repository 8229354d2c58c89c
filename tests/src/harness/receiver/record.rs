//! What a receiver remembers: every request in order of arrival, small enough for hundreds of thousands of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use shardmill_connectors::Millis;

use super::faults::Reply;
use super::pace::Pace;

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// Its `messageId`.
    pub id: Arc<str>,
    /// Its key: `userId`.
    pub key: Arc<str>,
    /// Its number among the events of its key.
    pub number: u64,
    /// When it was sent to the collector.
    pub sent: Millis,
}

/// A request; or, where answers speak of each event, those next to one another in it that fared alike, as if they had come alone.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it had arrived whole.
    pub at: Millis,
    /// How many marks there were when its connection was opened.
    pub epoch: usize,
    /// What its path has behind `/in/`: who sent it, where several do.
    pub via: Arc<str>,
    /// The header `webhook-id`.
    pub id: Option<Arc<str>>,
    /// Its events, in order.
    pub events: Box<[Came]>,
    /// What became of it.
    pub reply: Reply,
}

/// Everything that arrived.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The requests, in order of arrival; events that shared one in the order they had there.
    pub entries: Vec<Entry>,
    /// The moments that part one epoch from the next: the sender was dead.
    pub marks: Vec<Millis>,
}

/// How much has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Different events that were taken.
    pub events: u64,
    /// Events that were taken, repeats included.
    pub taken: u64,
    /// Requests under way: arrived and not yet answered.
    pub under_way: u64,
    /// Open connections.
    pub connections: u64,
}

impl Record {
    /// How often each reply was given; those never given are left out.
    pub fn replies(&self) -> BTreeMap<&'static str, u64> {
        let mut replies = BTreeMap::new();
        self.entries.iter().for_each(|entry| *replies.entry(entry.reply.name()).or_default() += 1);
        replies
    }

    /// The events that were taken, with the entries that brought them, in order.
    pub fn taken(&self) -> impl Iterator<Item = (&Entry, &Came)> {
        let taken = self.entries.iter().filter(|entry| entry.reply.is_taken());
        taken.flat_map(|entry| entry.events.iter().map(move |event| (entry, event)))
    }

    /// Requests, replies and epochs, for the figures.
    pub fn figures(&self) -> Value {
        json!({"requests": self.entries.len(), "replies": self.replies(), "epochs": self.marks.len() + 1})
    }
}

/// An event's payload, as far as a receiver looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct Payload {
    #[serde(rename = "messageId")]
    pub id: String,
    #[serde(rename = "userId", default)]
    pub key: String,
    #[serde(default)]
    pub number: u64,
    #[serde(rename = "sentMs", default)]
    pub sent: Millis,
    /// The payload asks to be refused with 422.
    #[serde(default)]
    pub refuse: bool,
}

/// The events of a body: one object, or a list of them. Empty when it is neither.
pub(super) fn payloads(body: &[u8]) -> Vec<Payload> {
    match serde_json::from_slice(body) {
        Ok(one) => vec![one],
        Err(_) => serde_json::from_slice(body).unwrap_or_default(),
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// As [`Entry::epoch`].
    pub epoch: usize,
    /// As [`Entry::via`].
    pub via: &'a str,
    /// As [`Entry::id`].
    pub id: Option<&'a str>,
}

/// A record that grows, and what decisions depend on beside the script.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub record: Record,
    /// What may still be taken in this second.
    pub pace: Pace,
    /// The ids of events that were asked for by [`Recorder::is_new`].
    known: HashSet<Arc<str>>,
    /// Each text once.
    texts: HashSet<Arc<str>>,
    /// How often requests of a name came.
    came: HashMap<Arc<str>, u32>,
    /// The ids of the events that were taken.
    taken: HashSet<Arc<str>>,
}

impl Recorder {
    /// Counts a request of this name; how often it came before.
    pub(super) fn came(&mut self, name: &str) -> u32 {
        let name = self.text(name);
        let times = self.came.entry(name).or_default();
        *times += 1;
        *times - 1
    }

    /// Whether this is asked of an event for the first time.
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        let id = self.text(id);
        self.known.insert(id)
    }

    /// Remembers a request whose events fared as `fates` says, each run of those that fared alike as an entry. How many events were
    /// taken by it, and how many of those for the first time.
    pub(super) fn add_each(&mut self, from: Source<'_>, payloads: &[Payload], fates: &[Reply]) -> (u64, u64) {
        let (mut counts, mut rest) = ((0, 0), payloads);
        for run in fates.chunk_by(|one, next| one == next) {
            let (these, others) = rest.split_at(run.len().min(rest.len()));
            let (taken, fresh) = self.add(from, these, run[0]);
            (counts, rest) = ((counts.0 + taken, counts.1 + fresh), others);
        }
        counts
    }

    /// Remembers a request; how many events were taken by it, and how many of those for the first time.
    pub(super) fn add(&mut self, from: Source<'_>, payloads: &[Payload], reply: Reply) -> (u64, u64) {
        let Source { epoch, via, id } = from;
        let (via, id) = (self.text(via), id.map(|id| self.text(id)));
        let came = |event: &Payload| Came {
            id: self.text(&event.id),
            key: self.text(&event.key),
            number: event.number,
            sent: event.sent,
        };
        let events: Box<[Came]> = payloads.iter().map(came).collect();
        let mut fresh = 0;
        if reply.is_taken() {
            events.iter().for_each(|event| fresh += u64::from(self.taken.insert(event.id.clone())));
        }
        let taken = if reply.is_taken() { events.len() as u64 } else { 0 };
        self.record.entries.push(Entry { at: Millis::now(), epoch, via, id, events, reply });
        (taken, fresh)
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(there) = self.texts.get(text) {
            return there.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_one_event_or_a_list_of_them() {
        let one = br#"{"messageId":"a","userId":"k","number":3,"sentMs":5,"other":[1]}"#;
        let cases: [(&[u8], usize); 6] = [
            (one, 1),
            (br#"[{"messageId":"a"},{"messageId":"b"}]"#, 2),
            (b"[]", 0),
            (b"{}", 0),
            (b"", 0),
            (b"[1]", 0),
        ];
        for (body, count) in cases {
            assert_eq!(payloads(body).len(), count, "{}", String::from_utf8_lossy(body));
        }
        let event = &payloads(one)[0];
        assert_eq!(
            (event.id.as_str(), event.key.as_str(), event.number, event.sent),
            ("a", "k", 3, Millis(5))
        );
        assert!(!event.refuse);
    }

    #[test]
    fn what_fared_differently_is_told_apart_and_stays_in_order() {
        let mut recorder = Recorder::default();
        let from = Source { epoch: 0, via: "", id: None };
        let body = json!(["a", "b", "c", "d"].map(|id| json!({"messageId": id}))).to_string();
        let events = payloads(body.as_bytes());
        let fates = [Reply::Accepted, Reply::Accepted, Reply::BadRequest, Reply::Accepted];
        assert_eq!(recorder.add_each(from, &events, &fates), (3, 3));
        assert_eq!(recorder.add_each(from, &events[..1], &fates[..1]), (1, 0));
        let ids = |entry: &Entry| entry.events.iter().map(|event| event.id.to_string()).collect::<String>();
        let seen: Vec<(String, Reply)> =
            recorder.record.entries.iter().map(|entry| (ids(entry), entry.reply)).collect();
        let wanted = [
            ("ab", Reply::Accepted),
            ("c", Reply::BadRequest),
            ("d", Reply::Accepted),
            ("a", Reply::Accepted),
        ];
        assert_eq!(seen, wanted.map(|(ids, reply)| (ids.to_owned(), reply)));
        assert!(recorder.is_new("a") && !recorder.is_new("a") && recorder.is_new("b"));
    }

    #[test]
    fn repeats_are_counted_and_texts_are_kept_once() {
        let mut recorder = Recorder::default();
        let from = Source { epoch: 0, via: "", id: Some("a") };
        let event = |id: &str| payloads(json!({"messageId": id, "userId": "k"}).to_string().as_bytes());
        assert_eq!((recorder.came("a"), recorder.came("a"), recorder.came("b")), (0, 1, 0));
        assert_eq!(recorder.add(from, &event("a"), Reply::Unavailable), (0, 0));
        assert_eq!(recorder.add(from, &event("a"), Reply::Withheld), (1, 1));
        assert_eq!(recorder.add(from, &event("a"), Reply::Accepted), (1, 0));
        let entries = &recorder.record.entries;
        assert_eq!(entries.len(), 3);
        assert!(Arc::ptr_eq(&entries[0].events[0].id, &entries[2].events[0].id));
        assert!(Arc::ptr_eq(entries[0].id.as_ref().unwrap(), &entries[2].events[0].id));
        assert_eq!(recorder.record.taken().count(), 2);
        assert_eq!(
            recorder.record.replies(),
            BTreeMap::from([("503", 1), ("accepted", 1), ("answer_withheld", 1)])
        );
    }
}
