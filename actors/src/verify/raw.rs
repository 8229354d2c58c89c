//! Records as they were received: every one that a commit has named is there, once.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::setsum::Tally;

use super::finding::{Finding, Kind};
use super::{Report, Scope};
use crate::raw::{Named, RawReader, list};
use crate::shared::Ports;
use crate::state::{RawFile, RawList};
use crate::world::World;

/// Objects looked at once.
const TOGETHER: usize = 8;

/// What a person can do.
const REMEDY: &str = "put it back from a backup (on S3: its version before); rows are not concerned, only what can be replayed";

/// Balances what shards say they have kept with what documents and pages name, and looks that it is there; a deep verification
/// reads every record.
pub(super) async fn check(
    ports: &Ports,
    scope: &Scope,
    world: &World,
    report: &mut Report,
) -> Result<(), Failure> {
    let shards = world.shards.values().map(AsRef::as_ref);
    let named = list::beside(ports.documents.as_ref(), shards, None, |_| true).await?;
    let mut by_shard: BTreeMap<String, Vec<&RawFile>> = BTreeMap::new();
    for Named { stream, shard, file } in &named {
        by_shard.entry(format!("{stream}/{shard}")).or_default().push(file);
    }
    for (name, shard) in &world.shards {
        report.raw += shard.raw.tally.rows;
        let files = by_shard.remove(name).unwrap_or_default();
        if let Some(message) = judge(&shard.raw, &files) {
            let remedy = "put back the page or the document that was changed by hand";
            report.findings.push(Finding::by_hand(Kind::Unbalanced, name, message, remedy));
        }
    }
    // Of which table they are was decided later: only their hour of arrival counts.
    let scope = Scope { table: None, ..scope.clone() };
    let mine = named.into_iter().map(|named| named.file).filter(|file| scope.takes("", file.hour));
    // Listed after they were named: whatever is not there now is gone.
    let objects = ports.objects.list(layout::RAW).await?;
    let there: BTreeMap<String, u64> = objects.into_iter().map(|object| (object.key, object.size)).collect();
    let looks = mine.map(|file| {
        let size = there.get(&file.key).copied();
        look(ports, file, size, scope.deep)
    });
    let found: Vec<Option<Finding>> = futures::stream::iter(looks).buffered(TOGETHER).try_collect().await?;
    report.files += if scope.deep { found.len() as u64 } else { 0 };
    report.findings.extend(found.into_iter().flatten());
    Ok(())
}

/// What is wrong with the list of a shard, if anything is: `files` are those that its document and its pages name, by number.
fn judge(list: &RawList, files: &[&RawFile]) -> Option<String> {
    // Pages are read after the document: they may know of what was committed since.
    let mine = || files.iter().filter(|file| file.number <= list.count);
    let tally: Tally = mine().map(|file| file.tally + file.erased).sum();
    let numbers = mine().map(|file| file.number);
    if numbers.eq(1..=list.count) && tally == list.tally {
        return None;
    }
    let (count, named, kept) = (list.count, mine().count(), list.tally);
    Some(format!("of {count} raw backups {named} are named, with {tally}; {kept} were committed"))
}

/// What is wrong with an object, if anything is.
async fn look(
    ports: &Ports,
    file: RawFile,
    size: Option<u64>,
    deep: bool,
) -> Result<Option<Finding>, Failure> {
    let (key, bytes) = (file.key.clone(), file.bytes);
    let finding = |kind, message: String| Some(Finding::by_hand(kind, key.clone(), message, REMEDY));
    let Some(size) = size else {
        return Ok(finding(Kind::Missing, "records as they were received are gone".into()));
    };
    if size != bytes {
        return Ok(finding(Kind::Corrupt, format!("it has {size} bytes; {bytes} were committed")));
    }
    if !deep {
        return Ok(None);
    }
    let mut reader = RawReader::new(ports.objects.clone(), file);
    loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(failure) if failure.class == Class::Rejected => {
                return Ok(finding(Kind::Corrupt, failure.detail));
            }
            Err(failure) => {
                let message = failure.to_string();
                return Ok(Some(Finding::by_hand(Kind::Unread, key, message, "verify again")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64) -> RawFile {
        let mut tally = Tally::default();
        tally.insert(u128::from(number) << 70);
        RawFile {
            number,
            hour: "2026-11-21T07".parse().unwrap(),
            key: number.to_string(),
            bytes: 1,
            tally,
            erased: Default::default(),
        }
    }

    #[test]
    fn a_list_that_lacks_a_file_or_holds_another_is_told() {
        let mut list = RawList::default();
        list.add(&[file(1), file(2), file(3)]);
        let all: Vec<RawFile> = (1..=4).map(file).collect();
        let named = |numbers: &[usize]| numbers.iter().map(|at| &all[at - 1]).collect::<Vec<_>>();
        assert_eq!(judge(&list, &named(&[1, 2, 3])), None);
        assert_eq!(judge(&list, &named(&[1, 2, 3, 4])), None, "committed since");
        for wrong in [&[1, 2][..], &[2, 3], &[1, 3, 4], &[]] {
            assert!(judge(&list, &named(wrong)).is_some(), "{wrong:?}");
        }
        let other = RawFile { tally: file(9).tally, ..file(2) };
        assert!(judge(&list, &[&all[0], &other, &all[2]]).unwrap().contains("of 3 raw backups 3"));
        let erased = RawFile { tally: Tally::default(), erased: file(2).tally, ..file(2) };
        assert_eq!(judge(&list, &[&all[0], &erased, &all[2]]), None, "what was erased stays counted");
        assert_eq!(judge(&RawList::default(), &[]), None);
    }
}
