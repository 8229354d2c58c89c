//! `destinations try`: the exact requests that events would become.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use shardmill_actors::destination::Settings;
use shardmill_actors::lane::prepare::{Prepared, Received, prepare};
use shardmill_connectors::Millis;
use shardmill_connectors::destinations::registry::Kind;
use shardmill_connectors::destinations::sender::Sender;
use shardmill_connectors::destinations::{Batch, Event, Limits};
use shardmill_connectors::fields::Fields;
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{Origin, Sequence};
use toml::de::DeTable;

use super::known;
use crate::cli::TryArgs;
use crate::commands::{Error, source};
use crate::config::{self, Config, Problem};
use crate::{deliveries, output, wire};

/// What the destination is called that is made of `--set`.
const TRIED: &str = "try";

/// What stands in a problem for the file.
const SET: &str = "--set";

/// What became of the events that are tried.
#[derive(Debug, Default)]
struct Tried {
    batches: Vec<Vec<Event>>,
    not_sent: Vec<Value>,
    refused: bool,
}

/// Shows what events would become; nothing is sent.
pub(super) async fn attempt(args: &TryArgs, json: bool) -> Result<(), Error> {
    let kind = known(&args.kind)?;
    let config = match &args.config {
        Some(file) => configured(kind, file, args.name.as_deref()).await?,
        None => set(kind, &args.set)?,
    };
    let opened = deliveries::open(&config, &Sender::new()?);
    let opened =
        opened.map_err(|problems| if args.config.is_some() { problems } else { of_set(problems) })?;
    let Some(destination) = opened.into_iter().next() else {
        return Err(Error::Usage("there is no destination".to_owned()));
    };
    let (fields, mut tried) = (fields(&config), Tried::default());
    let (events, _) = source::open(&args.event, None, None)?;
    for (index, text) in events.enumerate() {
        match text? {
            Ok(text) => one(&destination, &fields, (index, text), &mut tried),
            Err(message) => tried.refuse(index, None, message),
        }
    }
    if tried.batches.is_empty() && tried.not_sent.is_empty() {
        return Err(Error::Usage(format!("{} holds no event", args.event.display())));
    }
    let shown = shown(&destination, &mut tried);
    output::print(&if json { format!("{shown}\n") } else { readable(&shown) })?;
    if tried.refused { Err(Error::Told) } else { Ok(()) }
}

/// The configuration with the one destination that is meant.
async fn configured(kind: &Kind, file: &Path, name: Option<&str>) -> Result<Config, Error> {
    let mut config = wire::complete(&Config::load(file)?).await?;
    let shown = file.display();
    match name {
        Some(name) => match config.destinations.get(name) {
            Some(found) if found.kind == kind.name => config.destinations.retain(|other, _| other == name),
            Some(found) => {
                let message =
                    format!("`{name}` in {shown} is of the kind `{}`, not `{}`", found.kind, kind.name);
                return Err(Error::Usage(message));
            }
            None => return Err(Error::Usage(format!("{shown} has no destination `{name}`"))),
        },
        None => config.destinations.retain(|_, destination| destination.kind == kind.name),
    }
    let names: Vec<&str> = config.destinations.keys().map(String::as_str).collect();
    match names.as_slice() {
        [_] => Ok(config),
        [] => Err(Error::Usage(format!("{shown} has no destination of the kind `{}`", kind.name))),
        several => Err(Error::Usage(format!("say which one is meant with --name: {}", several.join(", ")))),
    }
}

/// A configuration made of `--set`: each pair is a line of the destination's section.
fn set(kind: &Kind, pairs: &[String]) -> Result<Config, Error> {
    let mut text = format!("[streams.events]\n[destinations.{TRIED}]\nkind = \"{}\"\n", kind.name);
    for pair in pairs {
        let line = line(pair).ok_or_else(|| Error::Usage("write --set KEY=VALUE".to_owned()))?;
        let _ = writeln!(text, "{line}"); // writing into a text cannot fail
    }
    Config::parse(SET, &text, &|name| std::env::var(name).ok())
        .map_err(|found| Error::Problems(of_set(found)))
}

/// A pair as a line of TOML: a value that is none by itself is a text.
fn line(pair: &str) -> Option<String> {
    let (key, value) = pair.split_once('=')?;
    let lines = [format!("{key} = {value}"), format!("{key} = {}", Value::from(value))];
    lines.into_iter().find(|line| DeTable::parse(line).is_ok_and(|table| table.get_ref().len() == 1))
}

/// Problems as whoever wrote `--set` sees them: there is no file.
fn of_set(problems: Vec<Problem>) -> Vec<Problem> {
    let section = format!("destinations.{TRIED}");
    let of_set = |problem: Problem| {
        let key =
            problem.key.strip_prefix(&section).unwrap_or(&problem.key).trim_start_matches('.').to_owned();
        Problem { file: SET.to_owned(), line: 0, key, ..problem }
    };
    problems.into_iter().map(of_set).collect()
}

/// Where a stream finds the parts of an event that deliveries need.
fn fields(config: &Config) -> Fields {
    let stream = config.streams.values().next();
    let own = |of: &config::Fields| Fields {
        name: of.name.clone(),
        time: Vec::new(),
        id: of.id.clone(),
        key: of.key.clone(),
    };
    stream.map_or_else(Fields::default, |stream| own(&stream.fields))
}

/// Prepares an event as a lane does; rules are not asked, because this destination was named.
fn one(destination: &Settings, fields: &Fields, (index, text): (usize, String), tried: &mut Tried) {
    let raw = Bytes::from(text);
    let object = match Object::parse(&raw) {
        Ok(object) => object,
        Err(error) => return tried.refuse(index, None, format!("is not a JSON object: {error}")),
    };
    let origin = Arc::new(Origin {
        stream: "events".into(),
        shard: TRIED.into(),
        sequence: Sequence::from(index as u64),
        subsequence: 0,
        arrived_at: Millis::now(),
    });
    let told = fields.id(&object);
    let key = fields.key(&object).or_else(|| told.clone()).unwrap_or_else(|| index.to_string());
    let received = Received { origin, partition_key: &key, data: &raw };
    let id = told.unwrap_or_else(|| index.to_string());
    match prepare(destination, fields, &received, None) {
        Prepared::Event(event) => place(&mut tried.batches, &destination.limits, event),
        Prepared::Refused(event, failure) => tried.refuse(index, Some(&event.id), failure.detail),
        Prepared::Skipped(reason) => tried.skip(index, &id, reason),
        Prepared::NotMeant => tried.skip(index, &id, "it is not meant for this destination"),
    }
}

impl Tried {
    fn skip(&mut self, index: usize, id: &str, reason: &str) {
        self.not_sent.push(json!({"index": index, "id": id, "outcome": "skipped", "reason": reason}));
    }

    fn refuse(&mut self, index: usize, id: Option<&str>, reason: String) {
        self.refused = true;
        self.not_sent.push(json!({"index": index, "id": id, "outcome": "refused", "reason": reason}));
    }
}

/// Puts an event into the last batch of its part, or into a new one where that has no room.
fn place(batches: &mut Vec<Vec<Event>>, limits: &Limits, event: Event) {
    let last = batches.iter_mut().rev().find(|batch| batch.iter().all(|other| other.part == event.part));
    let has_room = |batch: &Vec<Event>| {
        batch.len() < event.part.most(limits)
            && batch.iter().map(|other| other.data.len()).sum::<usize>() < limits.bytes
            && (limits.keys_share_batches || batch.iter().all(|other| other.key != event.key))
    };
    match last {
        Some(batch) if has_room(batch) => batch.push(event),
        _ => batches.push(vec![event]),
    }
}

/// What would be sent, and what would not.
fn shown(destination: &Settings, tried: &mut Tried) -> Value {
    let mut requests = Vec::with_capacity(tried.batches.len());
    for events in &tried.batches {
        let request = destination.connector.preview(Batch { events, at: Millis::now() });
        tried.refused |= request.get("refused").is_some();
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        requests.push(json!({"events": ids, "request": request}));
    }
    json!({
        "destination": destination.name, "kind": destination.kind,
        "requests": requests, "not_sent": tried.not_sent,
    })
}

/// The same for people: requests as they go over the wire.
fn readable(shown: &Value) -> String {
    let list = |key: &str| shown[key].as_array().into_iter().flatten();
    let mut parts: Vec<String> = Vec::new();
    for batch in list("requests") {
        let ids = batch["events"].as_array().into_iter().flatten().map(output::cell).collect::<Vec<_>>();
        let mut part = format!("# {}\n", ids.join(", "));
        match &batch["request"] {
            Value::Array(several) => several.iter().for_each(|request| part += &wire(request)),
            one => part += &wire(one),
        }
        parts.push(part);
    }
    for event in list("not_sent") {
        let which = if event["id"].is_null() { &event["index"] } else { &event["id"] };
        let cell = |key: &str| output::cell(&event[key]);
        parts.push(format!("# {}: {}: {}\n", output::cell(which), cell("outcome"), cell("reason")));
    }
    parts.join("\n")
}

/// A preview of a request as it goes over the wire; one of something else as it is.
fn wire(request: &Value) -> String {
    let (Some(method), Some(url)) = (request["method"].as_str(), request["url"].as_str()) else {
        return format!("{request:#}\n");
    };
    let mut text = format!("{method} {url}\n");
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "{name}: {}", output::cell(value));
    }
    match &request["body"] {
        Value::String(body) if body.is_empty() => {}
        Value::String(body) => _ = writeln!(text, "\n{}", body.trim_end()),
        body => _ = writeln!(text, "\n{body:#}"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(kind: &str, pairs: &[&str]) -> Result<Settings, String> {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        let config = set(known(kind).unwrap(), &pairs).map_err(|error| format!("{error:?}"))?;
        let opened = deliveries::open(&config, &Sender::new().unwrap());
        let told = |problems| of_set(problems).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Ok(opened.map_err(told)?.remove(0))
    }

    fn tried(destination: &Settings, events: &[&str]) -> (Value, bool) {
        let mut tried = Tried::default();
        for (index, event) in events.iter().enumerate() {
            one(destination, &Fields::default(), (index, (*event).to_owned()), &mut tried);
        }
        (shown(destination, &mut tried), tried.refused)
    }

    const HOOK: &[&str] = &["url=https://hooks.example.net/in?token=s3cr3t", "batch=2"];

    #[test]
    fn settings_are_written_as_in_a_file_or_as_plain_texts() {
        for (pair, wanted) in [
            ("batch=100", Some("batch = 100")),
            ("url=https://a/b?c=d", Some("url = \"https://a/b?c=d\"")),
            ("a.b=\"c\"", Some("a.b = \"c\"")),
            ("retry={ base = \"2s\" }", Some("retry = { base = \"2s\" }")),
            ("a=", Some("a = \"\"")),
            ("a=1\nb=2", Some("a = \"1\\nb=2\"")),
            ("a", None),
            ("=a", None),
            ("a b=c", None),
        ] {
            assert_eq!(line(pair).as_deref(), wanted, "{pair}");
        }
    }

    #[test]
    fn problems_name_the_setting() {
        let wrong = |pairs: &[&str]| opened("webhook", pairs).unwrap_err();
        assert!(wrong(&[]).starts_with("--set: url: is missing (add url = "), "{}", wrong(&[]));
        assert!(wrong(&["url=https://a.example", "fromat=json"]).contains("did you mean `format`?"));
        let many = wrong(&["url=https://a.example", "batch=0"]);
        assert!(many.contains("batch"), "{many}");
    }

    #[test]
    fn requests_are_shown_without_secrets() {
        let hook = opened("webhook", HOOK).unwrap();
        let event = |id: &str, user: &str| format!(r#"{{"messageId":"{id}","userId":"{user}","event":"E"}}"#);
        let events = [event("a", "u"), event("b", "v"), event("c", "w"), "[1]".to_owned()];
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let (shown, refused) = tried(&hook, &events);
        let ids = |index: usize| shown["requests"][index]["events"].clone();
        assert_eq!((ids(0), ids(1), refused), (json!(["a", "b"]), json!(["c"]), true));
        assert_eq!(shown["not_sent"][0]["outcome"], "refused");
        let text = readable(&shown);
        assert!(text.starts_with("# a, b\nPOST https://hooks.example.net/in?token=***\n"), "{text}");
        assert!(text.contains("\nwebhook-id: ") && text.contains("\"userId\": \"v\""), "{text}");
        assert!(text.contains("# 3: refused: is not a JSON object"), "{text}");
        assert!(!format!("{text}{shown}").contains("s3cr3t"), "{text}");
    }

    #[test]
    fn what_the_mapping_leaves_out_is_skipped() {
        let hook =
            opened("webhook", &["url=https://hooks.example.net", "map={ consent = \"/ok\" }"]).unwrap();
        let (shown, refused) = tried(&hook, &[r#"{"messageId":"a"}"#]);
        assert_eq!((shown["requests"].clone(), refused), (json!([]), false));
        assert_eq!(readable(&shown), "# a: skipped: the mapping leaves it out: there is no consent\n");
    }

    #[test]
    fn events_of_one_key_share_a_batch_only_where_they_may() {
        let per_event = [HOOK, &["answer=per_event"][..]].concat();
        for (pairs, requests) in [(HOOK, 1), (&per_event[..], 2)] {
            let (shown, _) = tried(
                &opened("webhook", pairs).unwrap(),
                &[r#"{"messageId":"a","userId":"u"}"#, r#"{"messageId":"b","userId":"u"}"#],
            );
            assert_eq!(shown["requests"].as_array().unwrap().len(), requests, "{pairs:?}");
        }
    }

    #[test]
    fn a_part_of_a_destination_has_room_for_fewer() {
        let groups: Vec<String> = (0..201)
            .map(|n| format!(r#"{{"type":"group","userId":"u{n}","groupId":"g{n}","traits":{{"n":1}}}}"#))
            .collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let (shown, _) = tried(&opened("mixpanel", &["token=t", "group_key=company"]).unwrap(), &groups);
        assert_eq!(shown["requests"].as_array().unwrap().len(), 2, "200 groups in a request");
    }
}
