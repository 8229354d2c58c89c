//! The ids of all inputs of a merge, as runs that can be read side by side, as often as needed.
//!
//! Most inputs carry their run. The ids of others are read from the column, once, and sorted.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};

use super::sides::{Side, Sides};
use super::sorted::{self, Sorted};
use super::sources::Source;
use super::{Dedupe, MergeError, blame};
use crate::failure::Failure;
use crate::parquet::ids::{Entry, Ids, Run, RunReader};
use crate::parquet::read::{FileReader, PortReader};
use crate::parquet::unify;
use crate::ports::Objects;

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

/// See the [module](self).
pub(super) struct Runs {
    dedupe: Dedupe,
    /// What the ids are in the result: what a column that has become wider holds is hashed as it will stand there.
    id_type: Option<DataType>,
    runs: Vec<WithRun>,
    /// The ids of the others.
    sorted: Sorted,
}

impl Runs {
    /// None yet, of a merge whose result has the columns `result`.
    pub(super) fn new(objects: Arc<dyn Objects>, dedupe: Dedupe, result: &Schema) -> Self {
        let sorted = Sorted::new(objects, format!("{}/ids", dedupe.folder));
        let id_type = result.field_with_name(&dedupe.column).ok().map(|field| field.data_type().clone());
        Runs { dedupe, id_type, runs: Vec::new(), sorted }
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
        for (input, source) in sources.iter().enumerate() {
            let (file, rows) = (&source.file, source.file.rows());
            if rows > 1 << ROW_BITS {
                return Err(source.corrupt("it says that it has more rows than any file of ours"));
            }
            match self.of(file) {
                Some(run) => self.runs.push(WithRun { input, port: file.port().clone(), run, rows }),
                None => self.read(input, source, piece).await?,
            }
        }
        Ok(self.sorted.finish().await?)
    }

    /// Reads the ids of an input from its column.
    async fn read(&mut self, input: usize, source: &Source, piece: u64) -> Result<(), MergeError> {
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
                if let Some(hash) = ids.hash(row) {
                    self.sorted.push(Entry { hash, at: at.number() });
                }
                at.row += 1;
            }
            self.sorted.relieve().await?;
        }
        Ok(())
    }

    /// All entries of the inputs that are `wanted`, in order; perhaps some of other inputs, too. Each is at the number of a
    /// [`Locus`].
    pub(super) async fn side_by_side(&self, wanted: impl Fn(usize) -> bool) -> Result<Sides, MergeError> {
        let runs: Vec<&WithRun> = self.runs.iter().filter(|run| wanted(run.input)).collect();
        let piece = sorted::piece(runs.len() + self.sorted.chunks());
        let mut sides = self.sorted.sides(piece).await?;
        for WithRun { input, port, run, rows } in runs {
            let reader = RunReader::new(port.clone(), run.start, &run.packed, piece);
            sides.push(Side::Run { input: *input, rows: *rows, key: port.key().to_owned(), reader });
        }
        Sides::new(sides).await
    }

    /// Removes what was put aside.
    pub(super) async fn discard(&self) {
        self.sorted.discard().await;
    }
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
