//! Redriving by request: the node that is asked does it. What takes longer than a question may goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;

use crate::dead_letters::redrive::Redrive;
use crate::dead_letters::selection::Selection;
use crate::dead_letters::targets::Configured;
use crate::shared::Shared;

/// How long an answer is waited for: less than the admin actor waits.
const ANSWER: Duration = Duration::from_secs(90);

/// `{destination, table, class, reason, key, event, since, until, ids, rate, dry_run}`: what `dlq redrive` does. Answers with its
/// counts, or with `{"state": "running"}`. One that ends with its node is asked for again: it begins with what is not settled.
pub(super) async fn run(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let selection = selection(arguments)?;
    let rate = arguments.get("rate").and_then(Value::as_f64).filter(|rate| *rate > 0.0);
    let dry_run = arguments.get("dry_run").and_then(Value::as_bool).unwrap_or(false);
    let shared = shared.clone();
    let work = tokio::spawn(async move {
        let handles = shared.destinations.all();
        let settings = handles.values().map(|handle| handle.settings.clone());
        let redrive = Redrive {
            ports: &shared.ports,
            streams: &shared.streams,
            write: &shared.lake.write,
            targets: &Configured::new(settings, Arc::clone(&shared.streams)),
            rate,
            dry_run,
            withdraw: true,
            progress: &|_, _| {},
        };
        let outcome = redrive.run(&selection).await;
        match &outcome {
            Ok(redriven) => tracing::info!(?redriven, "a redrive has ended"),
            Err(failure) => {
                tracing::warn!(%failure, "a redrive was given up; asked for again, it begins with what is left")
            }
        }
        outcome
    });
    match tokio::time::timeout(ANSWER, work).await {
        Ok(Ok(outcome)) => Ok(json!({"state": "done", "dry_run": dry_run, "result": outcome?})),
        Ok(Err(error)) => Err(Failure::crashed(format!("the redrive has ended by a bug: {error}"))),
        Err(_) => Ok(json!({"state": "running", "dry_run": dry_run})),
    }
}

/// Pending letters that arguments describe.
fn selection(arguments: &Value) -> Result<Selection, Failure> {
    const KNOWN: &[&str] = &[
        "destination",
        "table",
        "class",
        "reason",
        "key",
        "event",
        "since",
        "until",
        "ids",
        "rate",
        "dry_run",
    ];
    let unknown = arguments.as_object().into_iter().flatten().find(|(key, _)| !KNOWN.contains(&key.as_str()));
    if let Some((key, _)) = unknown {
        // A filter with a slip of the pen would redrive everything.
        return Err(Failure::rejected(format!("`{key}` is not known; there are: {}", KNOWN.join(", "))));
    }
    let text = |key: &str| match arguments.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Failure::rejected(format!("`{key}` is a text"))),
    };
    let time = |key: &str| -> Result<Option<Millis>, Failure> {
        let wrong = || Failure::rejected(format!("`{key}` is a time with its zone, as 2026-03-14T09:00:00Z"));
        text(key)?.map(|text| text.parse().map_err(|_| wrong())).transpose()
    };
    let ids = arguments.get("ids").cloned().unwrap_or_else(|| json!([]));
    Ok(Selection {
        destination: text("destination")?,
        table: text("table")?,
        class: text("class")?,
        reason: text("reason")?,
        key: text("key")?,
        event: text("event")?,
        since: time("since")?,
        until: time("until")?,
        ids: serde_json::from_value(ids).map_err(|_| Failure::rejected("`ids` is a list of texts"))?,
        status: Vec::new(),
        erased: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_does_not_redrive_everything() {
        for wrong in [
            json!({"destinaton": "crm"}),
            json!({"since": "yesterday"}),
            json!({"ids": "a"}),
            json!({"table": 7}),
        ] {
            assert!(selection(&wrong).is_err(), "{wrong}");
        }
        let all =
            selection(&json!({"destination": "crm", "since": "2026-03-14T09:00:00Z", "ids": ["a"]})).unwrap();
        assert_eq!((all.destination.as_deref(), all.ids.len()), (Some("crm"), 1));
        assert_eq!(all.since, Some(Millis(1_773_478_800_000)));
    }
}
