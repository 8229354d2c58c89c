//! Announcing dead letters: the queue is the signal that people and alarms watch.

use serde::Deserialize;
use serde_json::json;
use shardmill_cluster::cell;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout::documents as names;

use super::index::DeadIndex;
use super::letter::{self, Letter};
use crate::shared::Ports;
use crate::state::DeadFile;
use crate::world::World;

/// Letters sent to the queue at once.
const TOGETHER: usize = 10;
/// Above this size a letter goes to the queue as a pointer to its object (SQS' limit, with room to spare).
const LARGEST: usize = 200 << 10;

/// Sends every letter of a dead-letter file to the queue. May be repeated: ids stay the same, and tools show an id once.
pub async fn announce(ports: &Ports, file: &str) -> Result<(), Failure> {
    let bytes = ports.objects.get(file).await?;
    let letters = letter::from_ndjson(&bytes)
        .map_err(|error| Failure::rejected(format!("dead-letter file {file} cannot be read: {error}")))?;
    DeadIndex::describe(&ports.documents, file, &letters).await?;
    for some in letters.chunks(TOGETHER) {
        let bodies = some.iter().map(|letter| body(file, letter)).collect::<Result<_, _>>()?;
        for outcome in ports.dead_letters.send(bodies).await? {
            outcome?;
        }
    }
    Ok(())
}

/// Enters and announces a file of letters that a manifest names, unless that was done. Its letters may be so old that they are
/// settled and removed.
///
/// # Errors
/// What the stores raise; what was not announced then is when this is done again.
pub async fn announce_once(ports: &Ports, file: &DeadFile) -> Result<(), Failure> {
    let entry = names::dead_letters(&file.key);
    let index: Option<DeadIndex> = cell::read(ports.documents.as_ref(), &entry).await?;
    let told = index.is_some_and(|index| index.summary.is_some() || index.removed);
    if told || ports.objects.head(&file.key).await?.is_none() {
        return Ok(());
    }
    DeadIndex::enter(&ports.documents, file).await?;
    announce(ports, &file.key).await
}

/// Announces what manifests name and whoever made them did not live to announce.
///
/// # Errors
/// What the stores raise.
pub async fn announce_owed(ports: &Ports, world: &World) -> Result<(), Failure> {
    for file in world.late.values().filter_map(|manifest| manifest.dead_letters.as_ref()) {
        announce_once(ports, file).await?;
    }
    Ok(())
}

/// What the queue gets: the letter, or where to find it.
pub(super) fn body(file: &str, letter: &Letter) -> Result<String, Failure> {
    let whole = serde_json::to_string(letter)
        .map_err(|error| Failure::crashed(format!("a dead letter cannot be written as JSON: {error}")))?;
    if whole.len() <= LARGEST {
        return Ok(whole);
    }
    let Letter { id, reason, table, destination, last_at, .. } = letter;
    let pointer = json!({"id": id, "reason": reason, "table": table, "destination": destination,
        "last_at": last_at, "object": file});
    Ok(pointer.to_string())
}

/// What a message of the queue says of the letter that it announces, whole or not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Announced {
    /// The letter's id.
    pub id: String,
    /// Who gave it up; `None` for the lake, and in pointers that were written before they said so.
    #[serde(default)]
    pub destination: Option<String>,
    /// When it was given up; not in all pointers.
    #[serde(default)]
    pub last_at: Option<Millis>,
}

impl Announced {
    /// What `body` announces; `None`: it is no message of ours, as far as can be seen.
    pub fn read(body: &str) -> Option<Self> {
        /// What every message of ours has besides.
        #[derive(Deserialize)]
        struct Ours {
            #[serde(rename = "reason")]
            _reason: String,
            #[serde(default)]
            origin: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            object: Option<String>,
        }
        let ours: Ours = serde_json::from_str(body).ok()?;
        let told: Announced = serde_json::from_str(body).ok()?;
        let is_id = told.id.len() == 32 && told.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && (ours.origin.is_some() || ours.object.is_some())).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::letter;
    use super::*;

    #[test]
    fn what_is_announced_can_be_read_back() {
        for destination in ["crm", "lake"] {
            let mut letter = letter(7, destination);
            let expected = Announced {
                id: letter.id.clone(),
                destination: letter.destination.clone(),
                last_at: Some(letter.last_at),
            };
            let whole = body("dead/f", &letter).unwrap();
            assert!(whole.contains("payload"));
            assert_eq!(Announced::read(&whole), Some(expected.clone()));
            letter.payload = serde_json::value::to_raw_value(&"x".repeat(LARGEST)).ok();
            let pointer = body("dead/f", &letter).unwrap();
            assert!(pointer.contains("dead/f") && pointer.len() < 1_000);
            assert_eq!(Announced::read(&pointer), Some(expected));
        }
    }

    #[test]
    fn messages_of_others_are_told_from_ours() {
        let id = "0123456789abcdef0123456789abcdef";
        // As pointers were before they named the destination.
        let old = format!(r#"{{"id":"{id}","reason":"r","table":"t","object":"dead/f"}}"#);
        assert_eq!(Announced::read(&old).map(|told| (told.destination, told.last_at)), Some((None, None)));
        for body in [
            "",
            "plain text",
            "[]",
            "7",
            r#"{"id":"7","reason":"r","object":"o"}"#,
            &format!(r#"{{"id":"{id}"}}"#),
            &format!(r#"{{"id":"{id}","reason":"r"}}"#),
            &format!(r#"{{"id":"{id}","object":"o"}}"#),
            &format!(r#"{{"id":"{}","reason":"r","object":"o"}}"#, id.replace('0', "x")),
        ] {
            assert_eq!(Announced::read(body), None, "{body}");
        }
    }
}
