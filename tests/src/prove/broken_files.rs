//! Broken configuration and schema files: each problem is told with file, line, key, message and remedy, and nothing starts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::tell;
use crate::harness::client;

/// How long a command that must fail may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broken file and where its problem must be said to be.
struct Broken {
    what: &'static str,
    /// The configuration; `SCHEMA` in it is the schema's path.
    config: &'static str,
    /// The schema it names.
    schema: Option<&'static str>,
    /// Line of the schema if there is one, else of the configuration; 0: the file as a whole.
    line: u64,
    key: &'static str,
}

const fn config(what: &'static str, config: &'static str, line: u64, key: &'static str) -> Broken {
    Broken { what, config, schema: None, line, key }
}

const fn schema(what: &'static str, schema: &'static str, line: u64, key: &'static str) -> Broken {
    Broken { what, config: "[streams.web]\nschema = \"SCHEMA\"\n", schema: Some(schema), line, key }
}

const CASES: [Broken; 28] = [
    config("not TOML", "[streams.web]\nshards = 4\n[lake\n", 3, ""),
    config("a value that is not TOML", "[streams.web]\nshards = four\n", 2, ""),
    config("no stream", "backend = \"embedded\"\n", 1, "streams"),
    config("an unknown backend", "backend = \"embeded\"\n[streams.web]\n", 1, "backend"),
    config(
        "a misspelt key",
        "[streams.web]\nshards = 2\npartition_bye = \"event\"\n",
        3,
        "streams.web.partition_bye",
    ),
    config("a misspelt section", "[streams.web]\n[colector]\nlisten = \"127.0.0.1:0\"\n", 2, "colector"),
    config(
        "a word that is none of the choices",
        "[streams.web]\npartition_by = \"hour\"\n",
        2,
        "streams.web.partition_by",
    ),
    config("a number too small", "[streams.web]\nshards = 0\n", 2, "streams.web.shards"),
    config("a text for a number", "[streams.web]\n\nshards = \"four\"\n", 3, "streams.web.shards"),
    config("a start that is no moment", "[streams.web]\nstart = \"yesterday\"\n", 2, "streams.web.start"),
    config(
        "a pointer that is none",
        "[streams.web.fields]\nname = [\"event\"]\n",
        2,
        "streams.web.fields.name",
    ),
    config(
        "a time format that cannot be used",
        "[streams.web.fields]\ntime = [{ pointer = \"/ts\", format = \"%Q\" }]\n",
        2,
        "streams.web.fields.time.format",
    ),
    config("a table's name that is none", "[streams.web]\ntable = \"Web Events\"\n", 2, "streams.web.table"),
    config(
        "a duration that is none",
        "[streams.web]\n[lake]\nflush = { every = \"soon\" }\n",
        3,
        "lake.flush.every",
    ),
    config("a size that is none", "[streams.web]\n[memory]\nlimit = \"much\"\n", 3, "memory.limit"),
    config("too little memory", "[streams.web]\n[memory]\nlimit = \"1MiB\"\n", 3, "memory.limit"),
    config(
        "an address that is none",
        "[streams.web]\n[collector]\nlisten = \"here\"\n",
        3,
        "collector.listen",
    ),
    config("an open door without a token", "[streams.web]\n[ops]\nlisten = \"0.0.0.0:0\"\n", 3, "ops.listen"),
    config(
        "a variable that is not set",
        "[streams.web]\n[ops]\ntoken = \"${SHARDMILL_PROOF_NOT_SET}\"\n",
        3,
        "ops.token",
    ),
    config(
        "a destination of no kind",
        "[streams.web]\n[destinations.x]\nrate = \"1/s\"\n",
        2,
        "destinations.x.kind",
    ),
    config("a schema that is not there", "[streams.web]\nschema = \"nowhere.json\"\n", 0, ""),
    schema("not JSON", "{\n  \"type\": \"object\",\n}\n", 3, ""),
    schema(
        "a keyword that is not enforced",
        "{\"properties\": {\n  \"a\": {\n    \"oneOf\": []\n}}}",
        3,
        "/properties/a/oneOf",
    ),
    schema(
        "a type that is none",
        "{\"properties\": {\n  \"a\": {\"type\": \"int\"}}}",
        2,
        "/properties/a/type",
    ),
    schema(
        "a pattern with look-ahead",
        "{\"properties\": {\n\"a\": {\"pattern\": \"(?=x)\"}}}",
        2,
        "/properties/a/pattern",
    ),
    schema(
        "a format that is not enforced",
        "{\"properties\": {\n\"a\": {\"format\": \"ipv4\"}}}",
        2,
        "/properties/a/format",
    ),
    schema(
        "columns that differ by case only",
        "{\"properties\": {\n  \"a\": {},\n  \"A\": {}}}",
        3,
        "/properties/A/x-column",
    ),
    schema(
        "a column that is the table's own",
        "{\"properties\": {\n  \"year\": {}}}",
        2,
        "/properties/year/x-column",
    ),
];

/// Tries every case; how many there are.
pub(super) async fn run(folder: &Path) -> Result<usize, String> {
    for (index, case) in CASES.iter().enumerate() {
        let folder = folder.join(format!("broken-{index}"));
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        try_case(case, &folder).await.map_err(|error| format!("{}: {error}", case.what))?;
    }
    tell(format!(
        "{} broken files are told with file, line, key and remedy, by `check` and by `run`",
        CASES.len()
    ));
    Ok(CASES.len())
}

async fn try_case(case: &Broken, folder: &Path) -> Result<(), String> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name).display().to_string();
        std::fs::write(&path, text).map(|()| path).map_err(|error| error.to_string())
    };
    let schema = write("schema.json", case.schema.unwrap_or("{}"))?;
    let config = write("shardmill.toml", &case.config.replace("SCHEMA", &schema))?;
    let problems = checked(&config).await?;
    let file = match (case.schema, case.line) {
        (Some(_), _) => schema,
        (None, 0) => folder.join("nowhere.json").display().to_string(),
        (None, _) => config.clone(),
    };
    let here = |problem: &&Value| {
        problem["file"] == file.as_str() && problem["line"] == case.line && problem["key"] == case.key
    };
    if !problems.iter().any(|problem| here(&problem)) {
        return Err(format!(
            "line {} key `{}` of {file} is wanted: {}",
            case.line,
            case.key,
            json!(problems)
        ));
    }
    let data = folder.join("data").display().to_string();
    let words = [
        "run",
        "-c",
        &config,
        "--json",
        "--http",
        "127.0.0.1:0",
        "--ops",
        "127.0.0.1:0",
        "--data-dir",
        &data,
    ];
    let done = in_time(client::run(&words)).await?;
    if done.code != 2 || !done.stdout.is_empty() {
        return Err(format!("`run` ended with {}: {}{}", done.code, done.stdout, done.stderr));
    }
    // The remedies of a file that is not there may differ: one asks for the configuration, the other for the file.
    let told = |problem: &&Value| {
        let line = if case.line > 0 { format!(":{}", problem["line"]) } else { String::new() };
        let place = format!("{}{line}: ", problem["file"].as_str().unwrap_or_default());
        let words = ["key", "message"].map(|part| problem[part].as_str().unwrap_or_default());
        done.stderr.contains(&place) && words.iter().all(|word| done.stderr.contains(word))
    };
    match problems.iter().find(|problem| !told(problem)) {
        Some(problem) => Err(format!("`run` does not tell {problem}: {}", done.stderr)),
        None => Ok(()),
    }
}

/// The problems that `check` tells, each complete.
async fn checked(config: &str) -> Result<Vec<Value>, String> {
    let done = in_time(client::run(&["check", "-c", config, "--json"])).await?;
    let problems: Vec<Value> = serde_json::from_str(&done.stdout)
        .map_err(|error| format!("not a list ({error}): {}", done.stdout))?;
    if done.code != 2 || problems.is_empty() {
        return Err(format!("`check` ended with {}: {}{}", done.code, done.stdout, done.stderr));
    }
    let full = |problem: &Value, part: &str| problem[part].as_str().is_some_and(|text| !text.is_empty());
    let complete = |problem: &&Value| {
        let told = ["file", "message", "fix"].iter().all(|part| full(problem, part));
        told && problem["line"].is_u64() && problem["key"].is_string()
    };
    match problems.iter().find(|problem| !complete(problem)) {
        Some(problem) => Err(format!("not file, line, key, message and fix: {problem}")),
        None => Ok(problems),
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(format!("the command goes on after {} s", PATIENCE.as_secs())),
    }
}
