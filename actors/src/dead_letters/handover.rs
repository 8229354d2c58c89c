//! What is settled of letters goes with them into the file that comes in the place of theirs.
//!
//! Somebody who has found a letter in the old file settles it there, even when that file is gone. So what is remembered with the
//! old one is handed over again before it is forgotten, and forgotten only as it was read.

use std::collections::BTreeSet;

use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout::documents as names;
use shardmill_connectors::ports::Written;

use super::index::Settled;
use super::letter;
use crate::shared::Ports;

/// Remembers with the object `new` what is remembered with `old`, as far as it holds the letters.
///
/// # Errors
/// What the stores raise; `Rejected` when `new` cannot be read.
pub(super) async fn copy(ports: &Ports, old: &str, new: &str) -> Result<(), Failure> {
    let mut settled = Settled::of(ports.documents.as_ref(), old).await?.letters;
    if settled.is_empty() {
        return Ok(());
    }
    let letters = letter::from_ndjson(&ports.objects.get(new).await?)
        .map_err(|error| Failure::rejected(format!("dead-letter file {new} cannot be read: {error}")))?;
    let kept: BTreeSet<String> = letters.into_iter().map(|letter| letter.id).collect();
    settled.retain(|id, _| kept.contains(id));
    Settled::merge(&ports.documents, new, &settled).await
}

/// Hands what is remembered with `old`, which is gone, to the objects that came for it, and forgets it there.
///
/// # Errors
/// What the stores raise.
pub(crate) async fn hand_over(ports: &Ports, old: &str, new: &BTreeSet<&String>) -> Result<(), Failure> {
    let key = names::settled(old);
    // Its tag is read first: what is copied is at least what is forgotten.
    while let Some(document) = ports.documents.read(&key).await? {
        for new in new {
            match copy(ports, old, new).await {
                // It is damaged: then the settlements stay where they are, where they count as well.
                Err(failure) if failure.class == Class::Rejected => return Ok(()),
                outcome => outcome?,
            }
        }
        if let Written::Done(_) = ports.documents.delete(&key, &document.tag).await? {
            break;
        }
    }
    Ok(())
}
