//! `admin tree` for people: every actor on a line below its parent, and the table of strategies they run by.

use std::fmt::Write;

use serde_json::{Value, json};
use shardmill_connectors::Millis;

use crate::output;

/// The columns of the table.
const TABLE: &[&str] = &[
    "kind",
    "parent",
    "transient",
    "throttled",
    "rejected",
    "unauthorized",
    "fenced",
    "crashed",
    "backoff",
    "intensity",
    "scope",
    "limit",
];
/// The classes of failures, each a rule of a strategy.
const CLASSES: [&str; 6] = ["transient", "throttled", "rejected", "unauthorized", "fenced", "crashed"];

/// Draws what the admin actor answers to `tree`, as of `now`.
pub(super) fn draw(tree: &Value, now: Millis) -> String {
    let mut out = String::new();
    for (node, running) in tree["nodes"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "{node}");
        actors(running, now).lines().for_each(|line| _ = writeln!(out, "  {line}"));
    }
    for (node, reason) in tree["silent"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "{node}  does not answer  [{}]", reason.as_str().unwrap_or_default());
    }
    let mut rows: Vec<Value> = tree["table"].as_array().into_iter().flatten().map(row).collect();
    rows.extend(tree["deliveries"].as_object().into_iter().flatten().map(|(name, strategy)| {
        row(&json!({"kind": format!("delivery to {name}"), "parent": "lane", "strategy": strategy}))
    }));
    let _ = write!(out, "\n{}", output::value(&Value::Array(rows), TABLE));
    out
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A line per actor, indented below the nearest actor whose path leads to it; names themselves may hold a `/`.
fn actors(actors: &Value, now: Millis) -> String {
    let mut actors: Vec<&Value> = actors.as_array().into_iter().flatten().collect();
    // As if `/` came before every other character, so that children follow their parent at once.
    actors.sort_by_key(|actor| text(actor, "path").replace('/', "\0"));
    let mut above: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for actor in actors {
        let path = text(actor, "path");
        let below = |parent: &str| path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('/'));
        while above.last().is_some_and(|parent| below(parent).is_none()) {
            above.pop();
        }
        let name = above.last().and_then(|parent| below(parent)).unwrap_or(path);
        lines.push((format!("{}{name}", "  ".repeat(above.len())), actor));
        above.push(path);
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, actor)| format!("{name:width$}  {}\n", told(actor, now))).collect()
}

/// What is said of an actor: its phase, its own view, and, when something is wrong, what and what will be done.
fn told(actor: &Value, now: Millis) -> String {
    let mut parts = vec![format!("{:8}", text(actor, "phase"))];
    for (key, value) in actor["view"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", output::cell(value)));
    }
    for key in ["attempts", "restarts"] {
        if let Some(count) = actor[key].as_u64().filter(|count| *count > 0) {
            parts.push(format!("{key}={count}"));
        }
    }
    if let Some(at) = actor["next_try"].as_i64() {
        let tenths = Millis(at).since(now).max(0) / 100;
        parts.push(format!("next try in {}.{} s", tenths / 10, tenths % 10));
    }
    if let Some(reason) = actor["reason"].as_str() {
        parts.push(format!("[{reason}]"));
    }
    parts.join("  ").trim_end().to_owned()
}

fn row(row: &Value) -> Value {
    let strategy = &row["strategy"];
    let mut short = json!({
        "kind": row["kind"], "parent": row["parent"], "scope": strategy["scope"], "limit": strategy["limit"],
    });
    for class in CLASSES {
        short[class] = json!(rule(&strategy[class]));
    }
    let (backoff, intensity) = (&strategy["backoff"], &strategy["intensity"]);
    short["backoff"] =
        json!(format!("{}..{}, {}", text(backoff, "base"), text(backoff, "max"), text(backoff, "probe")));
    short["intensity"] = json!(format!(
        "{} in {}: {}",
        intensity["restarts"],
        text(intensity, "period"),
        text(intensity, "exceeded")
    ));
    short
}

/// `resume`, or `resume x5, 10s: dead_letter` when it does not last for ever.
fn rule(rule: &Value) -> String {
    let mut short = text(rule, "answer").to_owned();
    if let Some(attempts) = rule["attempts"].as_u64() {
        let _ = write!(short, " x{attempts}");
    }
    if let Some(age) = rule["max_age"].as_str() {
        let _ = write!(short, ", {age}");
    }
    if !rule["attempts"].is_null() || !rule["max_age"].is_null() {
        let _ = write!(short, ": {}", text(rule, "exhausted"));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_stand_below_their_parents_with_what_is_wrong() {
        let actor = |path: &str| json!({"path": path, "phase": "running", "attempts": 0, "restarts": 0});
        let mut shard = actor("root/shards/web/0");
        shard["view"] = json!({"lag_ms": 5});
        let mut part = actor("root/shards/web/0/writer");
        part["phase"] = json!("waiting");
        (part["attempts"], part["restarts"]) = (json!(3), json!(1));
        (part["next_try"], part["reason"]) = (json!(12_500), json!("disk full"));
        let tree = json!([part, actor("root/shards-of-another"), actor("root"), shard, actor("root/shards")]);
        let expected = "\
root                running
  shards            running
    web/0           running   lag_ms=5
      writer        waiting   attempts=3  restarts=1  next try in 2.5 s  [disk full]
  shards-of-another  running
";
        let squeeze = |text: &str| {
            let line = |line: &str| {
                let depth = line.len() - line.trim_start().len();
                format!("{depth} {}", line.split_whitespace().collect::<Vec<_>>().join(" "))
            };
            text.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&actors(&tree, Millis(10_000))), squeeze(expected));
    }

    #[test]
    fn the_table_that_runs_is_drawn_whole() {
        let tree = json!({"table": shardmill_actors::tree::TREE, "nodes": {"a-1": []}, "silent": {"b-1": "no session"}});
        let drawn = draw(&tree, Millis(0));
        for part in [
            "a-1\n",
            "b-1  does not answer  [no session]",
            "coordinator",
            "500ms..300s, 60s",
            "20 in 300s: pause",
            "escalate",
            "all",
        ] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
        let until = json!({"answer": "resume", "attempts": 5, "max_age": "10s", "exhausted": "dead_letter"});
        assert_eq!(rule(&until), "resume x5, 10s: dead_letter");
    }
}
