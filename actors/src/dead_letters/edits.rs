//! Edited payloads: an overlay over dead-letter files, which never change.
//!
//! The edits of one command are an object, uploaded first; creating the document that names it commits them, all or none. Of
//! several edits of a letter the newest wins. Identity and id of a letter are kept.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::ports::{Documents, Upload};
use uuid::Uuid;

use super::letter::{Letter, Payload};
use super::lines::Lines;
use crate::shared::Ports;

/// Bytes of edits collected before they are sent to the store.
const PART: usize = 8 << 20;

/// A letter's new payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Edit {
    /// The letter's id.
    pub id: String,
    /// Its new payload, when that is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Its new payload in base64, when it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// When it was edited.
    pub at: Millis,
}

impl Edit {
    /// The edit that gives the letter `id` this payload.
    pub fn new(id: String, payload: Payload, at: Millis) -> Self {
        Edit { id, payload: payload.payload, payload_base64: payload.payload_base64, at }
    }
}

/// The document of the edits that one command made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditIndex {
    /// Counts up: an edit with a higher number is newer. Editors at the same moment may get the same one.
    pub number: u64,
    /// The object: one [`Edit`] a line.
    pub object: String,
    /// How many.
    pub edits: u64,
    /// When they were made.
    pub at: Millis,
}

impl EditIndex {
    /// Every committed object of edits, the oldest first.
    pub async fn all(documents: &dyn Documents) -> Result<Vec<EditIndex>, Failure> {
        let mut all = Vec::new();
        for (key, _) in documents.list(layout::documents::EDITS).await? {
            all.extend(cell::read::<EditIndex>(documents, &key).await?);
        }
        all.sort_by(EditIndex::age);
        Ok(all)
    }

    fn age(&self, other: &EditIndex) -> Ordering {
        let key = |edits: &EditIndex| (edits.number, edits.at, edits.object.clone());
        key(self).cmp(&key(other))
    }
}

/// The newest edit of every edited letter.
#[derive(Debug, Default)]
pub struct Edits {
    newest: HashMap<String, Bytes>,
}

impl Edits {
    /// Reads every edit there is.
    pub async fn load(ports: &Ports) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let mut newest = HashMap::new();
        for index in EditIndex::all(ports.documents.as_ref()).await? {
            let mut lines = Lines::open(ports.objects.clone(), &index.object).await?;
            while let Some(line) = lines.line().await? {
                let named: Named =
                    serde_json::from_slice(&line).map_err(|error| unreadable(&index, &error))?;
                newest.insert(named.id, line);
            }
        }
        Ok(Edits { newest })
    }

    /// Gives a letter its newest payload. What it was before is returned, `None` when it was never edited.
    pub fn apply(&self, letter: &mut Letter) -> Result<Option<Payload>, Failure> {
        let Some(line) = self.newest.get(&letter.id) else { return Ok(None) };
        let edit: Edit = serde_json::from_slice(line).map_err(|error| {
            Failure::rejected(format!("the edit of {} cannot be read: {error}", letter.id))
        })?;
        let Edit { payload, payload_base64, .. } = edit;
        Ok(Some(letter.replace_payload(Payload { payload, payload_base64 })))
    }
}

/// How many edits a stored file holds; every line must be one.
pub fn count(bytes: &[u8]) -> Result<u64, serde_json::Error> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice::<Edit>).try_fold(0, |count, edit| edit.map(|_| count + 1))
}

fn unreadable(index: &EditIndex, error: &serde_json::Error) -> Failure {
    Failure::rejected(format!("the edits in {} cannot be read: {error}", index.object))
}

/// Edits on their way. Dropped unfinished, none of them was made.
pub struct Editing {
    documents: Arc<dyn Documents>,
    upload: Box<dyn Upload>,
    name: String,
    part: Vec<u8>,
    edits: u64,
}

impl std::fmt::Debug for Editing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editing")
            .field("name", &self.name)
            .field("edits", &self.edits)
            .finish_non_exhaustive()
    }
}

impl Editing {
    /// Begins an object of edits.
    pub async fn begin(ports: &Ports) -> Result<Self, Failure> {
        let name = Uuid::new_v4().simple().to_string();
        let upload = ports.objects.upload(&layout::edits(&name)).await?;
        Ok(Editing { documents: ports.documents.clone(), upload, name, part: Vec::new(), edits: 0 })
    }

    /// Adds one.
    pub async fn add(&mut self, edit: &Edit) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.part, edit)
            .map_err(|error| Failure::crashed(format!("an edit cannot be written as JSON: {error}")))?;
        self.part.push(b'\n');
        self.edits += 1;
        if self.part.len() >= PART {
            self.upload.write(std::mem::take(&mut self.part).into()).await?;
        }
        Ok(())
    }

    /// Commits all of them. Nothing is left behind when there is none.
    pub async fn commit(mut self) -> Result<u64, Failure> {
        if self.edits == 0 {
            return Ok(0);
        }
        self.upload.write(std::mem::take(&mut self.part).into()).await?;
        self.upload.finish().await?;
        let newest = EditIndex::all(self.documents.as_ref()).await?.pop();
        let index = EditIndex {
            number: newest.map_or(1, |newest| newest.number + 1),
            object: layout::edits(&self.name),
            edits: self.edits,
            at: Millis::now(),
        };
        let key = layout::documents::edits(&self.name);
        let mut document: Cell<EditIndex> = Cell::load(self.documents, key).await?;
        document.replace(index).await?;
        Ok(self.edits)
    }
}
