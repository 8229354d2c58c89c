//! One dead letter: the envelope around a payload that was given up.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::json::Object;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::record::{Origin, Position};
use shardmill_connectors::setsum::Tally;
use shardmill_connectors::standardise::Rejection;
use xxhash_rust::xxh3::Xxh3;

use crate::shared::StreamSettings;
use crate::state::DeadFile;

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    /// Hash of identity, target and redrive count: the same letter, however often it is forwarded.
    pub id: String,
    /// Why it was given up.
    pub class: Class,
    /// The same in words: field, rule, and what was found.
    pub reason: String,
    /// The destination that gave it up; `None` for the lake.
    pub destination: Option<String>,
    /// The table it was meant for, when the lake gave it up.
    pub table: Option<String>,
    /// The failing field, as a JSON pointer.
    pub field: Option<String>,
    /// The event's name.
    pub event: Option<String>,
    /// The partition key.
    pub key: String,
    /// Where the event comes from.
    pub origin: Origin,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first tried.
    pub first_at: Millis,
    /// When it was last tried.
    pub last_at: Millis,
    /// When each attempt was made, the newest last; at most [`ATTEMPTS_KEPT`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempted_at: Vec<Millis>,
    /// The beginning of what the destination answered last, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// How often it had been redriven before.
    pub redrives: u32,
    /// A letter for a whole range of a shard: where its events are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// A letter of an intake: what of a raw file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_file: Option<InFile>,
    /// The payload as received, when it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// The payload in base64, when it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

/// What a letter of an intake stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InFile {
    /// An event; where it began in the unpacked file.
    EventAt(u64),
    /// A whole file or notice: the payload is a notice that announces it again.
    Announcement,
}

/// Attempts whose times a letter keeps.
pub const ATTEMPTS_KEPT: usize = 64;

/// Events that were about to be trimmed by their stream before their destination took them, kept in an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The object: one [`Letter`] a line.
    pub object: String,
    /// How many.
    pub events: u64,
    /// The first one's position.
    pub from: Position,
    /// The last one's position.
    pub to: Position,
}

/// What a letter of a destination is made from.
#[derive(Debug)]
pub struct GivenUp<'a> {
    /// The stream the event came by.
    pub stream: &'a StreamSettings,
    /// The destination's name.
    pub destination: &'a str,
    /// The event's origin.
    pub origin: Origin,
    /// Its partition key.
    pub key: &'a str,
    /// The payload as received, before mapping.
    pub data: &'a [u8],
    /// Why it was given up.
    pub failure: &'a Failure,
    /// The beginning of what the destination answered last.
    pub response: Option<String>,
    /// When each attempt was made.
    pub attempted_at: &'a [Millis],
    /// How many attempts were made.
    pub attempts: u32,
    /// How often it had been redriven before.
    pub redrives: u32,
    /// Now.
    pub at: Millis,
}

/// What a letter of the lake is made from.
#[derive(Debug)]
pub struct Refused<'a> {
    /// The stream it came by.
    pub stream: &'a StreamSettings,
    /// The table that does not take it.
    pub table: &'a str,
    /// Its origin.
    pub origin: Origin,
    /// Its partition key.
    pub key: &'a str,
    /// The payload as received, before mapping.
    pub data: &'a [u8],
    /// Why it is invalid.
    pub rejection: Rejection,
    /// How often it had been redriven before.
    pub redrives: u32,
    /// Now.
    pub at: Millis,
}

/// Why a redelivery came back.
#[derive(Debug)]
pub struct Again {
    /// Why it was given up.
    pub failure: Failure,
    /// The beginning of what the destination answered last.
    pub response: Option<String>,
    /// When each attempt was made; none when the payload could not be sent at all.
    pub attempted_at: Vec<Millis>,
    /// Now.
    pub at: Millis,
}

/// A payload as letters hold it: JSON as it is, anything else in base64.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// See [`Letter::payload`].
    pub payload: Option<Box<RawValue>>,
    /// See [`Letter::payload_base64`].
    pub payload_base64: Option<String>,
}

impl Payload {
    /// A payload of these bytes.
    pub fn of(data: &[u8]) -> Self {
        let (payload, payload_base64) = pack(data);
        Payload { payload, payload_base64 }
    }
}

impl Letter {
    /// The letter for an event that the lake refused.
    pub fn lake(refused: Refused<'_>) -> Self {
        let Refused { stream, table, origin, key, data, rejection, redrives, at } = refused;
        let event = Object::parse(data).ok().and_then(|event| stream.fields.name(&event));
        let (payload, payload_base64) = pack(data);
        Letter {
            id: id(&origin, "lake", redrives),
            class: Class::Rejected,
            reason: rejection.to_string(),
            destination: None,
            table: Some(table.to_owned()),
            field: Some(rejection.field).filter(|field| !field.is_empty()),
            event,
            key: key.to_owned(),
            origin,
            attempts: 1,
            first_at: at,
            last_at: at,
            attempted_at: Vec::new(),
            response: None,
            redrives,
            range: None,
            in_file: None,
            payload,
            payload_base64,
        }
    }

    /// The letter for an event that a destination gave up.
    pub fn delivery(given_up: GivenUp<'_>) -> Self {
        let GivenUp { stream, destination, origin, key, data, failure, response, .. } = given_up;
        let event = Object::parse(data).ok().and_then(|event| stream.fields.name(&event));
        let (payload, payload_base64) = pack(data);
        let attempted_at = given_up.attempted_at;
        Letter {
            id: id(&origin, destination, given_up.redrives),
            class: failure.class,
            reason: failure.detail.clone(),
            destination: Some(destination.to_owned()),
            table: None,
            field: None,
            event,
            key: key.to_owned(),
            origin,
            attempts: given_up.attempts,
            first_at: attempted_at.first().copied().unwrap_or(given_up.at),
            last_at: attempted_at.last().copied().unwrap_or(given_up.at),
            attempted_at: attempted_at[attempted_at.len().saturating_sub(ATTEMPTS_KEPT)..].to_vec(),
            response,
            redrives: given_up.redrives,
            range: None,
            in_file: None,
            payload,
            payload_base64,
        }
    }

    /// The letter that stands for a range of events, of which `first` is the first one's own.
    pub fn range(first: &Letter, range: Range) -> Self {
        let reason = format!(
            "{} events were about to be trimmed by the stream before the destination took them: {}",
            range.events, first.reason
        );
        Letter {
            // Not the first event's: that one settles by itself, and the range only when all of it has.
            id: id(&first.origin, &format!("{}\0range", first.target()), first.redrives),
            reason,
            event: None,
            payload: None,
            payload_base64: None,
            range: Some(range),
            ..first.clone()
        }
    }

    /// The letter for what was trimmed by the stream before anybody had it. It has no payload: there is nothing to redrive.
    pub fn lost(
        stream: &StreamSettings,
        destination: Option<&str>,
        origin: Origin,
        reason: &str,
        at: Millis,
    ) -> Self {
        Letter {
            id: id(&origin, &format!("{}\0lost", destination.unwrap_or("lake")), 0),
            class: Class::Rejected,
            reason: reason.to_owned(),
            destination: destination.map(str::to_owned),
            table: destination.is_none().then(|| stream.tables.current().rest().name.clone()),
            field: None,
            event: None,
            key: String::new(),
            origin,
            attempts: 0,
            first_at: at,
            last_at: at,
            attempted_at: Vec::new(),
            response: None,
            redrives: 0,
            range: None,
            in_file: None,
            payload: None,
            payload_base64: None,
        }
    }

    /// The id of [`Letter::again`].
    pub fn id_again(&self) -> String {
        id(&self.origin, self.target(), self.redrives + 1)
    }

    /// The letter for an event whose redelivery was given up again: of the same identity, with the payload it has now.
    pub fn again(self, again: Again) -> Self {
        let redrives = self.redrives + 1;
        let Again { failure, response, attempted_at, at } = again;
        Letter {
            id: self.id_again(),
            class: failure.class,
            reason: failure.detail,
            attempts: u32::try_from(attempted_at.len()).unwrap_or(u32::MAX),
            first_at: attempted_at.first().copied().unwrap_or(at),
            last_at: attempted_at.last().copied().unwrap_or(at),
            attempted_at: attempted_at[attempted_at.len().saturating_sub(ATTEMPTS_KEPT)..].to_vec(),
            response,
            redrives,
            ..self
        }
    }

    /// Replaces the payload. What it was is returned.
    pub fn replace_payload(&mut self, payload: Payload) -> Payload {
        Payload {
            payload: std::mem::replace(&mut self.payload, payload.payload),
            payload_base64: std::mem::replace(&mut self.payload_base64, payload.payload_base64),
        }
    }

    /// Who gave it up: a destination's name, or `lake`.
    pub fn target(&self) -> &str {
        self.destination.as_deref().unwrap_or("lake")
    }

    /// How many bytes its payload takes here.
    pub fn payload_bytes(&self) -> usize {
        let json = self.payload.as_ref().map_or(0, |json| json.get().len());
        json + self.payload_base64.as_ref().map_or(0, String::len)
    }

    /// The payload's bytes.
    pub fn data(&self) -> Result<Vec<u8>, String> {
        unpack(self.payload.as_deref(), self.payload_base64.as_deref())
            .map_err(|error| format!("dead letter {}: {error}", self.id))
    }
}

/// The letter's id.
fn id(origin: &Origin, target: &str, redrives: u32) -> String {
    let mut hash = Xxh3::new();
    hash.update(&origin.identity().to_le_bytes());
    hash.update(target.as_bytes());
    hash.update(&[0xff]);
    hash.update(&redrives.to_le_bytes());
    format!("{:032x}", hash.digest128())
}

/// JSON goes in as it is, on one line; anything else as base64, and so does `null`, which reads as no payload.
pub(crate) fn pack(data: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    let json = std::str::from_utf8(data).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
    match json {
        Some(json) if !json.get().contains(['\n', '\r']) && json.get() != "null" => (Some(json), None),
        _ => (None, Some(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data))),
    }
}

/// The bytes that [`pack`] has packed.
pub(crate) fn unpack(json: Option<&RawValue>, base64: Option<&str>) -> Result<Vec<u8>, String> {
    match (json, base64) {
        (Some(json), _) => Ok(json.get().as_bytes().to_vec()),
        (None, Some(text)) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text)
            .map_err(|error| format!("its payload is not base64: {error}")),
        (None, None) => Err("it has no payload".to_owned()),
    }
}

/// Letters as they are stored: one JSON object a line.
pub fn to_ndjson(letters: &[Letter]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for letter in letters {
        serde_json::to_writer(&mut bytes, letter)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Letters from a stored file.
pub fn from_ndjson(bytes: &[u8]) -> Result<Vec<Letter>, serde_json::Error> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
}

/// Uploads letters as the file `key`, and says what is to be listed of it.
pub async fn upload(objects: &dyn Objects, key: &str, letters: &[Letter]) -> Result<DeadFile, Failure> {
    let bytes = to_ndjson(letters)
        .map_err(|error| Failure::crashed(format!("dead letters cannot be written as JSON: {error}")))?;
    let mut tally = Tally::default();
    letters.iter().for_each(|letter| tally.insert(letter.origin.identity()));
    objects.put(key, bytes.into()).await?;
    Ok(DeadFile { key: key.to_owned(), tally })
}
