//! `demo`: what a newcomer runs first does what it says, and its books agree with its data.

use serde_json::{Value, json};

use super::{Options, Outcome, tell};
use crate::harness::{Cli, Setup, client};

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let events: u64 = if options.short { 4_000 } else { 20_000 };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let data = folder.path().join("data");
    let (count, seed, dir) = (events.to_string(), options.seed.to_string(), data.display().to_string());
    let words = ["demo", "--once", "--events", &count, "--json", "--data-dir", &dir, "--seed", &seed];
    let shown = client::run(&words).await?.json()?;
    let books = books(&shown, events)?;
    tell(format!("{} accepted = {} rows + {} dead letters", books.accepted, books.rows, books.letters));
    let hours = hours(&shown, books.rows)?;
    let cli = Cli::new(&Setup::new(&data, None))?;
    agrees(&cli, &shown, &books, &hours).await?;
    let report = cli.verify().await?;
    Ok(
        json!({"events": events, "accepted": books.accepted, "lake_rows": books.rows, "dead_letters": books.letters,
        "deliveries": books.deliveries, "hours": hours.len(), "files_read_back": report["files"]}),
    )
}

struct Books {
    accepted: u64,
    rows: u64,
    /// Of the lake.
    letters: u64,
    /// Of destinations.
    given_up: u64,
    deliveries: Value,
}

/// The shape of the contract, and accepted = rows + invalid events.
fn books(shown: &Value, events: u64) -> Result<Books, String> {
    let number = |key: &str| shown[key].as_u64().ok_or_else(|| format!("`{key}` is not a count: {shown}"));
    let list = |key: &str| shown[key].as_array().ok_or_else(|| format!("`{key}` is not a list: {shown}"));
    let (sent, accepted, rows) = (number("sent")?, number("accepted")?, number("lake_rows")?);
    let (mut letters, mut given_up) = (0, 0);
    for letter in list("dead_letters")? {
        let named = ["class", "reason", "target"].iter().all(|key| letter[*key].is_string());
        let count = letter["count"].as_u64().filter(|_| named);
        let count = count.ok_or_else(|| format!("not {{class, reason, target, count}}: {letter}"))?;
        *(if letter["target"] == "lake" { &mut letters } else { &mut given_up }) += count;
    }
    given(list("deliveries")?, accepted, given_up)?;
    if sent != events || accepted != sent {
        return Err(format!("{events} asked for, {sent} sent, {accepted} accepted"));
    }
    if accepted != rows + letters {
        return Err(format!("{accepted} accepted, but {rows} rows and {letters} dead letters"));
    }
    if letters == 0 {
        return Err("no event was invalid: the demo shows no dead letter".into());
    }
    Ok(Books { accepted, rows, letters, given_up, deliveries: shown["deliveries"].clone() })
}

/// Each destination got every event or gave it up, and the unreliable one had to be tried again.
fn given(deliveries: &[Value], accepted: u64, given_up: u64) -> Result<(), String> {
    let (mut retried, mut dead) = (0, 0);
    for delivery in deliveries {
        let count = |key: &str| delivery[key].as_u64().ok_or_else(|| format!("not a delivery: {delivery}"));
        let (routed, settled) = (count("routed")?, count("delivered")? + count("dead_lettered")?);
        if !delivery["destination"].is_string()
            || (routed, count("pending")?) != (settled, 0)
            || routed != accepted
        {
            return Err(format!("{accepted} events were not all delivered or given up: {delivery}"));
        }
        (retried, dead) = (retried + count("retried")?, dead + count("dead_lettered")?);
    }
    match (deliveries.len(), retried, dead) {
        (2, 1.., 1..) if dead == given_up => Ok(()),
        _ => Err(format!("two destinations, retries and {given_up} dead letters were due: {deliveries:?}")),
    }
}

/// Each hour has one file; the hours' rows are all rows.
fn hours(shown: &Value, rows: u64) -> Result<Vec<(String, u64)>, String> {
    let mut hours = Vec::new();
    for hour in shown["hours"].as_array().into_iter().flatten() {
        let shaped = hour["table"] == "events" && hour["generation"].as_u64() >= Some(1);
        let known = ["open", "complete", "incomplete"].iter().any(|state| hour["state"] == *state);
        if !shaped || !known || hour["files"] != 1 {
            return Err(format!("not an hour of one file: {hour}"));
        }
        let name = hour["hour"].as_str().ok_or_else(|| format!("an hour without a name: {hour}"))?;
        hours.push((name.to_owned(), hour["rows"].as_u64().unwrap_or(0)));
    }
    let all: u64 = hours.iter().map(|(_, rows)| rows).sum();
    if hours.len() < 3 || all != rows {
        return Err(format!("{} hours with {all} rows of {rows}", hours.len()));
    }
    Ok(hours)
}

/// SQL on the demo's data says the same as the demo did, hour by hour; so does the list of dead letters.
async fn agrees(cli: &Cli, shown: &Value, books: &Books, hours: &[(String, u64)]) -> Result<(), String> {
    let sql = "SELECT concat(year, '-', month, '-', day, 'T', hour) AS at, count(*) AS n, count(DISTINCT message_id) AS ids \
               FROM events GROUP BY year, month, day, hour ORDER BY at";
    let found = cli.query(sql).await?;
    let found: Vec<(String, u64)> = found
        .iter()
        .filter(|row| row["n"] == row["ids"])
        .map(|row| (row["at"].as_str().unwrap_or_default().to_owned(), row["n"].as_u64().unwrap_or(0)))
        .collect();
    let mut told = hours.to_vec();
    told.sort();
    if found != told {
        return Err(format!("the demo says {told:?}, SQL says {found:?}"));
    }
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let listed = letters.as_array().map_or(0, Vec::len) as u64;
    if listed != books.letters + books.given_up {
        return Err(format!("{} dead letters told, {listed} listed: {shown}", books.letters));
    }
    Ok(())
}
