//! The inputs of a merge: opened, united, judged.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use parquet::file::metadata::RowGroupMetaData;

use super::drops::Drops;
use super::fit::{Target, layout};
use super::plan::{Facts, Large, Way, plan};
use super::{Input, MergeError, MergeRequest, blame};
use crate::failure::Failure;
use crate::parquet::filters;
use crate::parquet::groups::{self, Group};
use crate::parquet::late::{Absent, Suspects};
use crate::parquet::origin::{IDENTITY, Origins};
use crate::parquet::read::{FileReader, open};
use crate::parquet::verify::scan_groups;
use crate::parquet::write::{Compression, WriteOptions};
use crate::parquet::{checked, unify};
use crate::ports::Objects;
use crate::setsum::Tally;

/// Footers fetched at a time.
const OPENING: usize = 8;

/// What an input is to a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Base,
    Segment,
    Late,
}

/// An input whose footer is in memory.
pub(super) struct Source {
    pub(super) role: Role,
    pub(super) file: FileReader,
    pub(super) expected: Tally,
    /// What its footer says of its row groups.
    pub(super) groups: Option<Vec<Group>>,
}

impl Source {
    async fn open(objects: Arc<dyn Objects>, role: Role, input: &Input) -> Result<Self, MergeError> {
        let file = open(objects, &input.key).await.map_err(|failure| blame(&input.key, failure))?;
        let groups = groups::of(&file);
        Ok(Source { role, file, expected: input.tally, groups })
    }

    /// The error that a failure to read it is.
    pub(super) fn blame(&self, failure: Failure) -> MergeError {
        blame(self.file.key(), failure)
    }

    /// The error that it is not what was recorded.
    pub(super) fn corrupt(&self, reason: &str) -> MergeError {
        let key = self.file.key().to_owned();
        MergeError::Corrupt { reason: format!("corrupt file {key}: {reason}"), key }
    }

    /// The file, wholly in memory if it has at most `piece` bytes.
    pub(super) async fn held(&self, piece: u64) -> Result<FileReader, MergeError> {
        self.file.held(piece).await.map_err(|failure| self.blame(failure))
    }

    /// The same, after every byte of it was found to be the one that was written.
    async fn prove(&self, piece: u64) -> Result<FileReader, MergeError> {
        let file = self.held(piece).await?;
        checked::check(file.port()).await.map_err(|failure| self.blame(failure))?;
        Ok(file)
    }

    /// The rows of each row group, by their numbers in the file.
    pub(super) fn row_ranges(&self) -> Vec<Range<u64>> {
        let mut end = 0;
        let range = |group: &RowGroupMetaData| {
            let start = end;
            end += u64::try_from(group.num_rows()).unwrap_or_default();
            start..end
        };
        self.file.footer().row_groups().iter().map(range).collect()
    }

    fn facts(&self, target: &Target) -> Facts<'_> {
        let size = |group: &RowGroupMetaData| {
            let chunks = group.columns().iter().map(|chunk| chunk.compressed_size());
            u64::try_from(chunks.fold(0, i64::saturating_add)).unwrap_or_default()
        };
        let sizes = self.file.footer().row_groups().iter().map(size).collect();
        let (role, groups, fits) = (self.role, self.groups.as_deref(), target.takes(&self.file));
        Facts { role, groups, sizes, fits, wary: false, touched: Vec::new() }
    }
}

/// All inputs, in the order of the result's rows; and the lists of what earlier merges dropped.
pub(super) struct Sources(pub(super) Vec<Source>, Vec<Input>);

impl Sources {
    pub(super) async fn open(request: &MergeRequest) -> Result<Self, MergeError> {
        let roles =
            [(Role::Base, &request.base), (Role::Segment, &request.segments), (Role::Late, &request.late)];
        let inputs =
            roles.into_iter().flat_map(|(role, inputs)| inputs.iter().map(move |input| (role, input)));
        let opening: Vec<_> =
            inputs.map(|(role, input)| Source::open(request.objects.clone(), role, input)).collect();
        let opened = stream::iter(opening).buffered(OPENING).try_collect().await?;
        Ok(Sources(opened, request.listed.clone()))
    }

    /// The columns of the result, and what a file must be like to be copied.
    pub(super) async fn target(&self, compression: Compression, piece: u64) -> Result<Target, MergeError> {
        if self.0.is_empty() {
            return Err(Failure::crashed("a merge of nothing").into());
        }
        let schema = unify::union(self.0.iter().map(|source| &**source.file.schema()));
        let target = schema.map_err(Failure::rejected).and_then(|s| Target::new(&s, compression));
        let Err(failure) = target else { return Ok(target?) };
        // If a file is damaged, it is that one's fault.
        for source in &self.0 {
            source.prove(piece).await?;
        }
        Err(failure.into())
    }

    /// The columns that have a Bloom filter in some input.
    pub(super) fn filtered(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|source| filters::columns_of(source.file.footer())).collect()
    }

    /// The way of each, when these rows are dropped.
    pub(super) fn plan(&self, target: &Target, options: &WriteOptions, drops: &[Drops]) -> Vec<Way> {
        let rows = options.copy_rows.min(options.row_group_rows).max(1) as u64;
        let bytes = (options.row_group_bytes as u64 / 8).max(1);
        let facts = self.0.iter().enumerate().map(|(number, source)| {
            let wary = source.role == Role::Late && !self.1.is_empty();
            let any = |drops: &Drops| source.row_ranges().iter().map(|rows| drops.any(rows)).collect();
            let touched = drops.get(number).map(any).unwrap_or_default();
            Facts { wary, touched, ..source.facts(target) }
        });
        let facts: Vec<Facts<'_>> = facts.collect();
        plan(&facts, Large { rows, bytes })
    }

    /// Proves the bytes of all that is decoded, before anything is: those of what is copied are proven on their way. Answers
    /// which rows of those that are sifted are there already, or were dropped before.
    pub(super) async fn repeated(
        &self,
        ways: &[Way],
        objects: &Arc<dyn Objects>,
        piece: u64,
    ) -> Result<Vec<Drops>, MergeError> {
        let mut absent = self.absent(ways, piece).await?;
        let mut drops: Vec<Drops> = self.0.iter().map(|_| Drops::default()).collect();
        let sifted: Vec<usize> =
            (0..ways.len()).filter(|number| ways.get(*number) == Some(&Way::Sift)).collect();
        if sifted.is_empty() {
            return Ok(drops);
        }
        for list in &self.1 {
            let blame = |failure| blame(&list.key, failure);
            let file = open(objects.clone(), &list.key).await.map_err(blame)?;
            checked::check(file.port()).await.map_err(blame)?;
            absent.strike(&file, (0..file.row_groups()).collect()).await.map_err(blame)?;
        }
        for number in sifted {
            let (Some(source), Some(drops)) = (self.0.get(number), drops.get_mut(number)) else { continue };
            let mut row = 0;
            let each = |origins: &Origins| {
                for identity in origins.identities() {
                    if !absent.admit(identity) {
                        drops.repeated.insert(row);
                    }
                    row += 1;
                }
            };
            let all = (0..source.file.row_groups()).collect();
            let scanned = scan_groups(&source.file, all, Some(&IDENTITY), each).await;
            scanned.map_err(|failure| source.blame(failure))?;
        }
        Ok(drops)
    }

    /// The identities of rows that are sifted and in no other input; of those, only row groups are decoded that can hold one.
    async fn absent(&self, ways: &[Way], piece: u64) -> Result<Absent, MergeError> {
        let (mut absent, mut suspects) = (Absent::default(), Suspects::default());
        let all = || self.0.iter().zip(ways).enumerate();
        if ways.contains(&Way::Sift) {
            for (number, (source, _)) in all().filter(|(_, (_, way))| **way != Way::Sift) {
                for index in 0..source.file.row_groups() {
                    let group = source.groups.as_ref().and_then(|groups| groups.get(index));
                    suspects.add((number, index), group);
                }
            }
        }
        for (_, (source, way)) in all().filter(|(_, (_, way))| !matches!(way, Way::Splice(_))) {
            let file = source.prove(piece).await?;
            if *way == Way::Sift {
                absent.collect(&file, &mut suspects).await.map_err(|failure| source.blame(failure))?;
            }
        }
        for (number, (source, _)) in all().filter(|(_, (_, way))| **way != Way::Sift) {
            let groups = suspects.of(number);
            absent.strike(&source.file, groups).await.map_err(|failure| source.blame(failure))?;
        }
        Ok(absent)
    }
}

/// Where the row groups of a source lie that is spliced.
pub(super) fn places(source: &Source) -> Result<Vec<Range<u64>>, MergeError> {
    layout(source.file.footer()).ok_or_else(|| source.corrupt("its row groups do not stand in a row"))
}
