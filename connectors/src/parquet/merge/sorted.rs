//! Entries, however many, in order: sorted a chunk at a time. Chunks that are not the only one wait in objects of their own until
//! they are discarded.

use std::ops::Range;
use std::sync::Arc;

use super::MergeError;
use super::sides::Side;
use crate::failure::Failure;
use crate::parquet::ids::{Entry, Packed, Packing, RunReader};
use crate::parquet::read::PortReader;
use crate::ports::Objects;

/// Entries sorted in memory at a time: 8 MiB of them. Few in tests, so that these see chunks.
const CHUNK: usize = if cfg!(test) { 16 } else { 1 << 18 };
/// Bytes of all runs that are read side by side, together.
const PIECES: u64 = 32 << 20;
/// Bytes of a run fetched together, at least and at most.
const PIECE: Range<u64> = if cfg!(test) { 3..50 } else { 4 << 10..1 << 20 };
/// Bytes of a chunk written together.
const WRITTEN: usize = 1 << 20;

/// How much of each of so many runs is fetched together.
pub(super) fn piece(runs: usize) -> u64 {
    (PIECES / runs.max(1) as u64).clamp(PIECE.start, PIECE.end)
}

/// Sorted entries in an object.
struct Spilled {
    key: String,
    packed: Packed,
}

/// See the [module](self).
pub(super) struct Sorted {
    objects: Arc<dyn Objects>,
    /// What the names of chunks begin with.
    name: String,
    /// The chunk that is filled.
    open: Vec<Entry>,
    /// The only chunk, once all entries are there.
    held: Arc<Vec<Entry>>,
    spilled: Vec<Spilled>,
}

impl Sorted {
    /// None yet. Chunks are called `name` and a number.
    pub(super) fn new(objects: Arc<dyn Objects>, name: String) -> Self {
        Sorted { objects, name, open: Vec::new(), held: Arc::default(), spilled: Vec::new() }
    }

    /// Takes an entry in; [`Sorted::relieve`] is called before they are many.
    pub(super) fn push(&mut self, entry: Entry) {
        self.open.push(entry);
    }

    /// Puts a full chunk aside.
    pub(super) async fn relieve(&mut self) -> Result<(), Failure> {
        if self.open.len() < CHUNK { Ok(()) } else { self.spill().await }
    }

    /// All entries are there.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        if !self.spilled.is_empty() {
            return self.spill().await;
        }
        let mut only = std::mem::take(&mut self.open);
        only.sort_unstable();
        self.held = Arc::new(only);
        Ok(())
    }

    async fn spill(&mut self) -> Result<(), Failure> {
        if self.open.is_empty() {
            return Ok(());
        }
        let key = format!("{}-{:04}", self.name, self.spilled.len());
        self.open.sort_unstable();
        let mut upload = self.objects.upload(&key).await?;
        let mut packing = Packing::default();
        for entry in self.open.drain(..) {
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

    /// How many objects the entries are in.
    pub(super) fn chunks(&self) -> usize {
        self.spilled.len()
    }

    /// The entries, as streams that are each in order; `piece` bytes of each are fetched together.
    pub(super) async fn sides(&self, piece: u64) -> Result<Vec<Side>, MergeError> {
        let mut sides = vec![Side::Held { entries: self.held.clone(), next: 0 }];
        for Spilled { key, packed } in &self.spilled {
            let port = PortReader::new(self.objects.clone(), key).await.map_err(lost)?;
            sides.push(Side::Chunk(RunReader::new(port, 0, packed, piece)));
        }
        Ok(sides)
    }

    /// Deletes the chunks, as far as that goes: nobody names them, and what is left is swept.
    pub(super) async fn discard(&self) {
        for Spilled { key, .. } in &self.spilled {
            if let Err(failure) = self.objects.delete(key).await {
                tracing::warn!(%key, %failure, "sorted entries of a merge were not removed");
            }
        }
    }
}

/// A chunk is of this merge's own making: none of the inputs is to blame for it.
pub(super) fn lost(failure: Failure) -> MergeError {
    Failure::crashed(format!("sorted entries of a merge cannot be read: {failure}")).into()
}
