//! Taking edited payloads out of their objects for good: an object is written anew without them, its document then names that one.

use shardmill_cluster::Cell;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;

use super::edits::{Edit, EditIndex};
use super::lines::Lines;
use super::retention;
use super::sift::anew;
use crate::erase::{Removal, Removals};
use crate::shared::Ports;

/// What was taken out, or would be.
#[derive(Debug, Default)]
pub(crate) struct SiftedEdits {
    /// Edited payloads.
    pub(crate) edits: u64,
    /// Objects written anew.
    pub(crate) rewritten: u64,
    /// Objects that cannot be read, and why.
    pub(crate) unread: Vec<(String, String)>,
}

/// What is left of an object of edits.
#[derive(Default)]
struct Kept {
    lines: Vec<u8>,
    left: u64,
    out: u64,
}

/// Takes out every edit that is meant. New objects are named after the old ones and `tag`.
///
/// # Errors
/// What the stores raise. Run again, it goes on.
pub(crate) async fn sift(
    ports: &Ports,
    (removals, tag): (&Removals, &str),
    dry_run: bool,
    meant: impl Fn(&Edit) -> bool,
) -> Result<SiftedEdits, Failure> {
    let mut sifted = SiftedEdits::default();
    for (key, _) in ports.documents.list(layout::documents::EDITS).await? {
        let mut cell: Cell<EditIndex> = Cell::load(ports.documents.clone(), &*key).await?;
        let Some(index) = cell.state().cloned() else { continue };
        let kept = match without(ports, &index, &meant).await {
            Err(failure) if failure.class == Class::Rejected => {
                sifted.unread.push((index.object, failure.detail));
                continue;
            }
            kept => kept?,
        };
        sifted.edits += kept.out;
        if kept.out == 0 || dry_run {
            continue;
        }
        let object = layout::edits(&anew(&index.object, tag));
        removals.announce(vec![Removal::one(&index.object, &object)]).await?;
        if kept.left == 0 {
            retention::forget(ports, &key).await?;
            continue;
        }
        ports.objects.put(&object, kept.lines.into()).await?;
        crash::point("erase.after-edits");
        cell.replace(EditIndex { object, edits: kept.left, ..index.clone() }).await?;
        sifted.rewritten += 1;
    }
    Ok(sifted)
}

/// The edits of an object that are not meant.
async fn without(ports: &Ports, index: &EditIndex, meant: impl Fn(&Edit) -> bool) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    let mut lines = Lines::open(ports.objects.clone(), &index.object).await?;
    while let Some(line) = lines.line().await? {
        let edit: Edit = serde_json::from_slice(&line).map_err(|error| {
            Failure::rejected(format!("the edits in {} cannot be read: {error}", index.object))
        })?;
        if meant(&edit) {
            kept.out += 1;
            continue;
        }
        kept.left += 1;
        kept.lines.extend_from_slice(&line);
        kept.lines.push(b'\n');
    }
    Ok(kept)
}
