//! `wrong-token`: a destination that answers 401 pauses within one batch, buries nothing and says what to do; with the right token
//! everything arrives.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::kill::CONFIG;
use super::{Options, Outcome, tell};
use crate::harness::receiver::{Reply, Script};
use crate::harness::{Cli, Feed, Node, Receiver, Setup};

/// Events in a request.
const BATCH: u64 = 20;
/// How long the alarm may outlast its cause.
const RECOVERED: Duration = Duration::from_secs(10);
/// How often a paused destination is probed. That a gate sends one probe in this time and no more is shown in virtual time by
/// the tests of `shardmill-actors`; here, that all events come by a paused destination and it sees nothing of them.
const PROBED_EVERY: Duration = Duration::from_secs(60);
const RIGHT: &str = "Bearer right-7c1e";
const WRONG: &str = "Bearer wrong-9d2f";

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let events = if options.short { 1_000 } else { 20_000 };
    let script = Script { authorization: Some(RIGHT.into()), seed: options.seed, ..Script::default() };
    let receiver = Receiver::start(script).await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut setup = Setup::new(&folder.path().join("data"), Some(&config(&receiver, WRONG)));
    let node = Node::start(&setup).await?;
    let since = Instant::now();
    let (_open, at) = watch::channel(node.collector.clone());
    let feeding = Feed::new(events, 40, options.seed).start(at);
    let paused = deliveries::until(&node, "hook", PATIENCE, |state| state.state == "paused").await?;
    let at_pause = receiver.tally().requests;
    let largest = receiver.look(|record| record.entries.iter().map(|entry| entry.events.len()).max());
    tell(format!("paused after {at_pause} requests: {}", paused.reason.clone().unwrap_or_default()));
    // One request at a time: the first refusal is the last request.
    if at_pause != 1 || largest.unwrap_or(0) as u64 > BATCH {
        return Err(format!(
            "paused after {at_pause} requests of up to {largest:?} events, not within one batch"
        ));
    }
    let book = feeding.book().await?;
    // From the pause until the last event is in the lake and waits for the destination.
    deliveries::settled(&node, events).await?;
    // Lanes hold some thousand events each; the stream has the rest.
    let held = deliveries::until(&node, "hook", PATIENCE, |state| state.pending >= events / 2).await?;
    let probes = receiver.tally().requests - at_pause;
    let due = since.elapsed().as_secs() / PROBED_EVERY.as_secs();
    if probes > due || held.state != "paused" || held.delivered > 0 {
        return Err(format!("{probes} requests while paused, {due} probes are due by now: {held:?}"));
    }
    let cli = Cli::new(&setup)?;
    nothing_buried(&cli).await?;
    let status = node.ask("status").await?;
    let alarm = alarm(&status, "hook")?;
    tell(format!("the alarm: {alarm}"));
    silent(&node, &status).await?;

    setup.config = Some(config(&receiver, RIGHT));
    setup.config_file()?;
    deliveries::admin(&node, &["reload"]).await?;
    deliveries::admin(&node, &["resume", "hook"]).await?;
    deliveries::arrived(&receiver, |tally| tally.events >= events).await?;
    let done = deliveries::until(&node, "hook", PATIENCE, deliveries::State::is_done).await?;
    recovered(&node).await?;
    node.stop().await?;
    nothing_buried(&cli).await?;
    let record = receiver.record();
    let (_, repeated) = check::repeats(&record, 0);
    for wrong in [check::complete(&book, &record, |_| false), check::order(&record), repeated] {
        check::verdict(&wrong)?;
    }
    let refused = record.entries.iter().filter(|entry| entry.reply == Reply::Unauthorized).count();
    Ok(
        json!({"events": events, "requests_before_the_pause": at_pause, "probes_while_paused": probes, "requests_refused": refused,
        "reason": paused.reason, "alarm": alarm, "pending_while_paused": held.pending, "delivered": done.delivered,
        "receiver": record.figures()}),
    )
}

/// One request at a time, so that one batch is one request. With several at a time, each may see the refusal.
fn config(receiver: &Receiver, token: &str) -> String {
    let header = format!("headers = {{ Authorization = \"{token}\" }}");
    let hook = Webhook { batch: BATCH, concurrency: 1, more: &header, ..Webhook::new("hook", receiver) };
    format!("{CONFIG}{}", hook.section())
}

async fn nothing_buried(cli: &Cli) -> Result<(), String> {
    let letters = deliveries::letters(cli, "hook").await?;
    match letters.len() {
        0 => Ok(()),
        count => Err(format!("{count} events are dead letters because of a wrong token")),
    }
}

/// The alarms about a destination.
fn alarms<'a>(status: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let alarms = status["alarms"].as_array().into_iter().flatten();
    alarms.filter(move |alarm| alarm.to_string().contains(name))
}

/// Waits until the alarm is over.
async fn recovered(node: &Node) -> Result<(), String> {
    let since = Instant::now();
    while has_alarm(&node.ask("status").await?, "hook") {
        if since.elapsed() > RECOVERED {
            return Err("the alarm stays after everything is delivered".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn has_alarm(status: &Value, name: &str) -> bool {
    alarms(status, name).next().is_some()
}

/// The alarm about a destination, which must say what to do.
fn alarm(status: &Value, name: &str) -> Result<Value, String> {
    let advises = |alarm: &&Value| {
        let fix = alarm["fix"].as_str().unwrap_or_default();
        fix.contains("resume") && fix.contains(name)
    };
    let advising = alarms(status, name).find(advises).cloned();
    advising.ok_or_else(|| format!("no alarm says to mend and resume `{name}`: {}", status["alarms"]))
}

/// The token is in nothing that is shown or logged.
async fn silent(node: &Node, status: &Value) -> Result<(), String> {
    let log =
        std::fs::read_to_string(&node.log).map_err(|error| format!("{}: {error}", node.log.display()))?;
    let shown = [
        ("admin status", status.to_string()),
        ("admin destinations", node.ask("destinations").await?.to_string()),
        ("admin lanes", node.ask("lanes").await?.to_string()),
        ("the log", log),
    ];
    match shown.iter().find(|(_, text)| text.contains(WRONG.trim_start_matches("Bearer "))) {
        Some((place, _)) => Err(format!("{place} shows the token")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_names_the_destination_and_the_remedy() {
        let status = |alarms: Value| json!({"alarms": alarms});
        let good = json!({"alarm": "destination hook is paused", "at": "…", "text": "401",
            "fix": "mend its credentials, then `shardmill admin reload` and `shardmill admin resume hook`"});
        let found = alarm(&status(json!([{"alarm": "other", "fix": "resume other"}, good])), "hook");
        assert_eq!(found, Ok(good.clone()));
        for alarms in [
            json!([]),
            json!(null),
            json!([{"alarm": "destination hook is paused"}]),
            json!([{"alarm": "hook", "fix": "look"}]),
        ] {
            assert!(alarm(&status(alarms.clone()), "hook").is_err(), "{alarms}");
        }
        assert!(has_alarm(&status(json!([good])), "hook") && !has_alarm(&status(json!([])), "hook"));
    }
}
