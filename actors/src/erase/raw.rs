//! The raw backup without the person: objects with records of theirs are written anew, then their page names the new ones.
//!
//! A shard's document belongs to its owner, a page to nobody: what a document still lists is turned over to a page first, by the
//! rule by which owners do it ([`pages::turn_all`]), and of a backup that both name the page's is the one that counts. So nodes may
//! run. The records that are gone stay counted with the file.

use std::collections::BTreeMap;

use shardmill_cluster::Cell;
use shardmill_connectors::backup::Packer;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::setsum::Tally;
use uuid::Uuid;

use super::removals::{Removal, Removals};
use super::whom::Whom;
use super::{Erase, Report};
use crate::raw::{RawReader, named, pages};
use crate::state::{RawFile, RawPage};

/// Erases in every raw backup that a commit has named. A page that somebody else changes keeps no other from being tried.
pub(super) async fn erase(
    with: &Erase<'_>,
    whom: &Whom,
    removals: &Removals,
    report: &mut Report,
) -> Result<(), Failure> {
    let documents = &with.ports.documents;
    if with.dry_run {
        for one in named(documents.as_ref(), None, |_| true).await? {
            report.raw += count(with, &one.file, whom, report).await?;
        }
        return Ok(());
    }
    pages::turn_all(documents).await?;
    for key in pages::keys(documents.as_ref()).await? {
        let cell: Cell<RawPage> = Cell::load(documents.clone(), key.clone()).await?;
        match page(with, (whom, removals), cell, report).await {
            Ok((records, rewritten)) => {
                report.raw += records;
                report.objects_rewritten += rewritten;
            }
            Err(failure) if failure.class == Class::Fenced => report.not_reached.push(format!(
                "somebody else changes the page of raw backups {key}: run the same command again"
            )),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// How many records of a raw backup are the person's. One that cannot be read is told, and left as it is.
async fn count(with: &Erase<'_>, file: &RawFile, whom: &Whom, report: &mut Report) -> Result<u64, Failure> {
    match found(with, file, whom).await {
        Err(failure) if failure.class == Class::Rejected => {
            report.cannot_read(&file.key, &failure.detail);
            Ok(0)
        }
        found => found,
    }
}

async fn found(with: &Erase<'_>, file: &RawFile, whom: &Whom) -> Result<u64, Failure> {
    let mut reader = RawReader::new(with.ports.objects.clone(), file.clone());
    let mut found = 0;
    while let Some(kept) = reader.next().await? {
        found += u64::from(whom.is_event(&kept.data, &kept.key, kept.origin.arrived_at));
    }
    Ok(found)
}

/// Erases in the raw backups of a page: records and objects.
async fn page(
    with: &Erase<'_>,
    (whom, removals): (&Whom, &Removals),
    mut cell: Cell<RawPage>,
    report: &mut Report,
) -> Result<(u64, u64), Failure> {
    let Some(mut page) = cell.state().cloned() else { return Ok((0, 0)) };
    let mut names = BTreeMap::new();
    for file in &page.files {
        if count(with, file, whom, report).await? > 0 {
            names.insert(file.key.clone(), renamed(&page, file));
        }
    }
    if names.is_empty() {
        return Ok((0, 0));
    }
    removals.announce(names.iter().map(|(old, new)| Removal::one(old, new)).collect()).await?;
    let (mut records, rewritten) = (0, names.len() as u64);
    for file in &mut page.files {
        let Some(key) = names.remove(&file.key) else { continue };
        let (next, out) = without(with, file, (whom, key)).await?;
        *file = next;
        records += out;
    }
    crash::point("erase.after-raw");
    cell.replace(page).await?;
    crash::point("erase.after-page");
    Ok((records, rewritten))
}

/// The name of what comes for a raw backup.
fn renamed(page: &RawPage, file: &RawFile) -> String {
    let epoch = layout::epoch_of(&file.key).unwrap_or_default();
    layout::raw(&page.stream, file.hour, &page.shard, epoch, &Uuid::new_v4().simple().to_string())
}

/// Writes a raw backup anew, as `key`, without the person's records; how many those are.
async fn without(
    with: &Erase<'_>,
    file: &RawFile,
    (whom, key): (&Whom, String),
) -> Result<(RawFile, u64), Failure> {
    let mut reader = RawReader::new(with.ports.objects.clone(), file.clone());
    let (mut packer, mut out) = (Packer::default(), Tally::default());
    while let Some(kept) = reader.next().await? {
        match whom.is_event(&kept.data, &kept.key, kept.origin.arrived_at) {
            true => out.insert(kept.origin.identity()),
            false => packer.push(&kept.origin, &kept.key, &kept.data),
        }
    }
    let packed = packer.finish().map_err(Failure::crashed)?;
    let (bytes, erased) = (packed.bytes.len() as u64, file.erased + out);
    with.ports.objects.put(&key, packed.bytes).await?;
    Ok((RawFile { key, bytes, tally: packed.tally, erased, ..file.clone() }, out.rows))
}
