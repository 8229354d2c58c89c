//! Taking edited payloads out of their objects for good: an object is written anew without them, its document then names that one.

use shardmill_cluster::Cell;
use shardmill_connectors::crash;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;

use super::edits::{Edit, EditIndex};
use super::lines::Lines;
use super::retention;
use crate::erase::{Removal, Removals};
use crate::shared::Ports;

/// What was taken out, or would be.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct SiftedEdits {
    /// Edited payloads.
    pub(crate) edits: u64,
    /// Objects written anew.
    pub(crate) rewritten: u64,
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
        let (mut kept, mut left, mut out) = (Vec::new(), 0, 0);
        let mut lines = Lines::open(ports.objects.clone(), &index.object).await?;
        while let Some(line) = lines.line().await? {
            let edit: Edit = serde_json::from_slice(&line).map_err(|error| {
                Failure::rejected(format!("the edits in {} cannot be read: {error}", index.object))
            })?;
            if meant(&edit) {
                out += 1;
                continue;
            }
            left += 1;
            kept.extend_from_slice(&line);
            kept.push(b'\n');
        }
        sifted.edits += out;
        if out == 0 || dry_run {
            continue;
        }
        let name = index.object.trim_start_matches("edits/");
        let object = layout::edits(&format!("{}-{tag}", name.trim_end_matches(".ndjson")));
        removals.announce(vec![Removal::one(&index.object, &object)]).await?;
        if left == 0 {
            retention::forget(ports, &key).await?;
            continue;
        }
        ports.objects.put(&object, kept.into()).await?;
        crash::point("erase.after-edits");
        cell.replace(EditIndex { object, edits: left, ..index.clone() }).await?;
        sifted.rewritten += 1;
    }
    Ok(sifted)
}
