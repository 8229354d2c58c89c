//! `dlq edit`: new payloads by a JSON patch over a selection, or from a backup that somebody edited.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shardmill_actors::dead_letters::letter::Payload;
use shardmill_actors::dead_letters::selection::Found;
use shardmill_actors::dead_letters::{Edit, Editing, Search, Selection};
use shardmill_actors::shared::Ports;
use shardmill_connectors::patch::{self, Patch};
use shardmill_connectors::{Failure, Millis};

use super::letter_file::LetterFile;
use super::{audited, pending};
use crate::cli::DlqEdit;
use crate::commands::Error;
use crate::commands::progress::Progress;
use crate::commands::reach::Reached;
use crate::output;

/// Failures and unknown ids that are told one by one; the others are counted.
const TOLD: usize = 100;
/// Changes that a dry run shows.
const SHOWN: usize = 5;

/// What an edit did, or would do.
#[derive(Debug, Default, Serialize)]
struct Done {
    /// Letters looked at.
    selected: u64,
    /// Letters whose payload is a new one.
    edited: u64,
    /// Letters whose payload is the same as before.
    unchanged: u64,
    /// Why letters (or lines of the file) were not edited; the first of them.
    failed: Vec<Value>,
    /// How many were not.
    failed_total: u64,
    /// Ids of the file that no letter selected has; the first of them.
    unknown: Vec<String>,
    /// How many.
    unknown_total: u64,
    /// The first changes of a dry run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Value>,
    dry_run: bool,
}

impl Done {
    fn fail(&mut self, failure: Value) {
        self.failed_total += 1;
        if self.failed.len() < TOLD {
            self.failed.push(failure);
        }
    }
}

/// Where new payloads come from.
enum Change {
    Patch(Patch),
    File(LetterFile),
}

/// Edits the letters selected; succeeds only if no edit failed.
pub(super) async fn edit(args: DlqEdit, json: bool) -> Result<(), Error> {
    let mut selection = pending(&args.which.filter);
    let mut change = change(&args)?;
    let mut done = Done { dry_run: args.dry_run, ..Done::default() };
    if let Change::File(file) = &change {
        for (line, reason) in file.broken() {
            done.fail(json!({"line": line, "reason": reason}));
        }
        let named: BTreeSet<&String> = args.which.filter.id.iter().collect();
        let ids = file.ids().filter(|id| named.is_empty() || named.contains(id));
        selection.ids = ids.cloned().collect();
    }
    let reached = Reached::open(&args.which.reach).await?;
    let progress = Progress::new(json, "letters");
    let nothing = matches!(change, Change::File(_)) && selection.ids.is_empty();
    if !nothing {
        if !args.dry_run {
            audited(&reached.stores.ports, "dlq edit", &args.which.filter).await?;
        }
        run(&reached.stores.ports, &selection, &mut change, (&mut done, &progress)).await?;
    }
    progress.finish();
    output::show(json, &serde_json::to_value(&done).unwrap_or(Value::Null), &[])?;
    if done.failed_total == 0 { Ok(()) } else { Err(Error::Told) }
}

fn change(args: &DlqEdit) -> Result<Change, Error> {
    match (&args.patch, &args.from) {
        (Some(_), _) if args.which.filter.is_empty() && !args.all => {
            Err(Error::Usage("--patch changes every letter selected: select some, or say --all".to_owned()))
        }
        (Some(patch), _) => Patch::parse(patch)
            .map(Change::Patch)
            .map_err(|reason| Error::Usage(format!("--patch: {reason}"))),
        (None, Some(file)) => Ok(Change::File(LetterFile::read(file)?)),
        (None, None) => Err(Error::Usage("name --patch or --from".to_owned())),
    }
}

async fn run(
    ports: &Ports,
    selection: &Selection,
    change: &mut Change,
    (done, progress): (&mut Done, &Progress),
) -> Result<(), Failure> {
    let mut search = Search::open(ports, selection).await?;
    let (all, at) = (search.at_most(), Millis::now());
    let mut editing = Editing::begin(ports).await?;
    let mut unknown: BTreeSet<&String> = match change {
        Change::File(_) => selection.ids.iter().collect(),
        Change::Patch(_) => BTreeSet::new(),
    };
    while let Some(found) = search.next().await? {
        done.selected += 1;
        unknown.remove(&found.letter.id);
        match payload(change, &found)? {
            Ok(None) => done.unchanged += 1,
            Err(reason) => done.fail(json!({"id": found.letter.id, "reason": reason})),
            Ok(Some(payload)) => {
                done.edited += 1;
                if !done.dry_run {
                    editing.add(&Edit::new(found.letter.id, payload, at)).await?;
                } else if done.changes.len() < SHOWN {
                    done.changes.push(shown(&found, &payload));
                }
            }
        }
        progress.advance(1, all);
    }
    done.unknown_total = unknown.len() as u64;
    done.unknown = unknown.into_iter().take(TOLD).cloned().collect();
    if !done.dry_run {
        editing.commit().await?;
    }
    Ok(())
}

fn shown(found: &Found, payload: &Payload) -> Value {
    json!({
        "id": found.letter.id,
        "before": found.letter.payload, "before_base64": found.letter.payload_base64,
        "after": payload.payload, "after_base64": payload.payload_base64,
    })
}

/// The new payload of a letter, `None` when it stays, or why it cannot be edited.
fn payload(change: &mut Change, found: &Found) -> Result<Result<Option<Payload>, String>, Failure> {
    match change {
        Change::Patch(patch) => {
            let patched = found.letter.data().and_then(|data| patch.apply(&data));
            Ok(patched.map(|bytes| bytes.map(|bytes| Payload::of(&bytes))))
        }
        Change::File(file) => Ok(match file.line(&found.letter.id)? {
            Some(line) => from_line(&line, found),
            None => Ok(None),
        }),
    }
}

/// What a line of an edited backup makes of a letter. Only its payload counts.
fn from_line(line: &[u8], found: &Found) -> Result<Option<Payload>, String> {
    #[derive(Deserialize)]
    struct Edited {
        #[serde(default)]
        payload: Option<Box<RawValue>>,
        #[serde(default)]
        payload_base64: Option<String>,
    }
    let edited: Edited = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match (edited.payload, edited.payload_base64) {
        (Some(_), Some(_)) => Err("it has both a payload and a payload_base64: leave out one".to_owned()),
        (None, None) if found.letter.range.is_some() => Ok(None),
        (None, None) => Err("it has no payload".to_owned()),
        (Some(json), None) => {
            let before = found.letter.payload.as_ref();
            let stays = before.is_some_and(|before| patch::same(before.get(), json.get()));
            Ok((!stays).then(|| Payload::of(json.get().as_bytes())))
        }
        (None, Some(base64)) => {
            let payload = Payload { payload: None, payload_base64: Some(base64) };
            let mut letter = found.letter.clone();
            let before = letter.replace_payload(payload.clone());
            letter.data()?;
            Ok((before.payload_base64 != payload.payload_base64).then_some(payload))
        }
    }
}

#[cfg(test)]
mod tests {
    use shardmill_actors::dead_letters::Letter;

    use super::*;

    fn found(payload: &str) -> Found {
        let letter = format!(
            r#"{{"id":"1","class":"rejected","reason":"r","destination":null,"table":"t","field":null,"event":null,
            "key":"k","origin":{{"stream":"s","shard":"0","sequence":"1","subsequence":0,"arrived_at":0}},
            "attempts":1,"first_at":0,"last_at":0,"redrives":0,{payload}}}"#
        );
        let letter: Letter = serde_json::from_str(&letter).unwrap();
        Found { letter, original: None, file: "dead/f".into(), settlement: None }
    }

    #[test]
    fn only_the_payload_of_a_line_counts() {
        let json = |text: &str| Some((Some(text.to_owned()), None::<String>));
        for (payload, line, expected) in [
            (r#""payload":{"a":1}"#, r#"{"id":"1","reason":"changed","payload":{ "a": 1 }}"#, Ok(None)),
            (r#""payload":{"a":1}"#, r#"{"id":"1","payload":{"a":2}}"#, Ok(json(r#"{"a":2}"#))),
            (r#""payload":{"a":1.1}"#, r#"{"payload":{"a":1.10}}"#, Ok(json(r#"{"a":1.10}"#))),
            (r#""payload_base64":"e30K""#, r#"{"payload":{"a":1}}"#, Ok(json(r#"{"a":1}"#))),
            (r#""payload_base64":"e30K""#, r#"{"payload_base64":"e30K"}"#, Ok(None)),
            (
                r#""payload":{"a":1}"#,
                r#"{"payload_base64":"e30K"}"#,
                Ok(Some((None, Some("e30K".to_owned())))),
            ),
            (r#""payload":{"a":1}"#, r#"{"payload_base64":"!"}"#, Err("base64")),
            (r#""payload":{"a":1}"#, r#"{"id":"1"}"#, Err("no payload")),
            (r#""payload":{"a":1}"#, r#"{"payload":{},"payload_base64":"e30K"}"#, Err("both")),
        ] {
            let got = from_line(line.as_bytes(), &found(payload));
            match (got, expected) {
                (Ok(got), Ok(expected)) => {
                    let got = got.map(|p| (p.payload.map(|json| json.get().to_owned()), p.payload_base64));
                    assert_eq!(got, expected, "{line}");
                }
                (Err(told), Err(part)) => assert!(told.contains(part), "{told}"),
                (got, _) => panic!("{line}: {got:?}"),
            }
        }
    }
}
