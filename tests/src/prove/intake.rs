//! `intake`: files as Firehose writes them, announced in a queue, while the node is killed: every row once, in its hour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use shardmill_connectors::{Hour, Millis};

use super::{Options, Outcome, tell};
use crate::harness::cloud::CloudRawStore;
use crate::harness::raw::{EmbeddedRawStore, RawStore, firehose_key, gzip, settled};
use crate::harness::{Cli, Node};

/// Events of a file.
const TOGETHER: usize = 60;
/// One notice in so many is sent twice.
const TWICE: usize = 20;
/// Events of the short proof.
const SHORT: usize = 1_500;
const DAY_MS: i64 = 24 * 3_600_000;
/// How long the last notices may take to be settled: what a killed node had in hand is hidden for a while.
const PATIENCE: Duration = Duration::from_secs(180);

/// An event, and when it happened.
struct Event {
    id: String,
    at: Millis,
    text: String,
}

/// A file to be put.
struct File {
    key: String,
    bytes: Vec<u8>,
    /// The events' ids, and the hours they belong to.
    expected: Vec<(String, Hour)>,
}

/// Runs the proof: once with rows in the hours of their files, once in those of their events.
pub async fn run(options: Options) -> Outcome {
    let mut events = events(options.data.as_deref())?;
    if options.short {
        events.truncate(SHORT);
    }
    let mut figures = BTreeMap::new();
    for partition_by in ["arrival", "event"] {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let data_dir = folder.path().join("data");
        let store = EmbeddedRawStore::new(&data_dir)?;
        let figure = prove(&store, (events.as_slice(), partition_by), &options).await;
        figures
            .insert(partition_by, figure.map_err(|error| format!("partition_by {partition_by}: {error}"))?);
    }
    tell("from a bucket of S3 that announces its files in a queue of SQS");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let store = CloudRawStore::start(folder.path(), options.seed).await?;
    let figure = prove(&store, (events.as_slice(), "event"), &options).await;
    figures.insert("s3", figure.map_err(|error| format!("S3 and SQS: {error}"))?);
    Ok(json!({"events": events.len(), "by": figures}))
}

/// Everything that is put, announced, killed and judged, whatever the store.
async fn prove(store: &dyn RawStore, (events, partition_by): (&[Event], &str), options: &Options) -> Outcome {
    let kills = if options.short { 4 } else { 12 };
    let stream = format!("partition_by = \"{partition_by}\"\n[streams.events.fields]\ntime = [\"/ts\"]\n");
    let setup = store.setup(&stream);
    let mut chance = StdRng::seed_from_u64(options.seed);
    let files = files(events, partition_by)?;
    let corrupt = files.len() / 3;
    let mut node = Node::start(&setup).await?;
    let (mut killed, mut with_files_in_hand, mut twice) = (0, 0, 0);
    let every = files.len().div_ceil(kills + 1);
    for (index, file) in files.iter().enumerate() {
        let bytes = match index == corrupt {
            true => file.bytes[..file.bytes.len() * 2 / 3].to_vec(),
            false => file.bytes.clone(),
        };
        store.put(&file.key, bytes).await?;
        store.announce(&file.key).await?;
        if index % TWICE == TWICE / 2 {
            store.announce(&file.key).await?;
            twice += 1;
        }
        if index % every == every - 1 && killed < kills {
            tokio::time::sleep(Duration::from_millis(chance.random_range(0..300))).await;
            with_files_in_hand += u64::from(store.unsettled().await? > 0);
            node.kill().await?;
            killed += 1;
            tell(format!(
                "{partition_by}: kill {killed} of {kills} after {} of {} files",
                index + 1,
                files.len()
            ));
            node = Node::start(&setup).await?;
        }
    }
    store.say("this is not a notice").await?;
    settled(store, PATIENCE).await?;
    let cli = Cli::new(&setup)?;
    let letters = letters(&cli, &files[corrupt].key).await?;
    // Mended: the file is there whole, and its letter is redriven, which announces it again.
    store.put(&files[corrupt].key, files[corrupt].bytes.clone()).await?;
    redrive(&cli).await?;
    settled(store, PATIENCE).await?;
    node.tell("compact", &json!({})).await?;
    let status = node.ask("status").await?;
    node.stop().await?;
    let rows = judge(&cli, &files).await?;
    let report = cli.verify().await?;
    if with_files_in_hand == 0 {
        return Err("no kill found a file in hand: nothing was shown".into());
    }
    Ok(json!({"files": files.len(), "announced_twice": twice, "kills": killed,
        "kills_with_files_in_hand": with_files_in_hand, "letters": letters, "rows": rows,
        "late_rows": report["late"], "hours": report["hours"], "intakes": status["intakes"]}))
}

/// Sparkify's events in the order in which they happened, each with an id of its own.
fn events(data: Option<&Path>) -> Result<Vec<Event>, String> {
    let folder = data.map_or_else(
        || Err("this proof reads sparkify.ndjson: name its folder with --data DIR".to_owned()),
        |data| Ok(PathBuf::from(data)),
    )?;
    let path = folder.join("sparkify.ndjson");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let event = |(number, line): (usize, &str)| {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        let at = value["ts"].as_i64().ok_or_else(|| format!("line {number} has no time"))?;
        let id = format!("row {number}");
        let rest = line.trim_start().strip_prefix('{').ok_or("a line that is no object")?;
        Ok(Event { text: format!("{{\"messageId\":\"{id}\",{rest}"), id, at: Millis(at) })
    };
    let mut events: Vec<Event> = text.lines().enumerate().map(event).collect::<Result<_, String>>()?;
    events.sort_by_key(|event| event.at);
    Ok(events)
}

/// Files of events that happened together, most of them gzip without anything between the events, named for the moment after
/// the last one; one is named for a day later.
fn files(events: &[Event], partition_by: &str) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    let mut rest = events;
    while let Some(first) = rest.first() {
        // Firehose waits a quarter of an hour at most.
        let within = rest.iter().take_while(|event| event.at.since(first.at) < 15 * 60_000).count();
        let (some, after) = rest.split_at(within.min(TOGETHER));
        rest = after;
        let number = files.len();
        let late = if number == 5 { DAY_MS } else { 0 };
        let named = some.last().map_or(first.at, |last| last.at).plus(1_000 + late);
        let hour = |event: &Event| if partition_by == "event" { Hour::of(event.at) } else { Hour::of(named) };
        files.push(File {
            key: firehose_key(named, number),
            bytes: packed(some, number)?,
            expected: some.iter().map(|event| (event.id.clone(), hour(event))).collect(),
        });
    }
    Ok(files)
}

fn packed(events: &[Event], number: usize) -> Result<Vec<u8>, String> {
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    let concatenated = texts.concat();
    match number % 12 {
        // Several members, as when files are appended to each other.
        3 => Ok(texts.iter().map(|text| gzip(text.as_bytes())).collect::<Result<Vec<_>, _>>()?.concat()),
        7 => Ok(format!("[{}]", texts.join(",\n")).into_bytes()),
        9 => Ok((texts.join("\n") + "\n").into_bytes()),
        _ => gzip(concatenated.as_bytes()),
    }
}

/// One letter points to the corrupt file, one is the text that was no notice; there is no other.
async fn letters(cli: &Cli, corrupt: &str) -> Result<usize, String> {
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let letters = letters.as_array().cloned().unwrap_or_default();
    let ids: BTreeSet<&str> = letters.iter().filter_map(|letter| letter["id"].as_str()).collect();
    let of_file =
        |letter: &&Value| letter["origin"]["shard"].as_str().is_some_and(|at| at.ends_with(corrupt));
    let files = letters.iter().filter(of_file).count();
    if files == 1 && letters.len() == 2 && ids.len() == 2 {
        return Ok(letters.len());
    }
    Err(format!("one letter for {corrupt} and one for a bad notice were expected: {letters:?}"))
}

/// Redrives the corrupt file's letter; the bad notice's stays as it is.
async fn redrive(cli: &Cli) -> Result<(), String> {
    let result = cli.run(&["dlq", "redrive", "--reason", "gzip", "--json"]).await?.json()?;
    if result["announced"] == 1 {
        Ok(())
    } else {
        Err(format!("one file was to be announced again: {result}"))
    }
}

/// Every event is one row of its hour.
async fn judge(cli: &Cli, files: &[File]) -> Result<u64, String> {
    let mut expected: BTreeMap<&str, String> = BTreeMap::new();
    for (id, hour) in files.iter().flat_map(|file| &file.expected) {
        expected.insert(id, hour.to_string());
    }
    let found = cli.query("SELECT message_id, year, month, day, hour FROM events").await?;
    let rows = found.len() as u64;
    for row in found {
        let part = |name: &str| row[name].as_str().unwrap_or("?").to_owned();
        let hour = format!("{}-{}-{}T{}", part("year"), part("month"), part("day"), part("hour"));
        match expected.remove(part("message_id").as_str()) {
            Some(wanted) if wanted == hour => {}
            Some(wanted) => return Err(format!("{row} is in {hour}, not in {wanted}")),
            None => return Err(format!("{row} is there twice, or was never sent")),
        }
    }
    if expected.is_empty() {
        return Ok(rows);
    }
    Err(format!("{} rows are missing, {:?} for one", expected.len(), expected.first_key_value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_late_by_a_day_and_every_event_is_in_one() {
        let event =
            |n: i64| Event { id: n.to_string(), at: Millis(n * 60_000), text: format!("{{\"n\":{n}}}") };
        let events: Vec<Event> = (0..500).map(event).collect();
        for (partition_by, late) in [("arrival", Hour::of(Millis(DAY_MS))), ("event", Hour::of(Millis(0)))] {
            let files = files(&events, partition_by).unwrap();
            let ids: BTreeSet<&String> =
                files.iter().flat_map(|file| &file.expected).map(|(id, _)| id).collect();
            assert_eq!(ids.len(), 500);
            let hour = files[5].expected[0].1;
            assert!(hour >= late && hour.start().since(late.start()) < 3 * 3_600_000, "{hour}");
        }
    }
}
