//! Proving files: what they hold, recomputed from the rows themselves.

use std::sync::Arc;

use super::groups::{self, Counting};
use super::merge::MergedFile;
use super::origin::{ByShard, IDENTITY, Origins};
use super::read::{FileReader, PortReader, open};
use super::{GROUPS, checked, ids};
use crate::failure::Failure;
use crate::ports::Objects;
use crate::setsum::Tally;

/// The file's rows and their set-sum, recomputed from the origin columns; no other column is read.
pub async fn tally(objects: Arc<dyn Objects>, key: &str) -> Result<Tally, Failure> {
    let file = open(objects, key).await?;
    let mut tally = Tally::default();
    scan(&file, Some(&IDENTITY), |origins| tally += origins.tally()).await?;
    Ok(tally)
}

/// The same per (stream, shard) that the rows came from.
pub async fn tallies_by_shard(objects: Arc<dyn Objects>, key: &str) -> Result<ByShard, Failure> {
    let file = open(objects, key).await?;
    let mut tallies = ByShard::new();
    scan(&file, Some(&IDENTITY), |origins| origins.tally_by_shard(&mut tallies)).await?;
    Ok(tallies)
}

/// Proves the file to its last byte: the checksum over all of it, every column decoded, the rows of each row group and of all
/// compared with what the footer says of them, its run of ids with the column it is of. [`crate::failure::Class::Rejected`] names what is wrong.
pub async fn deep(objects: Arc<dyn Objects>, key: &str) -> Result<Tally, Failure> {
    // First, so that damaged bytes are not given to the decoder.
    checked::check(&PortReader::new(objects.clone(), key).await?).await?;
    let file = open(objects, key).await?;
    let said = groups::of(&file);
    if said.is_none() && file.metadata(GROUPS).is_some() {
        let reason = "its footer does not account for its row groups";
        return Err(Failure::rejected(format!("corrupt file {key}: {reason}")));
    }
    let mut tally = Tally::default();
    for index in 0..file.row_groups() {
        let mut counting = Counting::default();
        scan_groups(&file, vec![index], None, |origins| counting.add(origins)).await?;
        tally += counting.tally();
        let (found, said) = (counting.finish(), said.as_ref().and_then(|said| said.get(index)));
        if said.is_some_and(|said| *said != found) {
            let reason = format!("row group {index} holds {found:?}, its footer says {said:?}");
            return Err(Failure::rejected(format!("corrupt file {key}: {reason}")));
        }
    }
    ids::prove(&file).await?;
    let recorded = file.recorded();
    if recorded == Some(tally) {
        return Ok(tally);
    }
    Err(Failure::rejected(format!("corrupt file {key}: it holds {tally}, its footer says {recorded:?}")))
}

/// Reads a file back that a merge has just written: every byte is the one that was written, the rows that were encoded are
/// decoded and counted again, and those that were copied were proven by the checksums of the files they came from. What the
/// file holds is what is answered.
pub async fn read_back(objects: Arc<dyn Objects>, written: &MergedFile) -> Result<Tally, Failure> {
    let file = open(objects, &written.key).await?;
    checked::check(file.port()).await?;
    let wrong = |what: &str| Failure::rejected(format!("corrupt file {}: {what}", written.key));
    let said = groups::of(&file).ok_or_else(|| wrong("its footer does not account for its row groups"))?;
    let due = written.encoded.iter().map(|index| said.get(*index).map(|group| group.tally));
    let due: Option<Tally> = due.sum();
    let mut found = Tally::default();
    scan_groups(&file, written.encoded.clone(), Some(&IDENTITY), |origins| found += origins.tally()).await?;
    if due != Some(found) {
        return Err(wrong("what was encoded is not what its footer says"));
    }
    Ok(said.iter().map(|group| group.tally).sum())
}

/// Calls `each` with the origins of every batch, decoding `columns`.
async fn scan(
    file: &FileReader,
    columns: Option<&[&str]>,
    each: impl FnMut(&Origins),
) -> Result<(), Failure> {
    scan_groups(file, (0..file.row_groups()).collect(), columns, each).await
}

/// The same, of these row groups.
pub(super) async fn scan_groups(
    file: &FileReader,
    groups: Vec<usize>,
    columns: Option<&[&str]>,
    mut each: impl FnMut(&Origins),
) -> Result<(), Failure> {
    let mut batches = file.batches_of(groups, columns)?;
    while let Some(batch) = batches.next().await? {
        each(&origins(file, &batch)?);
    }
    Ok(())
}

/// The origins of a batch that was read from `file`.
pub(super) fn origins(
    file: &FileReader,
    batch: &arrow::record_batch::RecordBatch,
) -> Result<Origins, Failure> {
    Origins::of(batch).map_err(|reason| Failure::rejected(format!("corrupt file {}: {reason}", file.key())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;
    use crate::parquet::testing::{Memory, file, rows};

    #[tokio::test]
    async fn a_sound_file_proves_itself() {
        let objects = Memory::shared();
        let batch = rows(&(0..20).map(|i| ("s", if i < 12 { "a" } else { "b" }, i)).collect::<Vec<_>>());
        let written = file(&objects, "f", &batch).await.tally;
        assert_eq!(tally(objects.clone(), "f").await.unwrap(), written);
        assert_eq!(deep(objects.clone(), "f").await.unwrap(), written);
        let by_shard = tallies_by_shard(objects, "f").await.unwrap();
        assert_eq!(by_shard[&("s".to_owned(), "b".to_owned())].rows, 8);
        assert_eq!(by_shard.values().copied().sum::<Tally>(), written);
    }

    #[tokio::test]
    async fn every_flipped_bit_is_found() {
        let objects = Memory::shared();
        file(&objects, "f", &rows(&[("s", "a", 1), ("s", "a", 2)])).await;
        let length = objects.get("f").await.unwrap().len();
        for place in 0..length {
            let flip = |bytes: &mut Vec<u8>| bytes[place] ^= 1 << (place % 8);
            objects.tamper("f", flip);
            let failure = deep(objects.clone(), "f").await.expect_err(&format!("byte {place} of {length}"));
            assert_eq!(failure.class, Class::Rejected, "{failure}");
            objects.tamper("f", flip);
        }
        assert!(deep(objects, "f").await.is_ok());
    }
}
