//! The raw backup without the person: an object with records of theirs is written anew, then whatever names the old one names the new.
//!
//! A page, the shard's document, or both name an object. A page belongs to nobody and is changed by compare-and-set; whoever makes
//! it a second time finds the one that is there. A shard's document is changed as a take and a release in one, and only while
//! nobody who lives owns the shard: what it still lists is of the last hours. The records that are gone stay counted with the file.

use shardmill_cluster::Cell;
use shardmill_connectors::backup::Packer;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::setsum::Tally;
use uuid::Uuid;

use super::whom::Whom;
use super::{Erase, Report};
use crate::raw::{Named, RawReader, named};
use crate::state::{RawFile, RawPage, ShardState};
use crate::verify::repair::passed_on;

/// A raw backup as it should be.
struct Without {
    packer: Packer,
    /// The records that are gone.
    out: Tally,
}

/// Erases in every raw backup that a commit has named. One that cannot be touched keeps no other from being tried.
pub(super) async fn erase(with: &Erase<'_>, whom: &Whom, report: &mut Report) -> Result<(), Failure> {
    let documents = with.ports.documents.as_ref();
    for old in named(documents, None, |_| true).await? {
        let without = without(with, &old.file, whom).await?;
        if without.out.rows == 0 {
            continue;
        }
        report.raw += without.out.rows;
        if with.dry_run {
            continue;
        }
        match replace(with, &old, without).await {
            Ok(()) => {
                report.objects_rewritten += 1;
                report.objects_deleted += 1;
            }
            Err(failure) if matches!(failure.class, Class::Rejected | Class::Fenced) => {
                let Named { stream, shard, file } = old;
                report.not_reached.push(format!(
                    "{} is listed by {stream}/{shard}, which a node works on: run the same command again later, or with the nodes stopped",
                    file.key
                ));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

async fn without(with: &Erase<'_>, file: &RawFile, whom: &Whom) -> Result<Without, Failure> {
    let mut reader = RawReader::new(with.ports.objects.clone(), file.clone());
    let (mut packer, mut out) = (Packer::default(), Tally::default());
    while let Some(kept) = reader.next().await? {
        match whom.is_event(&kept.data, &kept.key, kept.origin.arrived_at) {
            true => out.insert(kept.origin.identity()),
            false => packer.push(&kept.origin, &kept.key, &kept.data),
        }
    }
    Ok(Without { packer, out })
}

/// Puts a new object in the place of an old one.
async fn replace(with: &Erase<'_>, old: &Named, without: Without) -> Result<(), Failure> {
    let (objects, documents) = (&with.ports.objects, &with.ports.documents);
    let Named { stream, shard, file } = old;
    let name = layout::documents::shard(stream, shard);
    let mut cell: Cell<ShardState> = Cell::load(documents.clone(), name).await?;
    let ownership = match cell.state() {
        Some(state) if state.raw.files.contains(file) => Some(passed_on(with.tools, &state.ownership).await?),
        _ => None,
    };
    let packed = without.packer.finish().map_err(Failure::crashed)?;
    // Of the epoch that is: no sweeper takes it for abandoned before it is named.
    let epoch = cell.state().map_or(0, |state| state.ownership.epoch + 1);
    let random = Uuid::new_v4().simple().to_string();
    let key = layout::raw(stream, file.hour, shard, epoch, &random);
    let (bytes, erased) = (packed.bytes.len() as u64, file.erased + without.out);
    objects.put(&key, packed.bytes).await?;
    crash::point("erase.after-raw");
    let new = RawFile { key, bytes, tally: packed.tally, erased, ..file.clone() };
    let instead = |files: &[RawFile]| -> Vec<RawFile> {
        files.iter().map(|one| if one.key == file.key { &new } else { one }).cloned().collect()
    };
    // The document first: what it lists is on a page, too, only while a turn was cut short.
    if let (Some(ownership), Some(state)) = (ownership, cell.state().cloned()) {
        let mut next = ShardState { ownership, ..state };
        next.raw.files = instead(&next.raw.files);
        cell.replace(next).await?;
    }
    let pages = format!("{}{stream}/{shard}/{}/", layout::documents::RAW, file.hour);
    for (page, _) in documents.list(&pages).await? {
        let mut cell: Cell<RawPage> = Cell::load(documents.clone(), page).await?;
        let Some(there) = cell.state().cloned() else { continue };
        let files = instead(&there.files);
        if files != there.files {
            cell.replace(RawPage { files, ..there }).await?;
        }
    }
    objects.delete(&file.key).await
}
