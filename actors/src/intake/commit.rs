//! The commit of a source: its manifest, created if absent. Whoever comes second adopts what is there.

use std::sync::Arc;

use shardmill_cluster::Cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::{Documents, Objects};
use uuid::Uuid;

use super::letters::LetterFile;
use crate::dead_letters::Letter;
use crate::state::Manifest;

/// The folder of one attempt at a source.
pub(super) fn folder(source: &str) -> String {
    layout::late(source, &Uuid::new_v4().simple().to_string())
}

/// The manifest of a source, if there is one.
pub(crate) async fn known(documents: &Arc<dyn Documents>, source: &str) -> Result<Option<Manifest>, Failure> {
    shardmill_cluster::cell::read(documents.as_ref(), &layout::documents::late(source)).await
}

/// Creates a manifest, or adopts the one that exists; whether it was created. What another attempt has uploaded and nobody
/// names is swept.
pub(crate) async fn create(
    documents: &Arc<dyn Documents>,
    manifest: Manifest,
) -> Result<(Manifest, bool), Failure> {
    let key = layout::documents::late(&manifest.source);
    let mut cell: Cell<Manifest> = Cell::load(documents.clone(), key).await?;
    if let Some(adopted) = cell.state() {
        return Ok((adopted.clone(), false));
    }
    match cell.replace(manifest.clone()).await {
        Ok(()) => Ok((manifest, true)),
        Err(failure) if failure.class == Class::Fenced => {
            cell.state().cloned().map(|adopted| (adopted, false)).ok_or(failure)
        }
        Err(failure) => Err(failure),
    }
}

/// Uploads the letter that stands for a whole source; the manifest to be created.
pub(super) async fn given_up(
    objects: &dyn Objects,
    source: &str,
    letter: Letter,
) -> Result<Manifest, Failure> {
    let mut file = LetterFile::new(format!("{}/dead.ndjson", folder(source)));
    file.append(&letter)?;
    let dead_letters = file.finish(objects).await?;
    Ok(Manifest { source: source.to_owned(), entries: Vec::new(), dead_letters, given_up: true })
}
