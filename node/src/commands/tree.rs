//! `admin tree` for people: every actor with its live state below its parent, then the table of strategies.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::output;

/// The classes of failure, as the strategies name them.
const CLASSES: [&str; 6] = ["transient", "throttled", "rejected", "unauthorized", "fenced", "crashed"];

/// The answer of the command `tree`, drawn.
pub(super) fn draw(tree: &Value) -> String {
    let none = Vec::new();
    let actors = tree["actors"].as_array().unwrap_or(&none);
    let paths: Vec<&str> = actors.iter().filter_map(|actor| actor["path"].as_str()).collect();
    let mut children: BTreeMap<Option<&str>, Vec<(&str, &Value)>> = BTreeMap::new();
    for actor in actors {
        let Some(path) = actor["path"].as_str() else { continue };
        children.entry(parent(path, &paths)).or_default().push((path, actor));
    }
    let mut out = String::new();
    branch(None, 0, &children, &mut out);
    let rows = tree["table"].as_array().map(|rows| rows.iter().map(strategy).collect::<Vec<_>>());
    let columns: Vec<&str> =
        ["kind", "parent"].into_iter().chain(CLASSES).chain(["backoff", "restarts", "scope"]).collect();
    out.push('\n');
    out.push_str(&output::value(&json!(rows.unwrap_or_default()), &columns));
    out
}

/// The longest path that `path` lies below: names of actors may hold a `/` themselves.
fn parent<'a>(path: &str, paths: &[&'a str]) -> Option<&'a str> {
    let above = |other: &&&str| path.strip_prefix(**other).is_some_and(|rest| rest.starts_with('/'));
    paths.iter().filter(above).max_by_key(|other| other.len()).copied()
}

fn branch(
    parent: Option<&str>,
    depth: usize,
    children: &BTreeMap<Option<&str>, Vec<(&str, &Value)>>,
    out: &mut String,
) {
    for (path, actor) in children.get(&parent).into_iter().flatten() {
        let name = parent.map_or(*path, |parent| &path[parent.len() + 1..]);
        let _ = write!(out, "{}{name}  {}", "  ".repeat(depth), text(&actor["phase"]));
        for counted in ["attempts", "restarts"] {
            if actor[counted].as_u64().unwrap_or(0) > 0 {
                let _ = write!(out, "  {counted}={}", actor[counted]);
            }
        }
        for told in ["reason", "next_try"].into_iter().filter(|told| !actor[*told].is_null()) {
            let _ = write!(out, "  {told}={}", text(&actor[told]));
        }
        for (key, value) in
            actor["view"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
        {
            let _ = write!(out, "  {key}={}", text(value));
        }
        out.push('\n');
        branch(Some(path), depth + 1, children, out);
    }
}

/// One row of the table: the answer to each class, the delays, how many restarts in which time.
fn strategy(row: &Value) -> Value {
    let strategy = &row["strategy"];
    let mut shown = json!({
        "kind": row["kind"], "parent": row["parent"], "scope": strategy["scope"],
        "backoff": format!("{}..{}", seconds(&strategy["backoff"]["base"]), seconds(&strategy["backoff"]["max"])),
        "restarts": format!("{} in {}, then {}", strategy["intensity"]["restarts"],
            seconds(&strategy["intensity"]["period"]), text(&strategy["intensity"]["exceeded"])),
    });
    for class in CLASSES {
        let rule = &strategy[class];
        shown[class] = match rule["attempts"].as_u64() {
            Some(attempts) => {
                json!(format!("{} ×{attempts}, then {}", text(&rule["answer"]), text(&rule["exhausted"])))
            }
            None => rule["answer"].clone(),
        };
    }
    shown
}

fn seconds(duration: &Value) -> String {
    let nanos = duration["nanos"].as_f64().unwrap_or(0.0);
    format!("{}s", duration["secs"].as_f64().unwrap_or(0.0) + nanos / 1e9)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_stand_below_their_parents() {
        let actor = |path: &str| json!({"path": path, "phase": "running", "attempts": 0, "restarts": 0});
        let mut failed = actor("root/hours/t/2026-11-21T01");
        failed["restarts"] = json!(2);
        failed["view"] = json!({"rows": 7});
        let rule = json!({"answer": "resume", "attempts": null, "exhausted": "resume"});
        let strategy = json!({"transient": rule, "rejected": {"answer": "restart", "attempts": 3, "exhausted": "pause"},
            "backoff": {"base": {"secs": 0, "nanos": 100_000_000}, "max": {"secs": 30, "nanos": 0}},
            "intensity": {"restarts": 5, "period": {"secs": 300, "nanos": 0}, "exceeded": "pause"}});
        let tree = json!({
            "actors": [actor("root"), actor("root/hours"), actor("root/hours-x"), failed],
            "table": [{"kind": "hour", "parent": "hours", "strategy": strategy}],
        });
        let drawn = draw(&tree);
        let wanted = "root  running\n  hours  running\n    t/2026-11-21T01  running  restarts=2  rows=7\n  hours-x  running\n";
        assert!(drawn.starts_with(wanted), "{drawn}");
        assert!(drawn.contains("0.1s..30s") && drawn.contains("5 in 300s, then pause"), "{drawn}");
        assert!(drawn.contains("restart ×3, then pause"), "{drawn}");
    }
}
