//! The rules of the tree, as tests: what breaks one says which, where, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use shardmill_connectors::crash;
use shardmill_tests::harness::client;

/// Which of our crates each crate may use, its tests aside.
const DIRECTION: &[(&str, &[&str])] = &[
    ("connectors", &[]),
    ("cluster", &["shardmill-connectors"]),
    ("actors", &["shardmill-connectors", "shardmill-cluster"]),
    ("node", &["shardmill-connectors", "shardmill-cluster", "shardmill-actors"]),
];

/// The most lines of a file, its unit tests aside.
const LONGEST_FILE: usize = 400;

/// The only lines of `connectors` that wait (long polls, pacing, the end of what a service was asked to do), or look like it.
const WAITING: &[(&str, &str)] = &[
    ("connectors/src/aws/kinesis/consumer.rs", "tokio::time::sleep(LOOK)"),
    ("connectors/src/aws/kinesis/pace.rs", "tokio::time::sleep_until(ready)"),
    ("connectors/src/aws/kinesis/reader.rs", "tokio::time::sleep_until(rest.min(deadline))"),
    ("connectors/src/aws/kinesis/shards.rs", "tokio::time::sleep(LOOK)"),
    ("connectors/src/embedded/queue.rs", "tokio::time::sleep_until(deadline.min(Instant::now() + POLL))"),
    ("connectors/src/embedded/stream/reader.rs", "tokio::time::sleep_until(look)"),
    ("connectors/src/aws/athena/runner.rs", "tokio::time::sleep(pause)"),
    ("connectors/src/aws/athena/runner.rs", "error.retryable()"),
    ("connectors/src/destinations/registry.rs", "retry: "),
    // The SDK's own retries, which are switched off here.
    ("connectors/src/aws/session.rs", "use aws_config::retry::RetryConfig"),
    ("connectors/src/aws/session.rs", ".retry_config(RetryConfig::disabled())"),
];

/// Files whose decisions are pure: nothing in them waits.
const PURE: &[&str] = &[
    "connectors/src/parquet/merge/plan.rs",
    "connectors/src/schema/evolution/mod.rs",
    "connectors/src/schema/evolution/columns.rs",
    "connectors/src/schema/evolution/constraints.rs",
    "connectors/src/schema/evolution/nodes.rs",
    "connectors/src/schema/evolution/shapes.rs",
    "connectors/src/schema/registry/judge.rs",
    "actors/src/supervision/decide.rs",
    "actors/src/supervision/strategy.rs",
    "actors/src/hour/plan.rs",
    "actors/src/live/plan.rs",
    "actors/src/schedules/plan.rs",
    "actors/src/state/shard.rs",
    "actors/src/state/hour.rs",
    "actors/src/tree.rs",
    "actors/src/verify/books.rs",
    "actors/src/verify/finding.rs",
    "cluster/src/placement/mod.rs",
    "cluster/src/placement/weights.rs",
    "cluster/src/share.rs",
    "cluster/src/membership/watch.rs",
    "cluster/src/membership/watched.rs",
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What stands at the top, apart from hidden files of tools.
const TOP: &str = "Cargo.lock Cargo.toml LICENSE README.md actors cluster connectors deploy node tests";

/// What builds and nodes leave there; not the project's.
const LEFT_BEHIND: &[&str] = &["target", "shardmill-data"];

/// Every file of the project, by its path from the root.
fn files() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            if LEFT_BEHIND.contains(&name.as_str()) || name == ".git" {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(name, path);
            }
        }
    }
    found
}

/// Every Rust file with its text.
fn sources() -> BTreeMap<String, String> {
    let rust = files().into_iter().filter(|(name, _)| name.ends_with(".rs"));
    rust.map(|(name, path)| (name, std::fs::read_to_string(path).unwrap())).collect()
}

/// Every Rust file of the product without its unit tests.
fn production() -> BTreeMap<String, String> {
    let crates = ["connectors/src/", "cluster/src/", "actors/src/", "node/src/"];
    let ours = |name: &str| crates.iter().any(|folder| name.starts_with(folder));
    let tests =
        |name: &str| name.contains("/tests") || name.contains("/testing/") || name.ends_with("/testing.rs");
    let kept = sources().into_iter().filter(|(name, _)| ours(name) && !tests(name));
    kept.map(|(name, text)| (name, without_tests(&text).to_owned())).collect()
}

fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod tests").map_or(text, |(production, _)| production)
}

/// The lines that are not comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Fails with every violation and with what to do.
pub(crate) fn none(violations: &[String], rule: &str) {
    let mut list = String::new();
    violations.iter().for_each(|violation| writeln!(list, "  {violation}").unwrap());
    assert!(violations.is_empty(), "{rule}\n{list}");
}

/// The names in the section `[dependencies]` of a crate's manifest.
fn dependencies(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    let section = text.split("\n[").find_map(|section| section.strip_prefix("dependencies]\n"));
    let names = section.unwrap().lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_top_is_tidy() {
    let entries =
        std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().display().to_string());
    let known = |name: &String| {
        name.starts_with('.') || TOP.split(' ').any(|top| top == name) || LEFT_BEHIND.contains(&name.as_str())
    };
    let wrong: Vec<String> = entries.filter(|name| !known(name)).collect();
    none(
        &wrong,
        "everything lives in one of the five crates or in deploy/; nothing else is visible at the top:",
    );
}

#[test]
fn crates_depend_in_one_direction() {
    let mut wrong = Vec::new();
    for (name, allowed) in DIRECTION {
        let dependencies = dependencies(name);
        assert!(dependencies.len() > 5, "the manifest of {name} was not understood: {dependencies:?}");
        let ours = dependencies.iter().filter(|dependency| dependency.starts_with("shardmill"));
        let refused = ours.filter(|dependency| !allowed.contains(&dependency.as_str()));
        wrong.extend(refused.map(|dependency| format!("{name}/Cargo.toml uses {dependency}")));
    }
    none(
        &wrong,
        "connectors <- cluster <- actors <- node; move what is needed down, or pass it in from above:",
    );
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(name, text): (&String, &String)| {
        let said = text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 12);
        (!said).then(|| name.clone())
    };
    let wrong: Vec<String> = sources().iter().filter_map(silent).collect();
    none(&wrong, "the first line of a file is `//!` and one sentence about it:");
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let lines = without_tests(&text).lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{name}: {lines} lines"));
        }
    }
    none(&wrong, &format!("at most {LONGEST_FILE} lines without unit tests; split by subject:"));
}

#[test]
fn nothing_is_left_for_later() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["#[ig", "nore"].concat()];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                wrong.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none(&wrong, "do it, or write an issue; a test that does not run proves nothing:");
}

#[test]
fn connectors_try_once() {
    let mut wrong = Vec::new();
    for (name, text) in production().into_iter().filter(|(name, _)| name.starts_with("connectors/")) {
        for (number, line) in code(&text) {
            let waits = ["sleep", "retry", "backoff"].iter().any(|word| line.contains(word));
            let classifies = line.replace("retry_after", "").replace("Retry-After", "");
            let still = ["sleep", "retry", "backoff"].iter().any(|word| classifies.contains(word));
            let poll = WAITING.iter().any(|(file, wait)| *file == name && line.contains(wait));
            if waits && still && !poll {
                wrong.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none(
        &wrong,
        "a connector makes one attempt and classifies; waiting and repeating are decided by supervision:",
    );
}

#[test]
fn what_is_done_about_failures_stands_in_one_table() {
    let mut wrong = Vec::new();
    for (name, text) in production() {
        let elsewhere = name.starts_with("connectors/"); // knows nothing of supervision, but has rules of its own
        if elsewhere || name == "actors/src/tree.rs" || name.starts_with("actors/src/supervision/") {
            continue;
        }
        for (number, line) in code(&text) {
            let literal = ["Rule::", "Strategy {", "Intensity {", "Backoff {"];
            // A connector's answer about events has the same name.
            let answers = ["Resume", "Restart", "DeadLetter", "Pause", "Stop", "Escalate"];
            let answer = answers.iter().any(|answer| line.contains(&format!("Answer::{answer}")));
            if answer || literal.iter().any(|literal| line.contains(literal)) {
                wrong.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none(&wrong, "strategies are rows of actors/src/tree.rs and nowhere else:");
}

#[test]
fn delays_are_computed_in_one_file() {
    let users = |(name, text): (String, String)| {
        let uses = code(&text)
            .any(|(_, line)| line.contains("ExponentialBackoff") || line.contains("use backoff::"));
        uses.then_some(name)
    };
    let users: Vec<String> = production().into_iter().filter_map(users).collect();
    assert_eq!(
        users,
        ["actors/src/supervision/backoff.rs"],
        "the crate `backoff` is unmaintained: one file uses it"
    );
}

#[test]
fn backends_are_named_in_one_folder() {
    let backend = [
        "EmbeddedStream",
        "EmbeddedObjects",
        "EmbeddedDocuments",
        "EmbeddedQueues",
        "EmbeddedCatalog",
        "KinesisStream",
        "S3Objects",
        "S3Documents",
        "SqsQueue",
        "AthenaCatalog",
    ];
    let mut wrong = Vec::new();
    for (name, text) in production() {
        if name.starts_with("connectors/") || name.starts_with("node/src/wire/") {
            continue;
        }
        for (number, line) in code(&text).filter(|(_, line)| backend.iter().any(|name| line.contains(name))) {
            wrong.push(format!("{name}:{number}: {}", line.trim()));
        }
    }
    none(&wrong, "only node/src/wire/ knows which backend a port has; everything else uses the port:");
}

#[test]
fn decisions_do_not_wait() {
    let sources = production();
    let mut wrong = Vec::new();
    for name in PURE {
        let Some(text) = sources.get(*name) else {
            wrong.push(format!("{name} is not there: mend the list in this test"));
            continue;
        };
        let waits = code(text).filter(|(_, line)| line.contains("async ") || line.contains(".await"));
        wrong.extend(waits.map(|(number, line)| format!("{name}:{number}: {}", line.trim())));
    }
    none(&wrong, "decisions are pure: what they need is passed in:");
}

#[test]
fn every_crash_point_is_reached_from_one_place() {
    let listed: BTreeSet<&str> = crash::POINTS.iter().map(|(name, _)| *name).collect();
    let areas: BTreeSet<&str> = listed.iter().filter_map(|name| name.split('.').next()).collect();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in production().iter().filter(|(file, _)| *file != "connectors/src/crash.rs") {
        for (number, line) in code(text) {
            for literal in line.split('"').skip(1).step_by(2).filter(|literal| is_point(literal, &areas)) {
                places.entry(literal.to_owned()).or_default().push(format!("{file}:{number}"));
            }
        }
    }
    let mut wrong = Vec::new();
    for name in &listed {
        match places.get(*name).map_or(0, Vec::len) {
            1 => {}
            0 => wrong.push(format!("{name} is listed and never reached")),
            _ => wrong.push(format!("{name} is reached from {}", places[*name].join(", "))),
        }
    }
    let unlisted = places.iter().filter(|(name, _)| !listed.contains(name.as_str()));
    wrong.extend(unlisted.map(|(name, at)| format!("{name} at {} is not listed", at.join(", "))));
    none(&wrong, "the proof `crash-points` walks through crash::POINTS: keep the list equal to the code:");
}

/// Whether a text looks like the name of a crash point: `area.what-happened`.
fn is_point(text: &str, areas: &BTreeSet<&str>) -> bool {
    let parts = text.split_once('.');
    let fits = |rest: &str| rest.contains('-') && rest.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    parts.is_some_and(|(area, rest)| areas.contains(area) && fits(rest))
}

#[test]
fn the_project_stands_by_itself() {
    let elsewhere = [["..", "/shared"].concat(), ["/work", "/"].concat()];
    let mut wrong = Vec::new();
    for (name, path) in files() {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        for (index, line) in text.lines().enumerate() {
            let data = name == ".ci/run" && line.contains(&["..", "/shared/data"].concat());
            if !data && elsewhere.iter().any(|elsewhere| line.contains(elsewhere.as_str())) {
                wrong.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none(
        &wrong,
        "nothing in the project points outside it (.ci/run may use real input that lies beside it):",
    );
}

#[tokio::test]
async fn the_deployed_example_is_right() {
    let example = root().join("deploy/shardmill.toml").display().to_string();
    let done = client::run(&["check", "-c", &example, "--json"]).await.unwrap();
    assert_eq!((done.code, done.stdout.trim()), (0, "[]"), "{}", done.stderr);
    let unit = std::fs::read_to_string(root().join("deploy/shardmill.service")).unwrap();
    assert!(
        unit.contains("-c /etc/shardmill/shardmill.toml"),
        "the unit runs the example where it is installed"
    );
    let told = std::fs::read_to_string(&example).unwrap();
    assert!(told.contains("data_dir = \"/var/lib/shardmill\"") && unit.contains("StateDirectory=shardmill"));
}
