//! `mend-and-redrive`: a schema refuses some events and a destination refuses others; both are mended and redriven by a command that
//! is killed twice. Each event becomes one row of its own hour, and each delivery goes once more to the destination that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::receiver::{Record, Script};
use crate::harness::{Book, Cli, Feed, Node, Receiver, Setup, binary};

/// Every letter there is.
const ALL: [&str; 2] = ["--since", "2020-01-01T00:00:00Z"];
/// Makes the refused payloads such that the receiver takes them.
const PATCH: &str = r#"[{"op":"replace","path":"/refuse","value":false}]"#;
/// What a killed redrive had under way may be sent again: requests this long before the kill.
const WINDOW_MS: i64 = 2_000;
/// How long the receiver takes for a request while a redrive is to be killed in the middle.
const SLOW: Duration = Duration::from_millis(100);

/// How many events, and of which kind.
#[derive(Debug, Clone, Copy)]
struct Size {
    events: u64,
    invalid: u64,
    refused: u64,
}

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Invalid,
    Refused,
}

impl Size {
    /// Flaws are spread evenly: of every so many events one is invalid and another one is refused.
    fn flaw(self, index: u64) -> Option<Flaw> {
        let (invalid, refused) = (self.events / self.invalid, self.events / self.refused);
        if index.is_multiple_of(invalid) && index / invalid < self.invalid {
            Some(Flaw::Invalid)
        } else if index % refused == 1 && index / refused < self.refused {
            Some(Flaw::Refused)
        } else {
            None
        }
    }

    fn shape(self, index: u64, event: &mut Map<String, Value>) {
        let flaw = self.flaw(index);
        let details = if flaw == Some(Flaw::Invalid) { json!("a text") } else { json!({"n": index}) };
        event.insert("details".into(), details);
        event.insert("refuse".into(), (flaw == Some(Flaw::Refused)).into());
    }

    fn ids(self, book: &Book, flaw: Flaw) -> BTreeSet<String> {
        let flawed = book.iter().filter(|(_, offered)| self.flaw(offered.index) == Some(flaw));
        flawed.map(|(id, _)| id.clone()).collect()
    }
}

/// What the proof works with.
struct Site {
    size: Size,
    setup: Setup,
    cli: Cli,
    /// Refuses some payloads.
    hook: Receiver,
    /// Takes everything.
    mirror: Receiver,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let size = match options.short {
        true => Size { events: 1_000, invalid: 200, refused: 100 },
        false => Size { events: 10_000, invalid: 1_000, refused: 500 },
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let site = Site::new(size, options.seed, &folder.path().join("data")).await?;
    let node = Node::start(&site.setup).await?;
    let book = Feed::new(size.events, 40, options.seed)
        .shaped(move |index, event| size.shape(index, event))
        .send(&node.collector)
        .await?;
    let (invalid, refused) = (size.ids(&book, Flaw::Invalid), size.ids(&book, Flaw::Refused));
    site.broken(&node, &invalid, &refused).await?;
    let groups = site.groups().await?;
    tell(format!("by reason: {groups}"));

    node.stop().await?;
    site.schema(&json!({}))?;
    let node = Node::start(&site.setup).await?;
    let edited = site.cli.run(&["dlq", "edit", "--patch", PATCH, "--destination", "hook", "--json"]).await?;
    let (edited, before) = (edited.json()?, site.hook.record().entries.len());
    let would = site.dry_run().await?;
    let kills = site.redrive_killed_twice(before, &refused).await?;
    site.nothing_left().await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let record = site.hook.record();
    let repeats = redriven(&record, before, &refused)?;
    if site.mirror.tally().taken != size.events {
        return Err(format!(
            "the other destination has {} deliveries of {} events",
            site.mirror.tally().taken,
            size.events
        ));
    }
    let hours = site.at_home(&book).await?;
    Ok(
        json!({"events": size.events, "invalid": invalid.len(), "refused": refused.len(), "groups": groups, "edited": edited,
        "dry_run": would, "redrives_killed": kills.len(), "delivered_at_kills": kills, "repeats": repeats, "hours": hours,
        "receiver": record.figures()}),
    )
}

impl Site {
    async fn new(size: Size, seed: u64, data: &std::path::Path) -> Result<Site, String> {
        let hook = Receiver::start(Script { seed, ..Script::default() }).await?;
        let mirror = Receiver::start(Script { takes_marked: true, ..Script::default() }).await?;
        let sections = [Webhook::new("hook", &hook).section(), Webhook::new("mirror", &mirror).section()];
        let schema = data.with_extension("schema.json");
        let line = format!("[streams.events]\nschema = \"{}\"\n", schema.display());
        let config = format!("{}{}", CONFIG.replace("[streams.events]\n", &line), sections.concat());
        let setup = Setup::new(data, Some(&config));
        let cli = Cli::new(&setup)?;
        let site = Site { size, setup, cli, hook, mirror };
        site.schema(&json!({"type": "object"}))?;
        Ok(site)
    }

    /// Writes the schema: the built-in columns that are looked at, and what it says of `details`. Either way that is a column of
    /// JSON text.
    fn schema(&self, details: &Value) -> Result<(), String> {
        let file = self.setup.data_dir.with_extension("schema.json");
        let schema = json!({"type": "object", "required": ["messageId", "details"], "properties": {
            "messageId": {"type": "string", "x-column": "message_id"},
            "userId": {"type": "string", "x-column": "user_id"},
            "timestamp": {"type": "string", "format": "date-time"},
            "details": details}});
        std::fs::write(&file, schema.to_string()).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Waits until everything is delivered or a dead letter; exactly the flawed events are.
    async fn broken(
        &self,
        node: &Node,
        invalid: &BTreeSet<String>,
        refused: &BTreeSet<String>,
    ) -> Result<(), String> {
        let Size { events, .. } = self.size;
        deliveries::settled(node, events).await?;
        deliveries::arrived(&self.mirror, |tally| tally.events >= events).await?;
        deliveries::arrived(&self.hook, |tally| tally.events >= events - refused.len() as u64).await?;
        for name in ["hook", "mirror"] {
            deliveries::until(node, name, PATIENCE, deliveries::State::is_done).await?;
        }
        for (target, due) in [("lake", invalid), ("hook", refused), ("mirror", &BTreeSet::new())] {
            let there = deliveries::letters(&self.cli, target).await?;
            let due: BTreeMap<String, u64> = due.iter().map(|id| (id.clone(), 1)).collect();
            if there != due {
                return Err(format!(
                    "{} dead letters of {target}, {} due",
                    there.values().sum::<u64>(),
                    due.len()
                ));
            }
        }
        Ok(())
    }

    /// Both groups of letters, in one command.
    async fn groups(&self) -> Outcome {
        let groups = self.cli.run(&["dlq", "list", "--json", "--group-by", "reason"]).await?.json()?;
        two_groups(&groups, self.size)?;
        Ok(groups)
    }

    /// What a redrive would do, said without doing it.
    async fn dry_run(&self) -> Outcome {
        let before = (self.hook.tally().requests, self.mirror.tally().requests);
        let words = [&["dlq", "redrive", "--dry-run", "--json"], &ALL[..]].concat();
        let would = self.cli.run(&words).await?.json()?;
        if before != (self.hook.tally().requests, self.mirror.tally().requests) {
            return Err("a dry run has sent something".into());
        }
        told(&would, self.size, &self.hook.url())?;
        // The requests themselves would fill the figures.
        let mut figure = would;
        if let Some(requests) = figure["requests"].as_array().map(Vec::len) {
            figure["requests"] = requests.into();
        }
        Ok(figure)
    }

    /// Redrives, kills the command twice in the middle, and lets it come to its end. How many were delivered at each kill.
    async fn redrive_killed_twice(
        &self,
        before: usize,
        refused: &BTreeSet<String>,
    ) -> Result<Vec<u64>, String> {
        self.hook.change(|script| script.latency = SLOW);
        let (all, first) = (refused.len() as u64, self.hook.tally().events);
        let mut kills = Vec::new();
        for part in 1..=2 {
            let mut command = self.redrive()?;
            let due = first + all * part / 3;
            self.under_way(&mut command, due).await?;
            let delivered = self.hook.tally().events - first;
            if delivered >= all || !matches!(command.try_wait(), Ok(None)) {
                return Err(format!(
                    "the redrive was over before it was killed ({delivered} of {all} delivered)"
                ));
            }
            command.kill().await.map_err(|error| format!("kill: {error}"))?;
            self.hook.mark().await?;
            tell(format!("redrive killed at {delivered} of {all} deliveries"));
            kills.push(delivered);
        }
        self.hook.change(|script| script.latency = Duration::ZERO);
        let words = [&["dlq", "redrive", "--json"], &ALL[..]].concat();
        let result = self.cli.run(&words).await?.json()?;
        tell(format!("redrive done: {result}"));
        let sent = self.hook.record().entries.len() - before;
        if (sent as u64) < all {
            return Err(format!("{sent} requests for {all} deliveries: {result}"));
        }
        Ok(kills)
    }

    /// Waits until the receiver has so many events, while the redrive must go on.
    async fn under_way(&self, redrive: &mut Child, due: u64) -> Result<(), String> {
        tokio::select! {
            reached = self.hook.until(PATIENCE, |tally| tally.events >= due) => reached.map(|_| ()),
            ended = redrive.wait() => {
                Err(format!("the redrive ended before it was killed ({ended:?}, {:?})", self.hook.tally()))
            }
        }
    }

    /// A redrive as a process that can be killed.
    fn redrive(&self) -> Result<Child, String> {
        let mut command = Command::new(binary::shardmill()?);
        command.args(["dlq", "redrive", "--json"]).args(ALL).arg("--data-dir").arg(&self.setup.data_dir);
        if let Some(file) = self.setup.config_file()? {
            command.arg("-c").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.spawn().map_err(|error| format!("the binary does not start: {error}"))
    }

    /// No letter is left.
    async fn nothing_left(&self) -> Result<(), String> {
        let left = self.cli.run(&["dlq", "list", "--json"]).await?.json()?;
        match left.as_array().map(Vec::len) {
            Some(0) => Ok(()),
            _ => Err(format!("letters are left after the redrive: {}", brief(&left.to_string()))),
        }
    }

    /// Each event is one row, in the hour it happened in; how many hours there are.
    async fn at_home(&self, book: &Book) -> Result<usize, String> {
        let rows = deliveries::rows(&self.cli).await?;
        check::verdict(&check::rows(book, &rows, |_| false)).map_err(|error| format!("the lake: {error}"))?;
        let placed = self.cli.query("SELECT message_id, year, month, day, hour FROM events").await?;
        let hours = homes(book, &placed)?;
        self.cli.verify().await?;
        Ok(hours)
    }
}

/// One group of the invalid events and one of the refused ones, nothing else.
fn two_groups(groups: &Value, size: Size) -> Result<(), String> {
    let rows = groups.as_array().into_iter().flatten();
    let counts: Vec<u64> = rows.clone().filter_map(|group| group["count"].as_u64()).collect();
    let mut due = vec![size.invalid, size.refused];
    due.sort_unstable_by(|a, b| b.cmp(a));
    let reasons: BTreeSet<&str> = rows.filter_map(|group| group["reason"].as_str()).collect();
    match counts == due && reasons.len() == 2 {
        true => Ok(()),
        false => Err(format!("not one group of {} and one of {}: {groups}", size.invalid, size.refused)),
    }
}

/// A dry run selects everything, says how many rows there will be, and shows requests to the destination that failed.
fn told(would: &Value, size: Size, url: &str) -> Result<(), String> {
    let selected = would["selected"].as_u64() == Some(size.invalid + size.refused);
    let rows = would["rows"].as_u64() == Some(size.invalid);
    let shown = would["requests"].as_array().is_some_and(|requests| !requests.is_empty());
    match would["dry_run"] == true && selected && rows && shown && would["requests"].to_string().contains(url)
    {
        true => Ok(()),
        false => Err(format!("the dry run does not tell what would be done: {}", brief(&would.to_string()))),
    }
}

fn brief(text: &str) -> String {
    text.chars().take(600).collect()
}

/// What the failed destination saw after `before` requests: each refused delivery, and nothing else, once more; again only what was
/// under way at a kill, always under the same idempotency key.
fn redriven(record: &Record, before: usize, refused: &BTreeSet<String>) -> Outcome {
    let later = Record { entries: record.entries[before..].to_vec(), marks: record.marks.clone() };
    let seen: BTreeSet<&str> =
        later.entries.iter().flat_map(|entry| entry.events.iter()).map(|event| &*event.id).collect();
    let taken: BTreeSet<String> = later.taken().map(|(_, event)| event.id.to_string()).collect();
    if taken != *refused {
        return Err(format!(
            "{} deliveries were redriven and taken, {} were due",
            taken.len(),
            refused.len()
        ));
    }
    if let Some(other) = seen.iter().find(|id| !refused.contains(**id)) {
        return Err(format!("{other} was sent again and had not failed"));
    }
    let (repeats, repeated) = check::repeats(&later, WINDOW_MS);
    check::verdict(&repeated).map_err(|error| format!("repeats: {error}"))?;
    check::verdict(&check::identified(record)).map_err(|error| format!("idempotency keys: {error}"))?;
    Ok(repeats.figures())
}

/// Every row lies in the hour its event happened in; how many hours there are.
pub(super) fn homes(book: &Book, rows: &[Value]) -> Result<usize, String> {
    let mut hours = BTreeSet::new();
    for row in rows {
        let offered = row["message_id"].as_str().and_then(|id| book.get(id));
        let at = offered.ok_or_else(|| format!("a row of an event never sent: {row}"))?.at.to_string();
        let part = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
        let hour = format!("{}-{}-{}T{}", part("year"), part("month"), part("day"), part("hour"));
        if !at.starts_with(&hour) {
            return Err(format!("{} happened at {at} and lies in {hour}", row["message_id"]));
        }
        hours.insert(hour);
    }
    Ok(hours.len())
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::Millis;

    use super::*;
    use crate::harness::Offered;
    use crate::harness::receiver::{Came, Entry, Reply};

    const SIZE: Size = Size { events: 1_000, invalid: 200, refused: 100 };

    #[test]
    fn flaws_are_as_many_as_wanted_and_never_both() {
        for size in [SIZE, Size { events: 10_000, invalid: 1_000, refused: 500 }] {
            let count =
                |flaw| (0..size.events).filter(|index| size.flaw(*index) == Some(flaw)).count() as u64;
            assert_eq!((count(Flaw::Invalid), count(Flaw::Refused)), (size.invalid, size.refused));
        }
        let mut event = Map::new();
        SIZE.shape(1, &mut event);
        assert_eq!(event["refuse"], true);
        assert!(event["details"].is_object());
        SIZE.shape(5, &mut event);
        assert_eq!((&event["refuse"], &event["details"]), (&json!(false), &json!("a text")));
    }

    #[test]
    fn groups_and_dry_runs_must_tell_all() {
        let good = json!([{"reason": "/details: …", "count": 200}, {"reason": "422 …", "count": 100}]);
        assert_eq!(two_groups(&good, SIZE), Ok(()));
        for bad in [
            json!([]),
            json!([{"reason": "a", "count": 300}]),
            json!([{"reason": "a", "count": 200}, {"reason": "b", "count": 99}, {"reason": "c", "count": 1}]),
        ] {
            assert!(two_groups(&bad, SIZE).is_err(), "{bad}");
        }
        let url = "http://h/in";
        let good = json!({"dry_run": true, "selected": 300, "rows": 200, "requests": [{"url": url}]});
        assert_eq!(told(&good, SIZE, url), Ok(()));
        for (name, value) in
            [("dry_run", json!(false)), ("selected", json!(299)), ("rows", json!(1)), ("requests", json!([]))]
        {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(told(&bad, SIZE, url).is_err(), "{name}");
        }
    }

    #[test]
    fn only_the_failed_deliveries_are_sent_again_and_once() {
        let entry = |epoch, at, id: &str, reply| {
            let event = Came { id: id.into(), key: "k".into(), number: 0, sent: Millis(0) };
            Entry {
                at: Millis(at),
                epoch,
                via: "".into(),
                id: Some(id.into()),
                events: [event].into(),
                reply,
            }
        };
        let refused = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let judged = |later: Vec<Entry>| {
            let mut entries = vec![entry(0, 0, "a", Reply::Unprocessable), entry(0, 0, "c", Reply::Accepted)];
            entries.extend(later);
            redriven(&Record { entries, marks: vec![Millis(10_000)] }, 2, &refused)
        };
        let (a, b) = (entry(0, 9_500, "a", Reply::Accepted), entry(1, 11_000, "b", Reply::Accepted));
        let again = entry(1, 11_000, "a", Reply::Accepted);
        assert!(judged(vec![a.clone(), b.clone()]).is_ok());
        assert_eq!(judged(vec![a.clone(), again.clone(), b.clone()]).unwrap()["around_kills"], 1);
        let cases = [
            (vec![a.clone()], "due"),
            (vec![a.clone(), b.clone(), entry(1, 12_000, "c", Reply::Unavailable)], "had not failed"),
            (vec![entry(0, 1_000, "a", Reply::Accepted), again, b.clone()], "repeats"),
            (vec![a.clone(), b.clone(), b.clone()], "repeats"),
            (vec![a, Entry { id: Some("z".into()), ..b }], "idempotency"),
        ];
        for (later, reason) in cases {
            assert!(judged(later).unwrap_err().contains(reason), "{reason}");
        }
    }

    #[test]
    fn a_row_in_a_foreign_hour_is_found() {
        let at = Millis(1_773_480_413_589); // 2026-03-14T09:26:53.589Z
        let offered = Offered { index: 0, key: "k".into(), number: 0, at, sent: at, acknowledged: true };
        let book = Book::from([("k-0".to_owned(), offered)]);
        let row = |hour: &str| json!({"message_id": "k-0", "year": "2026", "month": "03", "day": "14", "hour": hour});
        assert_eq!(homes(&book, &[row("09")]), Ok(1));
        assert!(homes(&book, &[row("10")]).unwrap_err().contains("lies in 2026-03-14T10"));
        assert!(homes(&book, &[json!({"message_id": "z"})]).is_err());
    }
}
