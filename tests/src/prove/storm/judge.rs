//! The verdicts on a storm: pure functions over what was seen. Each says what is wrong, in words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cast::{Part, Trouble};
use crate::harness::receiver::{Record, Reply, Tally};
use crate::harness::{Book, Cli};
use crate::prove::deliveries::State;
use crate::prove::deliveries::check::{self, Repeats, Wrong};

/// What the dead letter of a refused item must say.
const ITEM_ERROR: &str = "mapper_parsing_exception";
/// What a lane must say that reaches nobody.
const NOBODY: &str = "no connection";

/// A third party at one moment.
#[derive(Debug)]
pub(super) struct Sight {
    /// Which.
    pub(super) part: Part,
    /// How much has arrived at its receiver.
    pub(super) tally: Tally,
    /// What the node says of it.
    pub(super) state: State,
    /// Why its lanes fail, each reason once.
    pub(super) reasons: Vec<String>,
}

impl Sight {
    fn figures(&self) -> Value {
        json!({"taken": self.tally.events, "requests": self.tally.requests, "pending": self.state.pending,
            "state": self.state.state, "parked_keys": self.state.parked_keys, "reasons": self.reasons})
    }

    /// Whoever is down or throttles must be behind now, for its trouble and nothing else.
    fn is_behind(&self, events: u64) -> Result<(), &'static str> {
        let Sight { tally, state, reasons, .. } = self;
        Err(match self.part.trouble {
            Trouble::Down if tally.requests > 0 => "it was reached, although nobody should listen",
            Trouble::Down if !reasons.iter().any(|reason| reason.contains(NOBODY)) => {
                "no lane says that nobody listens: nothing was shown"
            }
            Trouble::Throttled if tally.events == 0 => "it has taken nothing at all",
            Trouble::Throttled if tally.events * 5 > events => {
                "it has taken more than a fifth already: it did not throttle"
            }
            Trouble::Down | Trouble::Throttled if state.pending == 0 => {
                "nothing waits for it: nothing was shown"
            }
            Trouble::Down | Trouble::Throttled if state.dead_lettered > 0 => {
                "events were given up for what passes"
            }
            _ => return Ok(()),
        })
    }
}

/// When the lake and the fine third party have everything, the one that is down has nothing, and the one that throttles little.
pub(super) fn meanwhile(sights: &[Sight], events: u64) -> Result<Value, String> {
    let told = |sight: &Sight, why: &str| {
        format!("{}, when the lake and the fine one had everything: {why}; {sight:?}", sight.part.kind)
    };
    sights.iter().try_for_each(|sight| sight.is_behind(events).map_err(|why| told(sight, why)))?;
    Ok(sights.iter().map(|sight| (sight.part.kind.to_owned(), sight.figures())).collect())
}

/// The one that is down was down until now.
pub(super) fn still_down(sights: &[Sight]) -> Result<(), String> {
    let reached = |sight: &&Sight| sight.part.trouble == Trouble::Down && sight.tally.requests > 0;
    match sights.iter().find(reached) {
        Some(sight) => Err(format!("{} was reached before it came back: {sight:?}", sight.part.kind)),
        None => Ok(()),
    }
}

/// The node counts every event as delivered or given up, as many as it should.
pub(super) fn balanced(state: &State, events: u64, due: u64) -> Result<(), String> {
    let counts = (state.routed, state.delivered, state.dead_lettered);
    match counts == (events, due, events - due.min(events)) {
        true => Ok(()),
        false => Err(format!("{due} deliveries and {} dead letters are due", events - due.min(events))),
    }
}

/// A dead letter.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    id: String,
    class: String,
    reason: String,
}

impl Letter {
    /// The dead letters of a target: `lake` or a destination.
    pub(super) async fn all(cli: &Cli, target: &str) -> Result<Vec<Letter>, String> {
        let letters = cli.run(&["dlq", "show", "--json", "--destination", target]).await?.json()?;
        letters.as_array().into_iter().flatten().map(Letter::read).collect()
    }

    fn read(letter: &Value) -> Result<Letter, String> {
        let text = |pointer| {
            let text = letter.pointer(pointer).and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| format!("a dead letter without {pointer}: {letter}"))
        };
        Ok(Letter { id: text("/payload/messageId")?, class: text("/class")?, reason: text("/reason")? })
    }
}

/// What there is to judge of a third party in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// What its receiver remembers.
    pub(super) record: &'a Record,
    /// How many requests that were.
    pub(super) requests: u64,
    /// Its dead letters.
    pub(super) letters: &'a [Letter],
}

/// All that must hold of a third party in the end; the figures.
pub(super) fn judge(
    part: Part,
    in_trouble: bool,
    seen: Seen<'_>,
    book: &Book,
    refused: impl Fn(&str) -> bool,
) -> Result<Value, String> {
    let Seen { record, requests, letters } = seen;
    let mut counts = BTreeMap::new();
    letters.iter().for_each(|letter| *counts.entry(letter.id.clone()).or_default() += 1);
    let (repeats, repeated) = check::repeats(record, 0);
    let all = [
        ("requests in another form", misunderstood(record)),
        ("missing or invented", check::complete(book, record, &refused)),
        ("dead letters", check::letters(book, record, &counts, &refused)),
        ("reasons", unexplained(letters)),
        ("order", check::order(record)),
        ("repeats", repeated),
    ];
    for (what, wrong) in all {
        check::verdict(&wrong).map_err(|error| format!("{what}: {error}"))?;
    }
    if in_trouble {
        exercised(part.trouble, seen, repeats)?;
    }
    tokens(part.trouble, in_trouble, record)?;
    Ok(json!({"requests": requests, "replies": record.replies(), "dead_letters": letters.len(),
        "reason": letters.first().map(|letter| letter.reason.as_str()), "repeats": repeats.figures()}))
}

/// Requests that no third party of this kind would understand.
fn misunderstood(record: &Record) -> Wrong {
    let wrong = record.entries.iter().filter(|entry| entry.reply == Reply::Malformed);
    wrong.map(|entry| format!("at {} one came that is none of the vendor's", entry.at)).collect()
}

/// Dead letters that do not say what the third party said of the item.
fn unexplained(letters: &[Letter]) -> Wrong {
    let explained = |letter: &&Letter| letter.class == "rejected" && letter.reason.contains(ITEM_ERROR);
    let wrong = letters.iter().filter(|letter| !explained(letter));
    wrong.map(|Letter { id, class, reason }| format!("{id} was given up as {class}: {reason}")).collect()
}

/// How often a reply was given.
fn met(record: &Record, reply: Reply) -> u64 {
    record.replies().get(reply.name()).copied().unwrap_or(0)
}

/// A third party's trouble was met, and did what it is there for.
fn exercised(trouble: Trouble, seen: Seen<'_>, repeats: Repeats) -> Result<(), String> {
    let needed: &[Reply] = match trouble {
        Trouble::None | Trouble::Down => &[],
        Trouble::Throttled => &[Reply::Throttled1s],
        Trouble::Refusing => &[Reply::BadRequest, Reply::Throttled],
        Trouble::Silent => &[Reply::Withheld],
        Trouble::Revoked => &[Reply::Unauthorized],
    };
    if let Some(absent) = needed.iter().find(|reply| met(seen.record, **reply) == 0) {
        return Err(format!("no request met `{}`: nothing was shown about it", absent.name()));
    }
    // A request whose items fared differently is several entries.
    let mixed = seen.record.entries.len() as u64 > seen.requests;
    match trouble {
        Trouble::Refusing if !mixed => {
            Err("no item was refused beside others that were taken: nothing was shown about batches".into())
        }
        Trouble::Silent if repeats.answer_lost == 0 => {
            Err("nothing was repeated after an answer was lost: nothing was shown".into())
        }
        _ => Ok(()),
    }
}

/// One access token for all lanes, and one more when that was revoked.
fn tokens(trouble: Trouble, in_trouble: bool, record: &Record) -> Result<(), String> {
    let due = if trouble == Trouble::Revoked { 1 + u64::from(in_trouble) } else { 0 };
    match met(record, Reply::Granted) {
        there if there == due => Ok(()),
        there => Err(format!("{there} access tokens were asked for; {due} are due for all lanes together")),
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::Millis;

    use super::*;
    use crate::harness::Offered;
    use crate::harness::receiver::{Came, Entry};
    use crate::prove::storm::cast::CAST;

    fn part(trouble: Trouble) -> Part {
        *CAST.iter().find(|part| part.trouble == trouble).unwrap()
    }

    fn entry(numbers: &[u64], reply: Reply) -> Entry {
        let came = |number: &u64| Came {
            id: format!("k-{number}").into(),
            key: "k".into(),
            number: *number,
            sent: Millis(0),
        };
        let events = numbers.iter().map(came).collect();
        Entry { at: Millis(0), epoch: 0, via: "".into(), id: None, events, reply }
    }

    fn record(entries: &[Entry]) -> Record {
        Record { entries: entries.to_vec(), marks: Vec::new() }
    }

    fn book() -> Book {
        let at = Millis(0);
        let offered =
            |number| Offered { index: number, key: "k".into(), number, at, sent: at, acknowledged: true };
        (0..3).map(|number| (format!("k-{number}"), offered(number))).collect()
    }

    fn letter(number: u64, class: &str, reason: &str) -> Letter {
        Letter { id: format!("k-{number}"), class: class.into(), reason: reason.into() }
    }

    /// What a run looks like in which a third party had its trouble and everything went well.
    fn good(trouble: Trouble) -> (Vec<Entry>, Vec<Letter>) {
        let taken = entry(&[0, 1, 2], Reply::Accepted);
        let no_entry = entry(&[], Reply::Granted);
        let first = entry(&[0], Reply::Accepted);
        match trouble {
            Trouble::None | Trouble::Down => (vec![taken], vec![]),
            Trouble::Throttled => (vec![entry(&[0], Reply::Throttled1s), taken], vec![]),
            Trouble::Refusing => {
                let entries = vec![
                    first,
                    entry(&[1], Reply::BadRequest),
                    entry(&[2], Reply::Throttled),
                    entry(&[2], Reply::Accepted),
                ];
                (entries, vec![letter(1, "rejected", "not taken: mapper_parsing_exception: no date")])
            }
            Trouble::Silent => (vec![entry(&[0], Reply::Withheld), taken], vec![]),
            Trouble::Revoked => {
                let (again, rest) = (entry(&[1, 2], Reply::Unauthorized), entry(&[1, 2], Reply::Accepted));
                (vec![no_entry.clone(), first, again, no_entry, rest], vec![])
            }
        }
    }

    fn judged(
        trouble: Trouble,
        entries: &[Entry],
        letters: &[Letter],
        requests: u64,
    ) -> Result<Value, String> {
        let record = record(entries);
        let seen = Seen { record: &record, requests, letters };
        let refused = |id: &str| trouble == Trouble::Refusing && id == "k-1";
        judge(part(trouble), true, seen, &book(), refused)
    }

    #[test]
    fn what_went_well_passes_for_every_third_party() {
        for part in CAST {
            let (entries, letters) = good(part.trouble);
            let verdict = judged(part.trouble, &entries, &letters, 2);
            assert!(verdict.is_ok(), "{}: {verdict:?}", part.kind);
        }
    }

    #[test]
    fn a_trouble_that_was_not_met_shows_nothing() {
        let cases = [
            (Trouble::Throttled, Reply::Throttled1s, "429_retry_after_1"),
            (Trouble::Refusing, Reply::Throttled, "`429`"),
            (Trouble::Silent, Reply::Withheld, "answer_withheld"),
            (Trouble::Revoked, Reply::Unauthorized, "`401`"),
        ];
        for (trouble, absent, named) in cases {
            let (mut entries, letters) = good(trouble);
            entries.retain(|entry| entry.reply != absent);
            let error = judged(trouble, &entries, &letters, 2).unwrap_err();
            assert!(error.contains(named) && error.contains("nothing was shown"), "{trouble:?}: {error}");
        }
        let (entries, letters) = good(Trouble::Refusing);
        let alone = judged(Trouble::Refusing, &entries, &letters, entries.len() as u64).unwrap_err();
        assert!(alone.contains("beside others"), "{alone}");
        let silent = [entry(&[0], Reply::Accepted), entry(&[1, 2], Reply::Withheld)];
        assert!(judged(Trouble::Silent, &silent, &[], 2).unwrap_err().contains("nothing was repeated"));
    }

    #[test]
    fn every_kind_of_violation_is_named() {
        let taken = entry(&[0, 1, 2], Reply::Accepted);
        let fine = |entries: &[Entry]| judged(Trouble::None, entries, &[], 1);
        let refused = |letters: &[Letter]| judged(Trouble::Refusing, &good(Trouble::Refusing).0, letters, 2);
        let cases = [
            (fine(&[entry(&[0, 1], Reply::Accepted)]), "never arrived"),
            (fine(&[entry(&[0, 1, 2, 3], Reply::Accepted)]), "never sent"),
            (fine(&[taken.clone(), taken.clone()]), "repeats"),
            (fine(&[entry(&[], Reply::Malformed), taken.clone()]), "another form"),
            (fine(&[entry(&[1, 0, 2], Reply::Accepted)]), "order"),
            (fine(&[entry(&[], Reply::Granted), taken]), "access tokens"),
            (refused(&[]), "dead letters"),
            (refused(&[0, 1].map(|number| letter(number, "rejected", ITEM_ERROR))), "dead letters"),
            (refused(&[letter(1, "rejected", "answered 400")]), "reasons"),
            (refused(&[letter(1, "transient", ITEM_ERROR)]), "reasons"),
        ];
        for (verdict, kind) in cases {
            assert!(verdict.unwrap_err().contains(kind), "{kind}");
        }
        let (mut often, _) = good(Trouble::Revoked);
        often.push(entry(&[], Reply::Granted));
        assert!(judged(Trouble::Revoked, &often, &[], 9).unwrap_err().contains("3 access tokens"));
    }

    fn sight(trouble: Trouble, (events, requests): (u64, u64), pending: u64, reason: &str) -> Sight {
        let tally = Tally { events, requests, ..Tally::default() };
        let state = State { pending, ..State::default() };
        Sight { part: part(trouble), tally, state, reasons: vec![reason.into()] }
    }

    #[test]
    fn who_is_down_or_throttles_must_be_behind_when_the_others_have_finished() {
        let (down, throttled) = (Trouble::Down, Trouble::Throttled);
        let nobody = "no connection: refused (transient)";
        let good = [
            sight(down, (0, 0), 5, nobody),
            sight(throttled, (10, 30), 90, ""),
            sight(Trouble::None, (100, 9), 0, ""),
        ];
        let figures = meanwhile(&good, 100).unwrap();
        assert_eq!((&figures["amplitude"]["taken"], &figures["segment"]["taken"]), (&json!(0), &json!(100)));
        assert_eq!(still_down(&good), Ok(()));
        let given_up = |mut sight: Sight| {
            sight.state.dead_lettered = 1;
            sight
        };
        let cases = [
            (sight(down, (0, 1), 5, nobody), "reached"),
            (sight(down, (0, 0), 5, "answered 503"), "nobody listens"),
            (sight(down, (0, 0), 0, nobody), "nothing waits"),
            (given_up(sight(down, (0, 0), 5, nobody)), "given up"),
            (sight(throttled, (0, 30), 90, ""), "nothing at all"),
            (sight(throttled, (21, 30), 79, ""), "a fifth"),
            (sight(throttled, (10, 30), 0, ""), "nothing waits"),
            (given_up(sight(throttled, (10, 30), 90, "")), "given up"),
        ];
        for (wrong, why) in cases {
            assert!(meanwhile(&[wrong], 100).unwrap_err().contains(why), "{why}");
        }
        assert!(still_down(&[sight(down, (1, 1), 5, "")]).is_err());
    }

    #[test]
    fn the_books_of_a_node_must_balance() {
        let state =
            |routed, delivered, dead_lettered| State { routed, delivered, dead_lettered, ..State::default() };
        assert_eq!(balanced(&state(10, 9, 1), 10, 9), Ok(()));
        for wrong in [state(9, 9, 1), state(10, 10, 0), state(10, 9, 0), state(10, 8, 2)] {
            assert!(balanced(&wrong, 10, 9).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn letters_are_read_whole_or_not_at_all() {
        let whole = json!({"class": "rejected", "reason": "no", "payload": {"messageId": "k-1"}});
        let read = Letter::read(&whole).unwrap();
        assert_eq!((read.id.as_str(), read.class.as_str(), read.reason.as_str()), ("k-1", "rejected", "no"));
        for absent in ["class", "reason", "payload"] {
            let mut letter = whole.clone();
            letter[absent] = Value::Null;
            assert!(Letter::read(&letter).unwrap_err().contains(absent));
        }
    }
}
