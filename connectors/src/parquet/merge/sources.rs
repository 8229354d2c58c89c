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
use crate::parquet::read::{FileReader, open};
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
    pub(super) async fn prove(&self, piece: u64) -> Result<FileReader, MergeError> {
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
pub(super) struct Sources(pub(super) Vec<Source>, pub(super) Vec<Input>);

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
}

/// Where the row groups of a source lie that is spliced.
pub(super) fn places(source: &Source) -> Result<Vec<Range<u64>>, MergeError> {
    layout(source.file.footer()).ok_or_else(|| source.corrupt("its row groups do not stand in a row"))
}
