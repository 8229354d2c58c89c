//! What a receiver's record must be like: pure functions over the record, the book of what was sent, and the dead letters. Each
//! says what is wrong, in words.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use crate::harness::feed::{Book, Offered};
use crate::harness::receiver::{Came, Entry, Record, Reply};

/// How many of the same kind are named.
const NAMED: usize = 5;

/// What is wrong.
pub type Wrong = Vec<String>;

/// The reason as text; nothing wrong is no reason.
pub fn verdict(wrong: &Wrong) -> Result<(), String> {
    match wrong.len() {
        0 => Ok(()),
        count => {
            let named = wrong.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            Err(format!("{count} violations: {named}"))
        }
    }
}

/// Everything acknowledged was taken at least once, but for what is `excepted`.
pub fn missing(book: &Book, record: &Record, excepted: impl Fn(&str) -> bool) -> Wrong {
    let taken: HashSet<&str> = record.taken().map(|(_, event)| &*event.id).collect();
    let due = |(id, offered): &(&String, &Offered)| offered.acknowledged && !excepted(id);
    let missing = book.iter().filter(due).filter(|(id, _)| !taken.contains(id.as_str()));
    missing.map(|(id, _)| format!("{id} never arrived")).collect()
}

/// Nothing but what is refused for ever is missing; nothing was taken that was never sent, and nothing that is refused.
pub fn complete(book: &Book, record: &Record, refused: impl Fn(&str) -> bool) -> Wrong {
    let mut wrong = missing(book, record, &refused);
    let taken: BTreeSet<&str> = record.taken().map(|(_, event)| &*event.id).collect();
    for id in &taken {
        if !book.contains_key(*id) {
            wrong.push(format!("{id} arrived and was never sent"));
        } else if refused(id) {
            wrong.push(format!("{id} was taken although it is refused for ever"));
        }
    }
    wrong
}

/// Every event refused for ever is one dead letter, everything else is none. What the collector did not acknowledge may not be
/// there at all: then it was never seen either.
pub fn letters(
    book: &Book,
    record: &Record,
    letters: &BTreeMap<String, u64>,
    refused: impl Fn(&str) -> bool,
) -> Wrong {
    let seen: BTreeSet<&str> =
        record.entries.iter().flat_map(|entry| entry.events.iter()).map(|event| &*event.id).collect();
    let mut wrong = Wrong::new();
    for (id, offered) in book {
        let there = letters.get(id).copied().unwrap_or(0);
        let due = u64::from(refused(id) && (offered.acknowledged || seen.contains(id.as_str())));
        if there != due {
            wrong.push(format!("{id}: {there} dead letters, {due} due"));
        }
    }
    wrong.extend(
        letters.keys().filter(|id| !book.contains_key(*id)).map(|id| format!("a letter of {id}, never sent")),
    );
    wrong
}

/// Order per key. An event is taken for the first time after every earlier one that is ever taken; and within an epoch no
/// event is even tried while an earlier one of its key, tried before, has no final answer that its sender could read.
pub fn order(record: &Record) -> Wrong {
    let mut wrong = first_time_in_order(record);
    wrong.extend(one_at_a_time(record));
    wrong
}

fn first_time_in_order(record: &Record) -> Wrong {
    let mut wrong = Wrong::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut last: HashMap<&str, &Came> = HashMap::new();
    for (_, event) in record.taken().filter(|(_, event)| seen.insert(&event.id)) {
        match last.get(&*event.key) {
            Some(before) if before.number >= event.number => {
                wrong.push(format!("{} arrived for the first time after {}", event.id, before.id));
            }
            _ => _ = last.insert(&event.key, event),
        }
    }
    wrong
}

fn one_at_a_time(record: &Record) -> Wrong {
    let mut wrong = Wrong::new();
    // The events of a key that were tried and have no answer yet that ends it, per epoch and sender.
    let mut open: HashMap<(usize, &str, &str), BTreeMap<u64, &Came>> = HashMap::new();
    for entry in &record.entries {
        let ended = entry.reply == Reply::Accepted || entry.reply.is_refusal();
        let mut first: BTreeMap<&str, &Came> = BTreeMap::new();
        for event in &entry.events {
            let lowest = first.entry(&event.key).or_insert(event);
            if lowest.number > event.number {
                wrong.push(format!("{} comes after {} in one request", event.id, lowest.id));
                *lowest = event;
            }
        }
        for (key, event) in first {
            let waiting =
                open.get(&(entry.epoch, &*entry.via, key)).and_then(|waiting| waiting.first_key_value());
            if let Some((number, before)) = waiting
                && *number < event.number
            {
                wrong.push(format!("{} was tried while {} had no answer", event.id, before.id));
            }
        }
        for event in &entry.events {
            let waiting = open.entry((entry.epoch, &entry.via, &event.key)).or_default();
            if ended {
                waiting.remove(&event.number);
            } else {
                waiting.insert(event.number, event);
            }
        }
    }
    wrong
}

/// Why events were taken again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// The answer before was lost.
    pub answer_lost: u64,
    /// Taken before a kill and not committed then.
    pub around_kills: u64,
    /// The longest time between such a taking and the kill, in milliseconds.
    pub longest_before_a_kill_ms: i64,
}

impl Repeats {
    /// For the figures.
    pub fn figures(&self) -> Value {
        json!({"answer_lost": self.answer_lost, "around_kills": self.around_kills,
            "longest_before_a_kill_ms": self.longest_before_a_kill_ms})
    }
}

/// An event is taken again only when the answer before was lost, or when it was taken at most `window_ms` before a mark and this
/// time after it.
pub fn repeats(record: &Record, window_ms: i64) -> (Repeats, Wrong) {
    let (mut repeats, mut wrong) = (Repeats::default(), Wrong::new());
    let mut last: HashMap<&str, &Entry> = HashMap::new();
    for (entry, event) in record.taken() {
        let Some(before) = last.insert(&event.id, entry) else { continue };
        // How long before the end of its epoch it was taken; negative when its connection outlived the mark.
        let left = match record.marks.get(before.epoch) {
            Some(mark) if before.epoch != entry.epoch => Some(mark.since(before.at)),
            _ => None,
        };
        match left {
            _ if before.reply.is_lost() => repeats.answer_lost += 1,
            Some(left) if left <= window_ms => {
                repeats.around_kills += 1;
                repeats.longest_before_a_kill_ms = repeats.longest_before_a_kill_ms.max(left);
            }
            Some(left) => {
                wrong.push(format!("{} was repeated, {left} ms before kill {}", event.id, before.epoch + 1));
            }
            None => wrong.push(format!("{} was repeated without a reason", event.id)),
        }
    }
    (repeats, wrong)
}

/// Everything acknowledged is one row, but for what is `excepted`, which is none; the rest is a row at most.
pub fn rows(book: &Book, rows: &BTreeMap<String, u64>, excepted: impl Fn(&str) -> bool) -> Wrong {
    let mut wrong = Wrong::new();
    for (id, offered) in book {
        let there = rows.get(id).copied().unwrap_or(0);
        let most = u64::from(!excepted(id));
        let least = if offered.acknowledged { most } else { 0 };
        if !(least..=most).contains(&there) {
            wrong.push(format!("{id}: {there} rows"));
        }
    }
    wrong.extend(
        rows.keys().filter(|id| !book.contains_key(*id)).map(|id| format!("a row of {id}, never sent")),
    );
    wrong
}

/// Every request is one event under its own id: the idempotency key is the same however often it comes.
pub fn identified(record: &Record) -> Wrong {
    let wrong = |entry: &&Entry| match (&*entry.events, &entry.id) {
        ([event], Some(id)) => event.id != *id,
        _ => true,
    };
    let said = |entry: &Entry| {
        let ids: Vec<&str> = entry.events.iter().map(|event| &*event.id).collect();
        format!("a request under the id {:?} brought {ids:?}", entry.id)
    };
    record.entries.iter().filter(wrong).map(said).collect()
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
