//! `bad-input`: whatever is posted, the node answers with a verdict and lives; what it accepts becomes a row that equals what was
//! sent; broken files of its own are named with line, key and remedy.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::broken_files;
use super::{Options, Outcome, tell};
use crate::harness::{Answer, Cli, Door, Node, Setup};

/// One shard: what was accepted one after the other stands in that order.
const CONFIG: &str = r#"
backend = "embedded"
[streams.events]
shards = 1
[lake]
flush = { every = "300ms", bytes = "64MiB" }
"#;

/// Columns of the built-in table that hold JSON text.
const JSON_COLUMNS: [&str; 4] = ["properties", "traits", "context", "integrations"];
/// Its other data columns.
const PLAIN_COLUMNS: [&str; 12] = [
    "message_id",
    "type",
    "event",
    "user_id",
    "anonymous_id",
    "timestamp",
    "sent_at",
    "received_at",
    "name",
    "category",
    "group_id",
    "previous_id",
];

/// Objects beside the suite's, with the built-in columns in them, and with names that look like columns and are none.
const OWN: [(&str, &str); 8] = [
    (
        "columns",
        r#"{"messageId":"m","type":"track","event":"E","userId":"u","anonymousId":"a","timestamp":"2026-11-20T10:00:00Z",
        "sentAt":"2026-11-20T10:00:01Z","receivedAt":"2026-11-20T10:00:02Z","name":"n","category":"c","groupId":"g","previousId":"p"}"#,
    ),
    (
        "json columns",
        r#"{"properties":{"a":[1,{"b":null}],"c":1.50},"traits":{},"context":{"x":{"y":"\u00e9"}}}"#,
    ),
    ("repeated column", r#"{"event":"first","userId":"u","event":"last"}"#),
    ("repeated in a column", r#"{"properties":{"a":1,"a":2},"zzz":{"b":[],"b":{"c":3}}}"#),
    (
        "names of columns",
        r#"{"message_id":"snake","user_id":7,"extra":{"a":1},"year":2026,"_shard":"s","_sequence":[]}"#,
    ),
    ("cases", r#"{"Event":"E","EVENT":1,"event":"e","MESSAGEID":null}"#),
    ("null column", r#"{"event":null,"userId":"u","other":null}"#),
    ("escaped keys", r#"{"\u0065vent":"by escape","a\"b\\c\n":{"\u0000":"\ud83d\ude39"}}"#),
];

/// What an accepted event must become.
struct Expected {
    name: String,
    /// The row's content; `None`: a row or a dead letter, whatever it holds.
    content: Option<Value>,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let suite = suite(options.data.as_deref())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = Setup::new(&folder.path().join("data"), Some(CONFIG));
    let mut node = Node::start(&setup).await?;
    let door = Door::new(&node.collector)?;
    let mut expected = Vec::new();
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    for (name, body) in &suite {
        let answer = post(&door, name, body).await?;
        *verdicts.entry(format!("{}{}", &name[..2], answer.status)).or_default() += 1;
        expected.extend(judge(name, body, &answer)?);
    }
    for (name, body) in OWN {
        let answer = post(&door, name, body.as_bytes()).await?;
        expected.extend(judge(&format!("y_{name}"), body.as_bytes(), &answer)?);
    }
    tell(format!("{} files of the suite and {} of our own: {verdicts:?}", suite.len(), OWN.len()));
    if node.has_ended() || !node.is_healthy().await {
        return Err(format!("the node does not live any more; see {}", node.log.display()));
    }
    node.drained(expected.len() as u64, Duration::from_secs(60)).await?;
    node.stop().await?;
    let cli = Cli::new(&setup)?;
    let rows = compare(&cli, &expected).await?;
    cli.verify().await?;
    let broken = broken_files::run(folder.path()).await?;
    Ok(json!({"files": suite.len(), "own_files": OWN.len(), "verdicts": verdicts, "accepted": expected.len(),
        "rows": rows.rows, "rows_equal_to_source": rows.equal, "dead_letters": rows.letters, "broken_files": broken}))
}

/// The suite's files, by name.
fn suite(data: Option<&Path>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let advice = "this proof needs the folder JSONTestSuite: pass the folder it is in as --data DIR";
    let folder = data.ok_or(advice)?.join("JSONTestSuite");
    let entries =
        std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}: {advice}", folder.display()))?;
    let mut files = BTreeMap::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") && ["y_", "n_", "i_"].iter().any(|kind| name.starts_with(kind)) {
            let bytes = std::fs::read(entry.path()).map_err(|error| format!("{name}: {error}"))?;
            files.insert(name, bytes);
        }
    }
    if files.len() < 300 {
        return Err(format!("{} has {} files of 318: {advice}", folder.display(), files.len()));
    }
    Ok(files)
}

async fn post(door: &Door, name: &str, body: &[u8]) -> Result<Answer, String> {
    let answer = door.post("events", "application/json", body.to_vec()).await;
    answer.map_err(|error| format!("{name}: {error}"))
}

/// Whether the verdict is the one the file's name asks for; what must be found of it.
fn judge(name: &str, body: &[u8], answer: &Answer) -> Result<Vec<Expected>, String> {
    let wrong = |wanted: &str| {
        Err(format!("{name}: {wanted} is wanted, the answer is {} {}", answer.status, answer.body))
    };
    let (status, accepted) = (answer.status, answer.accepted());
    let nothing_there = body.trim_ascii().strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii() == b"]");
    if status == 400 && (accepted > 0 || (answer.message().is_empty() && !nothing_there)) {
        return wrong("a reason and nothing accepted");
    }
    let content: Value = match (name.starts_with("y_"), serde_json::from_slice(body)) {
        (true, Ok(content)) => content,
        (true, Err(error)) => return Err(format!("{name}: not read here: {error}")),
        (false, _) if name.starts_with("n_") => {
            return if status == 400 { Ok(Vec::new()) } else { wrong("400") };
        }
        (false, _) if ![200, 207, 400].contains(&status) => return wrong("200, 207 or 400"),
        (false, _) => {
            let any = |_| Expected { name: name.to_owned(), content: None };
            return Ok((0..accepted).map(any).collect());
        }
    };
    let all = match content {
        Value::Array(elements) => elements,
        one => vec![one],
    };
    let objects: Vec<Value> = all.iter().filter(|element| element.is_object()).cloned().collect();
    let due = match (objects.len(), all.len() - objects.len()) {
        (0, _) => 400,
        (_, 0) => 200,
        _ => 207,
    };
    if status != due || accepted != objects.len() as u64 {
        return wrong(&format!("{due} with {} accepted", objects.len()));
    }
    let expect = |object| Expected { name: name.to_owned(), content: Some(object) };
    Ok(objects.into_iter().map(expect).collect())
}

struct Rows {
    rows: usize,
    equal: usize,
    letters: usize,
}

/// The n-th accepted event is the n-th in the shard: as a row that equals it, or where the suite leaves it open as a dead letter.
async fn compare(cli: &Cli, expected: &[Expected]) -> Result<Rows, String> {
    let mut found: BTreeMap<(usize, String), Option<Value>> = BTreeMap::new();
    let place = |sequence: &Value| {
        let digits = sequence.as_str().unwrap_or_default().to_owned();
        (digits.len(), digits)
    };
    let rows = cli.query("SELECT * FROM events").await?;
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    let letters = letters.as_array().cloned().unwrap_or_default();
    let counts = (rows.len(), letters.len());
    for row in &rows {
        found.insert(place(&row["_sequence"]), Some(content(row)?));
    }
    for letter in &letters {
        found.insert(place(&letter["origin"]["sequence"]), None);
    }
    if found.len() != expected.len() || found.len() != counts.0 + counts.1 {
        return Err(format!("{} accepted; {} rows and {} dead letters", expected.len(), counts.0, counts.1));
    }
    let mut equal = 0;
    for (expected, found) in expected.iter().zip(found.values()) {
        let Some(content) = &expected.content else { continue };
        match found {
            Some(found) if *found == without_null_columns(content) => equal += 1,
            found => return Err(format!("{}: {content} was sent, found is {found:?}", expected.name)),
        }
    }
    Ok(Rows { rows: counts.0, equal, letters: counts.1 })
}

/// A row put together again as the event it was.
fn content(row: &Value) -> Result<Value, String> {
    let parse = |text: &Value| -> Result<Value, String> {
        let text = text.as_str().unwrap_or_default();
        serde_json::from_str(text).map_err(|error| format!("not JSON ({error}): {text}"))
    };
    let mut members = match &row["extra"] {
        Value::Null => Map::new(),
        extra => parse(extra)?.as_object().cloned().unwrap_or_default(),
    };
    for column in PLAIN_COLUMNS {
        if !row[column].is_null() {
            members.insert(camel(column), row[column].clone());
        }
    }
    for column in JSON_COLUMNS {
        if !row[column].is_null() {
            members.insert(camel(column), parse(&row[column])?);
        }
    }
    Ok(Value::Object(members))
}

/// A column that is null and one that is absent are the same in a table.
fn without_null_columns(event: &Value) -> Value {
    let column = |key: &str| PLAIN_COLUMNS.iter().chain(&JSON_COLUMNS).any(|column| camel(column) == key);
    let members = event.as_object().into_iter().flatten();
    members
        .filter(|(key, value)| !(value.is_null() && column(key)))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// `message_id` → `messageId`.
fn camel(snake: &str) -> String {
    let mut parts = snake.split('_');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_together_again() {
        let row = json!({"message_id": "m", "event": null, "properties": "{\"a\":1,\"a\":2}", "extra": "{\"user_id\":7}"});
        assert_eq!(content(&row).unwrap(), json!({"messageId": "m", "properties": {"a": 2}, "user_id": 7}));
        assert_eq!(without_null_columns(&json!({"event": null, "x": null})), json!({"x": null}));
    }
}
