//! The same work by our library and by DuckDB, side by side: NDJSON to checked, typed Parquet, and the compaction of segments.
//!
//! Each piece of work is a process of its own, so that the operating system's account (CPU seconds, peak memory) is all of it;
//! the two take turns, and medians are told. Both write Snappy, and at the end both files are asked the same questions.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_connectors::embedded::EmbeddedObjects;
use shardmill_connectors::parquet::Input;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::setsum::Tally;
use tokio::process::Command;

use crate::harness::peers;
use crate::work;

/// What is compared.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Plan {
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub events: u64,
    /// How often each piece of work is done by each side
    #[arg(long, value_name = "R", default_value_t = 5)]
    pub rounds: usize,
    /// How many segments are compacted
    #[arg(long, value_name = "K", default_value_t = 24)]
    pub segments: usize,
    /// What makes the events
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
}

/// Our side of the comparison, in a process of its own.
#[derive(Debug, clap::Subcommand)]
pub enum Peer {
    /// A file of events to Parquet files
    Convert {
        /// The events
        events: PathBuf,
        /// The store's folder
        folder: PathBuf,
        /// How many files
        files: usize,
    },
    /// Segments to one file
    Compact {
        /// The store's folder, with `inputs.json`: keys and what was recorded of them
        folder: PathBuf,
        /// The new file's name
        key: String,
    },
}

/// Does our side's work.
pub async fn peer(work: Peer) -> Result<(), String> {
    match work {
        Peer::Convert { events, folder, files } => work::convert(&events, &folder, files).await,
        Peer::Compact { folder, key } => {
            let text = std::fs::read(folder.join("inputs.json")).map_err(|error| error.to_string())?;
            let recorded: Vec<(String, Tally)> =
                serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            let inputs = recorded.into_iter().map(|(key, tally)| Input { key, tally }).collect();
            let objects = Arc::new(EmbeddedObjects::open(&folder).map_err(|failure| failure.to_string())?);
            let done = work::compact(objects, &key, inputs, work::snappy()).await;
            done.map(|_| ()).map_err(|failure| failure.to_string())
        }
    }
}

/// What the operating system accounts to one run.
#[derive(Debug, Clone, Copy)]
struct Account {
    cpu: f64,
    wall: f64,
    peak: u64,
}

/// One side's way to do one piece of work.
struct Run {
    work: &'static str,
    side: &'static str,
    command: Vec<String>,
    /// What it makes; removed before each round.
    makes: PathBuf,
}

/// Compares; the result as JSON.
pub async fn compare(plan: Plan) -> Result<Value, String> {
    let python = peers::python().await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = folder.path();
    let (events, bytes) = (folder.join("events.ndjson"), generate(&plan, &folder.join("events.ndjson"))?);
    eprintln!("{} events, {} MiB of NDJSON", plan.events, bytes >> 20);
    work::convert(&events, &folder.join("segments"), plan.segments).await?;
    record(&folder.join("segments"), plan.segments).await?;
    let runs = runs(&plan, folder, &python)?;
    let mut accounts: BTreeMap<(&str, &str), Vec<Account>> = BTreeMap::new();
    for round in 0..plan.rounds.max(1) {
        // Who begins changes with the round.
        let order: Vec<&Run> =
            if round % 2 == 0 { runs.iter().collect() } else { runs.iter().rev().collect() };
        for run in order {
            let account = measure(&python, run).await?;
            eprintln!(
                "  {} {}: {:.2} s CPU, {:.2} s, {} MiB",
                run.work,
                run.side,
                account.cpu,
                account.wall,
                account.peak >> 20
            );
            accounts.entry((run.work, run.side)).or_default().push(account);
        }
    }
    let same = agree(&runs, plan.events).await?;
    let told = accounts.iter().map(|((work, side), accounts)| told(&plan, work, side, accounts));
    Ok(json!({"events": plan.events, "ndjson_bytes": bytes, "segments": plan.segments, "rounds": plan.rounds,
        "duckdb": peers::DUCKDB, "results": told.collect::<Vec<_>>(), "both_hold": same}))
}

fn generate(plan: &Plan, file: &Path) -> Result<u64, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(file).map_err(wrong)?);
    for event in work::events(plan.events, plan.seed) {
        writeln!(out, "{event}").map_err(wrong)?;
    }
    out.into_inner().map_err(|error| error.to_string())?.metadata().map(|data| data.len()).map_err(wrong)
}

/// Writes down what each segment holds, as the documents of a node do.
async fn record(folder: &Path, segments: usize) -> Result<(), String> {
    let objects: Arc<dyn Objects> =
        Arc::new(EmbeddedObjects::open(folder).map_err(|failure| failure.to_string())?);
    let keys: Vec<String> = (0..segments).map(work::segment).collect();
    let inputs = work::inputs(&objects, &keys).await.map_err(|failure| failure.to_string())?;
    let recorded: Vec<(String, Tally)> = inputs.into_iter().map(|input| (input.key, input.tally)).collect();
    std::fs::write(folder.join("inputs.json"), json!(recorded).to_string()).map_err(|error| error.to_string())
}

fn runs(plan: &Plan, folder: &Path, python: &Path) -> Result<[Run; 4], String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?.display().to_string();
    let shown = |path: PathBuf| path.display().to_string();
    let (python, script) = (python.display().to_string(), |name: &str| shown(peers::script(name)));
    let (events, segments) = (shown(folder.join("events.ndjson")), folder.join("segments"));
    let (ours, theirs) = (folder.join("ours"), folder.join("duckdb-converted.parquet"));
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let convert = words(&[&me, "peer", "convert", &events, &shown(ours.clone()), "1"]);
    let duck_convert = words(&[&python, &script("duckdb_convert.py"), &events, &shown(theirs.clone())]);
    let compact = words(&[&me, "peer", "compact", &shown(segments.clone()), "compacted.parquet"]);
    let target = folder.join("duckdb-compacted.parquet");
    let mut duck_compact = words(&[&python, &script("duckdb_compact.py"), &shown(target.clone())]);
    duck_compact
        .extend((0..plan.segments).map(|number| shown(segments.join("objects").join(work::segment(number)))));
    let made = ours.join("objects").join(work::segment(0));
    let compacted = segments.join("objects/compacted.parquet");
    Ok([
        Run { work: "standardise", side: "shardmill", command: convert, makes: made },
        Run { work: "standardise", side: "duckdb", command: duck_convert, makes: theirs },
        Run { work: "compact", side: "shardmill", command: compact, makes: compacted },
        Run { work: "compact", side: "duckdb", command: duck_compact, makes: target },
    ])
}

/// Runs one piece of work under the account of the operating system.
async fn measure(python: &Path, run: &Run) -> Result<Account, String> {
    let _ = std::fs::remove_file(&run.makes); // absent in the first round
    let mut command = Command::new(python);
    command.arg(peers::script("measure.py")).args(&run.command).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| format!("python: {error}"))?;
    let said = || format!("{} {}: {}", run.work, run.side, String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !run.makes.is_file() {
        return Err(said());
    }
    let account: Value = serde_json::from_slice(&output.stdout).map_err(|_| said())?;
    let seconds = |key: &str| account[key].as_f64().ok_or_else(said);
    let peak = account["maxrss"].as_u64().ok_or_else(said)?;
    Ok(Account { cpu: seconds("user")? + seconds("sys")?, wall: seconds("wall")?, peak })
}

/// Both sides' files give the same answers.
async fn agree(runs: &[Run], events: u64) -> Result<Value, String> {
    let mut answers = Vec::new();
    for run in runs {
        let file = run.makes.display().to_string().replace('\'', "''");
        let sql = format!(
            "SELECT count(*) AS rows, count(DISTINCT message_id) AS ids, count(user_id) AS users, sum(length(context)) AS context, \
             sum(length(properties)) AS properties, sum(CAST(epoch_us(\"timestamp\") AS HUGEINT)) AS times, \
             count(DISTINCT _sequence) AS places FROM read_parquet('{file}')"
        );
        answers.push(peers::duckdb(&sql).await?.into_iter().next().unwrap_or(Value::Null));
    }
    let first = answers[0].clone();
    match first["rows"] == events && answers.iter().all(|answer| *answer == first) {
        true => Ok(first),
        false => Err(format!("the two sides' files differ: {answers:?}")),
    }
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn told(plan: &Plan, work: &str, side: &str, accounts: &[Account]) -> Value {
    let cpu = median(accounts.iter().map(|account| account.cpu).collect());
    let peak = median(accounts.iter().map(|account| account.peak as f64).collect());
    json!({"work": work, "side": side, "events_per_cpu_s": (plan.events as f64 / cpu).round(), "cpu_s": cpu,
        "wall_s": median(accounts.iter().map(|account| account.wall).collect()), "peak_bytes": peak})
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The result for people.
pub fn table(result: &Value) -> String {
    let mut text = format!(
        "{:12} {:10} {:>16} {:>8} {:>8} {:>10}\n",
        "work", "side", "events per CPU-s", "CPU s", "wall s", "peak MiB"
    );
    for row in result["results"].as_array().into_iter().flatten() {
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let name = |key: &str| row[key].as_str().unwrap_or_default();
        text.push_str(&format!(
            "{:12} {:10} {:>16.0} {:>8.2} {:>8.2} {:>10.0}\n",
            name("work"),
            name("side"),
            number("events_per_cpu_s"),
            number("cpu_s"),
            number("wall_s"),
            number("peak_bytes") / f64::from(1 << 20),
        ));
    }
    text
}
