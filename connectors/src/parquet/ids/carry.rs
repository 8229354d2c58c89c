//! Taking a file's run over into a file that has the same rows.

use super::{Packing, Run, RunReader};
use crate::failure::Failure;
use crate::parquet::read::FileReader;
use crate::parquet::write::FileWriter;

/// Bytes of a run fetched, and written, together.
const PIECE: usize = 1 << 20;

/// Gives the new file, all of whose rows are written, the run of the old one, whose rows and ids it has.
///
/// # Errors
/// What the store raises; `Rejected` when the run is not the one that was written.
pub(in crate::parquet) async fn carry(
    run: &Run,
    old: &FileReader,
    new: &mut FileWriter,
) -> Result<(), Failure> {
    let mut entries = RunReader::new(old.port().clone(), run.start, &run.packed, PIECE as u64);
    let mut packing = Packing::default();
    while let Some(entry) = entries.next().await? {
        packing.push(entry)?;
        if packing.pending() >= PIECE {
            new.ids(packing.take()).await?;
        }
    }
    let (rest, packed) = packing.finish();
    new.ids(rest).await?;
    new.has_ids(&run.column, packed)
}
