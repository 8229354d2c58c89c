//! `real-input`: files nobody made for us go through schema inference, the collector and the lake, and what SQL then says of
//! them is what DuckDB says of the files themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Options, Outcome, tell};
use crate::harness::{Cli, Node, Setup, client, peers};

/// A file of the data folder and what is asked of it.
struct Input {
    stream: &'static str,
    file: &'static str,
    events: u64,
    /// Flags of `schema infer` and `send`.
    flags: &'static [&'static str],
    /// How DuckDB reads it, after the path; the columns with their types.
    reader: &'static str,
    options: &'static str,
    columns: &'static [(&'static str, &'static str)],
    /// Questions about the table `t`, in words both understand.
    questions: &'static [&'static str],
}

const INPUTS: [Input; 3] = [
    Input {
        stream: "sparkify",
        file: "sparkify.ndjson",
        events: 8_056,
        flags: &[],
        reader: "read_json",
        options: "format = 'newline_delimited', maximum_object_size = 16777216",
        columns: &[
            ("artist", "VARCHAR"),
            ("auth", "VARCHAR"),
            ("firstName", "VARCHAR"),
            ("gender", "VARCHAR"),
            ("itemInSession", "BIGINT"),
            ("lastName", "VARCHAR"),
            ("length", "DOUBLE"),
            ("level", "VARCHAR"),
            ("location", "VARCHAR"),
            ("method", "VARCHAR"),
            ("page", "VARCHAR"),
            ("registration", "DOUBLE"),
            ("sessionId", "BIGINT"),
            ("song", "VARCHAR"),
            ("status", "BIGINT"),
            ("ts", "BIGINT"),
            ("userAgent", "VARCHAR"),
            ("userId", "VARCHAR"),
        ],
        questions: &[
            "SELECT count(*) AS n FROM t",
            "SELECT count(artist) AS a, count(\"firstName\") AS f, count(gender) AS g, count(length) AS l, count(location) AS o, \
             count(registration) AS r, count(song) AS s, count(\"userAgent\") AS u, count(\"userId\") AS i FROM t",
            "SELECT level, gender, page, count(*) AS n FROM t GROUP BY level, gender, page",
            "SELECT method, status, auth, count(*) AS n, sum(\"itemInSession\") AS items FROM t GROUP BY method, status, auth",
            "SELECT \"userId\", count(*) AS n, min(ts) AS first, max(ts) AS last FROM t GROUP BY \"userId\"",
            "SELECT sum(ts) AS ts, sum(CAST(registration AS BIGINT)) AS r, sum(CAST(round(length * 100000) AS BIGINT)) AS l, \
             sum(length) AS seconds, min(length) AS shortest, max(length) AS longest, \
             sum(character_length(\"userAgent\")) AS letters FROM t",
            "SELECT count(DISTINCT \"userId\") AS u, count(DISTINCT \"sessionId\") AS s, count(DISTINCT artist) AS a, \
             count(DISTINCT song) AS g, count(DISTINCT length) AS l, count(DISTINCT ts) AS t FROM t",
        ],
    },
    Input {
        stream: "apache",
        file: "apache.ndjson",
        events: 10_000,
        flags: &[],
        reader: "read_json",
        options: "format = 'newline_delimited', maximum_object_size = 16777216",
        columns: &[
            ("ip", "VARCHAR"),
            ("ts", "VARCHAR"),
            ("method", "VARCHAR"),
            ("path", "VARCHAR"),
            ("proto", "VARCHAR"),
            ("status", "BIGINT"),
            ("bytes", "BIGINT"),
            ("referrer", "VARCHAR"),
            ("userAgent", "VARCHAR"),
        ],
        questions: &[
            "SELECT count(*) AS n, count(referrer) AS r, count(bytes) AS b, count(\"userAgent\") AS u FROM t",
            "SELECT method, proto, status, count(*) AS n, sum(bytes) AS bytes, max(bytes) AS largest FROM t \
             GROUP BY method, proto, status",
            "SELECT ip, count(*) AS n, sum(bytes) AS bytes, count(DISTINCT path) AS paths FROM t GROUP BY ip",
            "SELECT count(DISTINCT ip) AS i, count(DISTINCT path) AS p, count(DISTINCT referrer) AS r, \
             count(DISTINCT \"userAgent\") AS u, count(DISTINCT ts) AS t FROM t",
            "SELECT sum(character_length(path)) AS p, sum(character_length(referrer)) AS r, min(ts) AS first, \
             max(ts) AS last FROM t",
        ],
    },
    Input {
        stream: "porto",
        file: "porto-taxi-sample.csv",
        events: 320,
        flags: &["--format", "csv", "--null", "NA"],
        reader: "read_csv",
        options: "header = true, nullstr = 'NA', quote = '\"', max_line_size = 16777216",
        columns: &[
            ("TRIP_ID", "VARCHAR"),
            ("CALL_TYPE", "VARCHAR"),
            ("ORIGIN_CALL", "BIGINT"),
            ("ORIGIN_STAND", "BIGINT"),
            ("TAXI_ID", "BIGINT"),
            ("TIMESTAMP", "BIGINT"),
            ("DAY_TYPE", "VARCHAR"),
            ("MISSING_DATA", "BOOLEAN"),
            ("POLYLINE", "VARCHAR"),
        ],
        questions: &[
            "SELECT count(*) AS n, count(\"ORIGIN_CALL\") AS c, count(\"ORIGIN_STAND\") AS s FROM t",
            "SELECT \"CALL_TYPE\", \"DAY_TYPE\", \"MISSING_DATA\", count(*) AS n, sum(\"TAXI_ID\") AS taxis, \
             min(\"TIMESTAMP\") AS first, max(\"TIMESTAMP\") AS last FROM t GROUP BY \"CALL_TYPE\", \"DAY_TYPE\", \"MISSING_DATA\"",
            "SELECT sum(\"TIMESTAMP\") AS t, sum(\"ORIGIN_CALL\") AS c, sum(\"ORIGIN_STAND\") AS s, \
             sum(character_length(\"POLYLINE\")) AS p FROM t",
            "SELECT count(DISTINCT \"TRIP_ID\") AS t, count(DISTINCT \"TAXI_ID\") AS x, count(DISTINCT \"ORIGIN_STAND\") AS s, \
             count(DISTINCT \"POLYLINE\") AS p FROM t",
        ],
    },
];

impl Input {
    /// The question put to the lake, or to the file itself.
    fn lake(&self, question: &str) -> String {
        question.replace("FROM t", &format!("FROM {}", self.stream))
    }

    fn source(&self, question: &str, folder: &Path) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(name, kind)| format!("'{name}': '{kind}'")).collect();
        let file = folder.join(self.file).display().to_string().replace('\'', "''");
        let (reader, options, columns) = (self.reader, self.options, columns.join(", "));
        question.replace("FROM t", &format!("FROM {reader}('{file}', {options}, columns = {{{columns}}})"))
    }

    /// Every row with every column.
    fn everything(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("SELECT {} FROM t", columns.join(", "))
    }
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let data = folder(options.data.as_deref())?;
    peers::python().await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut streams = String::new();
    let mut schemas = Map::new();
    for input in &INPUTS {
        let (file, schema) = infer(input, &data, folder.path()).await?;
        let section = format!("[streams.{}]\nshards = 4\nschema = \"{}\"\n", input.stream, file.display());
        streams.push_str(&section);
        schemas.insert(input.stream.to_owned(), types(&schema));
    }
    let config = format!(
        "backend = \"embedded\"\n{streams}[lake]\nflush = {{ every = \"500ms\", bytes = \"64MiB\" }}\n"
    );
    let setup = Setup::new(&folder.path().join("data"), Some(&config));
    let node = Node::start(&setup).await?;
    let mut sent = 0;
    for input in &INPUTS {
        sent += send(input, &data, &node).await?;
    }
    node.drained(sent, Duration::from_secs(120)).await?;
    let cli = Cli::new(&setup)?;
    let mut answers = compare_all(&cli, &data, "fresh segments").await?;
    node.tell("compact", &json!({})).await?;
    answers += compare_all(&cli, &data, "compacted").await?;
    node.stop().await?;
    let letters = cli.run(&["dlq", "list", "--json"]).await?.json()?;
    if letters != json!([]) {
        return Err(format!("an inferred schema does not hold for its own file: {letters}"));
    }
    let report = cli.verify().await?;
    Ok(
        json!({"events": sent, "files": INPUTS.len(), "answers_equal_to_duckdb": answers, "duckdb": peers::DUCKDB,
        "rows_in_lake": report["rows"], "types": schemas}),
    )
}

fn folder(data: Option<&Path>) -> Result<PathBuf, String> {
    let advice = "this proof needs real input: pass the folder with sparkify.ndjson, apache.ndjson and \
                  porto-taxi-sample.csv as --data DIR";
    let data = data.ok_or(advice)?;
    match INPUTS.iter().find(|input| !data.join(input.file).is_file()) {
        Some(input) => Err(format!("{} has no {}: {advice}", data.display(), input.file)),
        None => std::path::absolute(data).map_err(|error| format!("{}: {error}", data.display())),
    }
}

/// Infers the schema of a file; where it is kept, and what it says.
async fn infer(input: &Input, data: &Path, folder: &Path) -> Result<(PathBuf, Value), String> {
    let file = data.join(input.file).display().to_string();
    let mut words = vec!["schema", "infer", &file];
    words.extend(input.flags);
    let schema = client::run(&words).await?.json()?;
    let from_strings = schema["x-from-string"] == true;
    if from_strings != (input.reader == "read_csv") {
        return Err(format!("{}: x-from-string is wrong: {schema}", input.file));
    }
    for (column, kind) in input.columns {
        let inferred = &schema["properties"][column]["type"];
        let fits: &[&str] = match *kind {
            "BIGINT" => &["integer"],
            "DOUBLE" => &["number", "integer"],
            "BOOLEAN" => &["boolean"],
            _ => &["string"],
        };
        let named = |name: &&str| {
            inferred == name || inferred.as_array().is_some_and(|list| list.contains(&json!(name)))
        };
        if !fits.iter().any(named) {
            return Err(format!("{}: {column} is {inferred} where {fits:?} is meant", input.file));
        }
    }
    let kept = folder.join(format!("{}.schema.json", input.stream));
    std::fs::write(&kept, schema.to_string()).map_err(|error| format!("{}: {error}", kept.display()))?;
    Ok((kept, schema))
}

/// The inferred types, for the figures.
fn types(schema: &Value) -> Value {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(name, property)| (name.clone(), property["type"].clone())).collect()
}

async fn send(input: &Input, data: &Path, node: &Node) -> Result<u64, String> {
    let file = data.join(input.file).display().to_string();
    let mut words = vec!["send", &file, "--to", &node.collector, "--stream", input.stream, "--json"];
    words.extend(input.flags);
    let report = client::run(&words).await?.json()?;
    if report["accepted"] != input.events || report["sent"] != input.events {
        return Err(format!("{}: {} events, but {report}", input.file, input.events));
    }
    tell(format!("{}: {} accepted", input.file, input.events));
    Ok(input.events)
}

/// Asks both everything; how many answers were equal.
async fn compare_all(cli: &Cli, data: &Path, when: &str) -> Result<u64, String> {
    let mut answers = 0;
    for input in &INPUTS {
        let everything = input.everything();
        for question in input.questions.iter().copied().chain([everything.as_str()]) {
            let ours = cli.query(&input.lake(question)).await?;
            let theirs = peers::duckdb(&input.source(question, data)).await?;
            same(ours, theirs).map_err(|difference| format!("{when}: {question}: {difference}"))?;
            answers += 1;
        }
        tell(format!("{}: {} answers as DuckDB's, {when}", input.stream, input.questions.len() + 1));
    }
    Ok(answers)
}

/// Whether two results hold the same rows, in any order.
fn same(ours: Vec<Value>, theirs: Vec<Value>) -> Result<(), String> {
    if ours.len() != theirs.len() || theirs.is_empty() {
        return Err(format!("{} rows here, {} in DuckDB", ours.len(), theirs.len()));
    }
    let sorted = |rows: Vec<Value>| {
        let mut rows: Vec<String> = rows.iter().map(canonical).collect();
        rows.sort();
        rows
    };
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    match ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs) {
        Some((ours, theirs)) => Err(format!("{ours} here, {theirs} in DuckDB")),
        None => Ok(()),
    }
}

/// A row as text in which equal rows are equal: keys in order, integral numbers without a point, doubles to 12 digits (sums of
/// doubles depend on the order of summing).
fn canonical(row: &Value) -> String {
    let member = |(key, value): (&String, &Value)| {
        let value = match value.as_f64() {
            Some(_) if value.is_i64() || value.is_u64() => value.to_string(),
            #[allow(clippy::cast_possible_truncation)] // checked to be whole and small
            Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => (number as i64).to_string(),
            Some(number) => format!("{number:.11e}"),
            None => value.to_string(),
        };
        (key.clone(), value)
    };
    let members: std::collections::BTreeMap<String, String> =
        row.as_object().into_iter().flatten().map(member).collect();
    format!("{members:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_by_value_and_in_any_order() {
        let row = |n: f64| json!({"n": n, "t": "x"});
        assert!(same(vec![json!({"t": "x", "n": 3}), row(1.5)], vec![row(1.5), row(3.0)]).is_ok());
        assert!(same(vec![row(1.0)], vec![row(2.0)]).is_err());
        assert!(same(vec![row(0.1 + 0.2)], vec![row(0.3)]).is_ok());
        assert!(same(vec![json!({"n": "1"})], vec![json!({"n": 1})]).is_err());
        assert!(same(vec![], vec![]).is_err());
    }
}
