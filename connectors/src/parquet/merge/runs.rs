//! The ids of all inputs of a merge, as runs that can be read side by side, as often as needed.
//!
//! Most inputs carry their run. The ids of others are read from the column, once, and sorted a chunk at a time; chunks that are not
//! the only one wait in objects of their own, which are deleted when the merge has ended.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};

use super::sources::Source;
use super::{Dedupe, MergeError, blame};
use crate::failure::Failure;
use crate::parquet::ids::{Entry, Ids, Packed, Packing, Run, RunReader};
use crate::parquet::read::{FileReader, PortReader};
use crate::parquet::unify;
use crate::ports::Objects;

use super::sides::{Side, Sides};

/// Entries sorted in memory at a time: 8 MiB of them. Few in tests, so that these see chunks.
const CHUNK: usize = if cfg!(test) { 16 } else { 1 << 18 };
/// Bytes of all runs that are in memory, together.
const PIECES: u64 = 32 << 20;
/// Bytes of a run fetched together, at least and at most.
const PIECE: Range<u64> = if cfg!(test) { 3..50 } else { 4 << 10..1 << 20 };
/// Bytes of a chunk written together.
const WRITTEN: usize = 1 << 20;

/// A row of a merge: the number of the input, and of the row in it. As a number it orders rows as the merge does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Locus {
    pub(super) input: usize,
    pub(super) row: u64,
}

/// Bits of a locus that are the row's.
const ROW_BITS: u32 = 32;
/// Inputs of one merge, at most: a run names rows by less than eight bytes.
const INPUTS: usize = 1 << 24;

impl Locus {
    pub(super) fn number(self) -> u64 {
        (self.input as u64) << ROW_BITS | self.row
    }

    pub(super) fn of(number: u64) -> Self {
        let input = usize::try_from(number >> ROW_BITS).unwrap_or(usize::MAX);
        Locus { input, row: number & ((1 << ROW_BITS) - 1) }
    }
}

/// An input with a run.
struct WithRun {
    input: usize,
    port: PortReader,
    run: Run,
    rows: u64,
}

/// Sorted entries in an object.
struct Spilled {
    key: String,
    packed: Packed,
}

/// See the [module](self).
pub(super) struct Runs {
    objects: Arc<dyn Objects>,
    dedupe: Dedupe,
    /// What the ids are in the result: what a column that has become wider holds is hashed as it will stand there.
    id_type: Option<DataType>,
    runs: Vec<WithRun>,
    held: Arc<Vec<Entry>>,
    spilled: Vec<Spilled>,
}

impl Runs {
    /// None yet, of a merge whose result has the columns `result`.
    pub(super) fn new(objects: Arc<dyn Objects>, dedupe: Dedupe, result: &Schema) -> Self {
        let (runs, held, spilled) = (Vec::new(), Arc::default(), Vec::new());
        let id_type = result.field_with_name(&dedupe.column).ok().map(|field| field.data_type().clone());
        Runs { objects, dedupe, id_type, runs, held, spilled }
    }

    /// The type of the ids in the result; none when it has no such column.
    pub(super) fn id_type(&self) -> Option<DataType> {
        self.id_type.clone()
    }

    /// The run of a file that tells the ids as they will stand in the result.
    fn of(&self, file: &FileReader) -> Option<Run> {
        let field = file.schema().field_with_name(self.column()).ok();
        let is_same = field.map(|field| unify::plain(field.data_type())) == self.id_type;
        Run::of(file).filter(|run| is_same && run.column == self.column())
    }

    /// The column of the ids.
    pub(super) fn column(&self) -> &str {
        &self.dedupe.column
    }

    /// Finds the run of every input, or makes one.
    pub(super) async fn gather(&mut self, sources: &[Source], piece: u64) -> Result<(), MergeError> {
        if sources.len() > INPUTS {
            return Err(Failure::crashed(format!("a merge of {} files", sources.len())).into());
        }
        let mut held = Vec::new();
        for (input, source) in sources.iter().enumerate() {
            let (file, rows) = (&source.file, source.file.rows());
            if rows > 1 << ROW_BITS {
                return Err(source.corrupt("it says that it has more rows than any file of ours"));
            }
            match self.of(file) {
                Some(run) => self.runs.push(WithRun { input, port: file.port().clone(), run, rows }),
                None => self.read(input, source, piece, &mut held).await?,
            }
        }
        if self.spilled.is_empty() {
            held.sort_unstable();
        } else {
            self.spill(&mut held).await?;
        }
        self.held = Arc::new(held);
        Ok(())
    }

    /// Reads the ids of an input from its column.
    async fn read(
        &mut self,
        input: usize,
        source: &Source,
        piece: u64,
        held: &mut Vec<Entry>,
    ) -> Result<(), MergeError> {
        let column = self.dedupe.column.clone();
        if source.file.schema().column_with_name(&column).is_none() {
            return Ok(()); // none of its rows has an id
        }
        let file = source.held(piece).await?;
        let mut batches = file.batches(Some(&[&column])).map_err(|failure| source.blame(failure))?;
        let mut at = Locus { input, row: 0 };
        while let Some(batch) = batches.next().await.map_err(|failure| source.blame(failure))? {
            let ids = Ids::read_as(&batch, &column, self.id_type.as_ref())
                .map_err(|reason| source.corrupt(&reason))?;
            for row in 0..batch.num_rows() {
                held.extend(ids.hash(row).map(|hash| Entry { hash, at: at.number() }));
                at.row += 1;
            }
            if held.len() >= CHUNK {
                self.spill(held).await?;
            }
        }
        Ok(())
    }

    /// Moves what is held to an object.
    async fn spill(&mut self, held: &mut Vec<Entry>) -> Result<(), Failure> {
        if held.is_empty() {
            return Ok(());
        }
        let key = format!("{}/ids-{:04}", self.dedupe.folder, self.spilled.len());
        held.sort_unstable();
        let mut upload = self.objects.upload(&key).await?;
        let mut packing = Packing::default();
        for entry in held.drain(..) {
            packing.push(entry)?;
            if packing.pending() >= WRITTEN {
                upload.write(packing.take()).await?;
            }
        }
        let (rest, packed) = packing.finish();
        upload.write(rest).await?;
        upload.finish().await?;
        self.spilled.push(Spilled { key, packed });
        Ok(())
    }

    /// All entries of the inputs that are `wanted`, in order; perhaps some of other inputs, too. Each is at the number of a
    /// [`Locus`].
    pub(super) async fn side_by_side(&self, wanted: impl Fn(usize) -> bool) -> Result<Sides, MergeError> {
        let runs: Vec<&WithRun> = self.runs.iter().filter(|run| wanted(run.input)).collect();
        let count = (runs.len() + self.spilled.len()).max(1) as u64;
        let piece = (PIECES / count).clamp(PIECE.start, PIECE.end);
        let mut sides = vec![Side::Held { entries: self.held.clone(), next: 0 }];
        for WithRun { input, port, run, rows } in runs {
            let reader = RunReader::new(port.clone(), run.start, &run.packed, piece);
            sides.push(Side::Run { input: *input, rows: *rows, key: port.key().to_owned(), reader });
        }
        for Spilled { key, packed } in &self.spilled {
            let port = PortReader::new(self.objects.clone(), key).await.map_err(lost)?;
            sides.push(Side::Chunk(RunReader::new(port, 0, packed, piece)));
        }
        Sides::new(sides).await
    }

    /// Deletes the chunks, as far as that goes: nobody names them, and what is left is swept.
    pub(super) async fn discard(&self) {
        for Spilled { key, .. } in &self.spilled {
            if let Err(failure) = self.objects.delete(key).await {
                tracing::warn!(%key, %failure, "sorted ids of a merge were not removed");
            }
        }
    }
}

/// A chunk is of this merge's own making: none of the inputs is to blame for it.
pub(super) fn lost(failure: Failure) -> MergeError {
    Failure::crashed(format!("sorted ids of a merge cannot be read: {failure}")).into()
}

/// A run that is not as it was written.
pub(super) fn broken(key: &str, failure: Failure) -> MergeError {
    blame(key, failure)
}

/// Where a run in a file's own bytes ends; behind it are page indexes and footer. Without one that is where the row groups end.
pub(super) fn behind(file: &FileReader, row_groups: u64) -> u64 {
    let run = Run::of(file).filter(|run| run.start == row_groups);
    run.and_then(|run| run.end()).unwrap_or(row_groups)
}
