//! `erase`: takes a person out of everything that is kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardmill_actors::admin::audit;
use shardmill_actors::erase::{Erase, Report};
use shardmill_connectors::erasure::{Field, Wanted};

use super::Error;
use super::ops_client::operator;
use super::reach::Reached;
use crate::cli::EraseArgs;
use crate::output;

/// The fields that name a person when nothing else is said.
const PERSON: [&str; 2] = ["/userId", "/anonymousId"];

/// Erases, or tells what would be erased; fails when something is left that could be reached.
pub async fn erase(args: EraseArgs, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.reach).await?;
    let (wanted, beyond) = wanted(&reached, &args)?;
    let ports = &reached.stores.ports;
    let tools = reached.tools();
    if !args.dry_run {
        // Not whom: the log stays.
        let fields: Vec<String> = wanted.iter().flat_map(|one| &one.fields).map(Field::to_string).collect();
        let said = json!({"by": operator(), "fields": fields, "now": args.now});
        audit::note(ports.objects.as_ref(), None, "erase", &said).await?;
    }
    let erase = Erase {
        ports,
        tools: &tools,
        schemas: &reached.stores.schemas(),
        dedupe: &reached.stores.dedupe(),
        wanted: &wanted,
        delete_grace: reached.config.lake.delete_grace.0,
        now: args.now,
        dry_run: args.dry_run,
    };
    let mut report = erase.run().await?;
    report.not_reached.extend(beyond);
    match json {
        true => {
            let value = serde_json::to_value(&report).unwrap_or(Value::Null);
            output::show(true, &value, &[])?;
        }
        false => output::print(&text(&report))?,
    }
    if report.is_whole() { Ok(()) } else { Err(Error::Told) }
}

/// What must hold of an event, and what of it is beyond reach.
fn wanted(reached: &Reached, args: &EraseArgs) -> Result<(Vec<Wanted>, Vec<String>), Error> {
    let streams = reached.stores.streams.iter();
    let mapped = streams.filter(|(_, settings)| settings.tables.current().is_mapped());
    let mapped: Vec<String> = mapped.map(|(stream, _)| of_mapped(stream)).collect();
    let Some(user) = &args.user else { return Ok((args.conditions.clone(), mapped)) };
    let sources = reached.stores.sources().into_iter();
    let keys = sources.map(|(stream, settings)| (stream, settings.fields.key)).collect();
    let (wanted, mut beyond) = person(&keys, user, &args.fields).map_err(Error::Usage)?;
    beyond.extend(mapped);
    Ok((vec![wanted], beyond))
}

/// Rows and what was received need not have the same fields.
fn of_mapped(stream: &str) -> String {
    format!(
        "events of {stream} go through a mapping before they are rows: what it renames is compared by both names only if both are named, and what it hashes or drops is found on one side only"
    )
}

/// A person is found by the usual fields and by those named. What else streams make their keys of names whoever it may: an order, a
/// device. Where that is so keys do not tell whose an event is.
fn person(
    keys: &BTreeMap<String, Vec<String>>,
    user: &str,
    named: &[Field],
) -> Result<(Wanted, Vec<String>), String> {
    let mut fields = PERSON.into_iter().map(Field::parse).collect::<Result<Vec<Field>, String>>()?;
    fields.extend(named.iter().cloned());
    fields.sort();
    fields.dedup();
    let mut beyond = Vec::new();
    for (stream, key) in keys {
        for pointer in key {
            let key = Field::parse(pointer)?;
            if !fields.iter().any(|field| field.is_same(&key)) {
                beyond.push(format!(
                    "{stream} makes its keys of {pointer}, which is not compared, and so no payload that cannot be read is told by its key: with --field {pointer}, if it holds the ids of people, both are"
                ));
            }
        }
    }
    Ok((Wanted { is_key: beyond.is_empty(), ..Wanted::new(fields, user.to_owned()) }, beyond))
}

/// A report for people.
fn text(report: &Report) -> String {
    let Report { dry_run, hours, segments, dead_letters, edits, parked, raw, .. } = report;
    let rows: u64 = hours.iter().map(|hour| hour.rows).sum();
    let would = if *dry_run { "would erase" } else { "erased" };
    let mut text = format!(
        "{would} {rows} rows of {} hours, {dead_letters} dead letters, {edits} edits, {parked} parked events, {raw} raw records ({} compared)\n",
        hours.len(),
        report.fields.join(", "),
    );
    for hour in hours {
        let why = hour.reason.as_ref().map(|why| format!(": NOT done: {why}")).unwrap_or_default();
        text.push_str(&format!("  {}/{}: {} rows{why}\n", hour.table, hour.hour, hour.rows));
    }
    if report.messages > 0 {
        text.push_str(&format!("{} messages were taken out of the dead-letter queue\n", report.messages));
    }
    if *segments > 0 {
        text.push_str(&format!("{segments} segments were not absorbed yet\n"));
    }
    if let Some(id) = &report.id {
        let (rewritten, deleted) = (report.objects_rewritten, report.objects_deleted);
        text.push_str(&format!("{rewritten} objects rewritten, {deleted} deleted; remembered as {id}\n"));
    }
    for line in &report.not_reached {
        text.push_str(&format!("not reached: {line}\n"));
    }
    for unread in &report.unread {
        text.push_str(&format!("NOT READ: {unread}\n"));
    }
    if *dry_run {
        return text;
    }
    for left in &report.left {
        text.push_str(&format!("LEFT: {} events in {}\n", left.events, left.object));
    }
    if report.mentions > 0 {
        let mentions = report.mentions;
        text.push_str(&format!("{mentions} objects hold the value in events of others: look with --where\n"));
    }
    text.push_str(match (report.found_after, report.unread.is_empty()) {
        (0, true) => "searched every object: nothing is left\n",
        (0, false) => "searched every object that can be read: nothing is left there\n",
        _ => "searched every object: something is LEFT\n",
    });
    text
}

#[cfg(test)]
mod tests {
    use shardmill_actors::erase::{ErasedHour, Left};

    use super::*;

    #[test]
    fn a_person_is_not_looked_for_where_a_stream_keeps_the_ids_of_something_else() {
        let keys = |orders: &str| -> BTreeMap<String, Vec<String>> {
            [("web", vec!["/user_id", "/anonymousId"]), ("orders", vec![orders])]
                .into_iter()
                .map(|(stream, keys)| (stream.to_owned(), keys.into_iter().map(str::to_owned).collect()))
                .collect()
        };
        let shown = |wanted: &Wanted| wanted.fields.iter().map(Field::to_string).collect::<Vec<_>>();
        let (wanted, beyond) = person(&keys("/orderId"), "42", &[]).unwrap();
        assert_eq!((shown(&wanted), wanted.is_key), (vec!["/anonymousId".into(), "/userId".into()], false));
        assert!(beyond.len() == 1 && beyond[0].contains("with --field /orderId"), "{beyond:?}");
        let (wanted, beyond) = person(&keys("/orderId"), "42", &[Field::parse("order_id").unwrap()]).unwrap();
        assert!(wanted.is_key && beyond.is_empty() && shown(&wanted).contains(&"order_id".to_owned()));
        let (wanted, beyond) = person(&keys("/userId"), "42", &[]).unwrap();
        assert!(wanted.is_key && beyond.is_empty());
    }

    #[test]
    fn people_are_told_what_was_done_what_is_left_and_what_is_out_of_reach() {
        let hour = ErasedHour {
            table: "events".into(),
            hour: "2026-11-21T07".parse().unwrap(),
            rows: 3,
            reason: Some("a node works on it".into()),
        };
        let report = Report {
            id: Some("abc".into()),
            hours: vec![hour],
            not_reached: vec!["the streams".into()],
            messages: 2,
            found_after: 3,
            left: vec![Left { object: "tables/x".into(), events: 3 }],
            ..Report::default()
        };
        let told = text(&report);
        for line in [
            "erased 3 rows of 1 hours",
            "events/2026-11-21T07: 3 rows: NOT done: a node works on it\n",
            "remembered as abc\n",
            "2 messages were taken out of the dead-letter queue\n",
            "not reached: the streams\n",
            "LEFT: 3 events in tables/x\n",
            "something is LEFT",
        ] {
            assert!(told.contains(line), "`{line}` is not in: {told}");
        }
        assert!(!report.is_whole() && Report { dry_run: true, ..report }.is_whole());
    }
}
