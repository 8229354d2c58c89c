//! What a lake writer keeps of its records as they were received: gathered by hour of arrival, uploaded beside the segments, named
//! by the same commit.

use std::collections::{BTreeMap, BTreeSet};

use shardmill_connectors::backup::{Packed, Packer};
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::record::{Origin, Record};
use uuid::Uuid;

use super::Parts;
use crate::raw::pages;
use crate::state::RawFile;

/// Hours of arrival open at once, at most.
const HOURS: usize = 8;

/// Records on their way into raw backups.
#[derive(Debug, Default)]
pub(super) struct Gathered(BTreeMap<Hour, Packer>);

/// A raw backup ready to be uploaded, or why it could not be made.
pub(super) type Sealed = (Hour, Result<Packed, String>);

impl Gathered {
    /// Whether a record that arrived in `hour` can be taken without a commit before.
    pub(super) fn has_room(&self, hour: Hour) -> bool {
        self.0.len() < HOURS || self.0.contains_key(&hour)
    }

    /// Takes a record in, whatever the lake thinks of it.
    pub(super) fn take(&mut self, origin: &Origin, record: &Record) {
        let packer = self.0.entry(Hour::of(record.arrived_at)).or_default();
        packer.push(origin, &record.key, &record.data);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.0.values().map(Packer::bytes).sum()
    }

    /// Everything, whole.
    pub(super) fn seal(self) -> Vec<Sealed> {
        self.0.into_iter().map(|(hour, packer)| (hour, packer.finish())).collect()
    }
}

/// Uploads what was sealed, under names that nobody else can write; what the commit is to name.
pub(super) async fn upload(parts: &Parts, sealed: &[Sealed]) -> Result<Vec<RawFile>, Failure> {
    let mut files = Vec::with_capacity(sealed.len());
    for (hour, packed) in sealed {
        let packed = packed.as_ref().map_err(|error| {
            Failure::crashed(format!(
                "records of {} cannot be kept as they were received: {error}",
                parts.name
            ))
        })?;
        let random = Uuid::new_v4().simple().to_string();
        let stream = parts.stream.stream.name();
        let key = layout::raw(stream, *hour, &parts.shard, parts.ledger.epoch(), &random);
        parts.shared.ports.objects.put(&key, packed.bytes.clone()).await?;
        let bytes = packed.bytes.len() as u64;
        files.push(RawFile {
            number: 0,
            hour: *hour,
            key,
            bytes,
            tally: packed.tally,
            erased: Default::default(),
        });
    }
    if !files.is_empty() {
        crash::point("raw.after-objects");
    }
    Ok(files)
}

/// Turns over to pages what the document need not list any longer; what the commit is to unlist.
pub(super) async fn turn(parts: &Parts) -> Result<BTreeSet<u64>, Failure> {
    match parts.ledger.with(|state| state.raw.due().is_empty()).await {
        true => Ok(BTreeSet::new()),
        false => pages::turn(&parts.shared.ports.documents, &parts.ledger.state().await).await,
    }
}
