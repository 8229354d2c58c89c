//! The durable steps of a compactor: merge and commit, switch the catalog, delete what was replaced.

use std::collections::BTreeMap;

use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::parquet::{self, Dedupe, Input, MergeError, MergeRequest, Merged, MergedFile};
use shardmill_connectors::setsum::Tally;
use uuid::Uuid;

use super::{Compactor, lost, plan};
use crate::state::hour::{CatalogState, GenerationFile, LostList, Quarantined};
use crate::state::{Absorbed, HourState};
use crate::telemetry;
use crate::world::Inputs;

/// What a merge holds beside its row groups: footers, and batches on their way from one file to the other. Pieces that are
/// copied are smaller than row groups, and no row group is decoded then.
const MERGE_BYTES: u64 = 8 << 20;

impl Compactor {
    /// Makes the next generation out of the present one and `inputs`, proves it, and commits it.
    pub(super) async fn merge(
        &mut self,
        state: &HourState,
        inputs: &Inputs,
        complete: bool,
    ) -> Result<(), Failure> {
        // What nobody writes any more is finished as it was begun.
        let column = self.shared.dedupe_of(&self.table).unwrap_or_else(|| state.dedupe.clone());
        let room = self.room(state, inputs, column.is_some());
        let _room = self.pulse.through(self.shared.memory.merges.take(room)).await;
        let Made { merged, inputs, quarantined, lost } = self.make(state, inputs.clone(), &column).await?;
        let merged = match (merged, lost.clone()) {
            (Some(merged), _) => merged,
            (None, Some(lost)) => return self.wait_for_list(state, lost).await,
            (None, None) => return Ok(()),
        };
        crash::point("hour.after-write");
        for file in &merged.files {
            self.prove(file).await?;
        }
        self.prove_list(&merged).await?;
        let duplicates = merged.duplicates.rows;
        let next = succeed(state, &inputs, Outcome { merged, quarantined, lost, complete, column });
        if !next.balances() {
            return Err(Failure::crashed(format!(
                "{}/{}: the books of generation {} do not balance",
                self.table, self.hour, next.generation
            )));
        }
        let (generation, rows) = (next.generation, next.tally.rows);
        self.take().await?.replace(next).await?;
        crash::point("hour.after-commit");
        metrics::counter!(telemetry::GENERATIONS, "table" => self.table.clone()).increment(1);
        metrics::counter!(telemetry::DUPLICATES, "table" => self.table.clone()).increment(duplicates);
        tracing::info!(table = %self.table, hour = %self.hour, generation, rows, duplicates, complete, "generation committed");
        let patience = plan::incomplete_after(self.shared.intakes.feed(&self.table));
        if !complete && plan::is_overdue(self.hour, Millis::now(), patience) {
            tracing::warn!(
                table = %self.table, hour = %self.hour,
                "hour compacted incomplete: a shard or an intake has not passed its end; look at `shardmill admin shards` and `admin tree`"
            );
        }
        Ok(())
    }

    /// Merges, and again without what turns out not to be readable.
    async fn make(
        &mut self,
        state: &HourState,
        inputs: Inputs,
        column: &Option<String>,
    ) -> Result<Made, Failure> {
        let mut made = Made { merged: None, inputs, quarantined: state.quarantined.clone(), lost: None };
        while made.lost.is_none() || !made.inputs.segments.is_empty() {
            match parquet::merge(self.request(state, &made.inputs, &made.quarantined, column.clone())).await {
                Ok(merged) => return Ok(Made { merged: Some(merged), ..made }),
                Err(MergeError::Failed(failure)) => return Err(failure),
                Err(MergeError::Corrupt { key, reason })
                    if lost::is_list(state, &key) && !made.inputs.late.is_empty() =>
                {
                    made.lost = Some(self.miss(state, &made.inputs, (key, reason)));
                    // What is late and cannot be read either is judged when it is its turn.
                    (made.inputs.late, made.quarantined) = (Vec::new(), state.quarantined.clone());
                }
                Err(MergeError::Corrupt { key, reason }) => {
                    made.quarantined.push(quarantine(state, &made.inputs, &key, &reason)?);
                }
            }
        }
        Ok(made)
    }

    /// What a merge takes of the memory.
    fn room(&self, state: &HourState, inputs: &Inputs, dedupe: bool) -> u64 {
        let row_groups = 4 * self.shared.lake.write.row_group_bytes as u64;
        let segments: u64 = inputs.segments.iter().map(|(_, segment)| segment.tally.rows).sum();
        let late: u64 = inputs.late.iter().map(|(_, entry)| entry.tally.rows).sum();
        let ids = if dedupe { parquet::dedupe_bytes(state.tally.rows + segments + late) } else { 0 };
        // What a row group is encoded with, and the one that is copied.
        let filters = 2 * self.shared.write_of(&self.table).filter_bytes();
        row_groups + MERGE_BYTES + ids + parquet::late_bytes(late) + filters
    }

    fn request(
        &self,
        state: &HourState,
        inputs: &Inputs,
        quarantined: &[Quarantined],
        column: Option<String>,
    ) -> MergeRequest {
        let random = &Uuid::new_v4().simple().to_string()[..12];
        let (generation, epoch) = (state.generation + 1, state.ownership.epoch);
        let duplicates = layout::duplicates(&self.table, self.hour, generation, epoch, random);
        let sound = |key: &str| !quarantined.iter().any(|file| file.key == key);
        let input = |key: &str, tally: Tally| Input { key: key.to_owned(), tally };
        MergeRequest {
            objects: self.objects.clone(),
            folder: layout::generation(&self.table, self.hour, generation, epoch, random),
            base: state.files.iter().map(|file| input(&file.key, file.tally)).collect(),
            segments: inputs
                .segments
                .iter()
                .filter(|(_, s)| sound(&s.key))
                .map(|(_, s)| input(&s.key, s.tally))
                .collect(),
            late: inputs
                .late
                .iter()
                .filter(|(_, e)| sound(&e.key))
                .map(|(_, e)| input(&e.key, e.tally))
                .collect(),
            options: self.shared.write_of(&self.table),
            meta: vec![
                ("shardmill.table".to_owned(), self.table.clone()),
                ("shardmill.hour".to_owned(), self.hour.to_string()),
            ],
            dedupe: column.map(|column| Dedupe { column, folder: duplicates }),
            listed: state.duplicate_lists.iter().map(|list| input(&list.key, list.tally)).collect(),
        }
    }

    /// Reads a written file back: its bytes, and the identities of the rows that were encoded.
    async fn prove(&self, file: &MergedFile) -> Result<(), Failure> {
        let found = parquet::read_back(self.objects.clone(), file).await?;
        let (key, expected) = (&file.key, file.summary.tally);
        if found == expected {
            return Ok(());
        }
        Err(Failure::crashed(format!("{key}: {found} were read back where {expected} were written")))
    }

    /// The same of the list of duplicates, if there is one.
    async fn prove_list(&self, merged: &Merged) -> Result<(), Failure> {
        let Some(list) = &merged.list else { return Ok(()) };
        let found = parquet::deep(self.objects.clone(), &list.key).await?;
        let (key, dropped) = (&list.key, merged.duplicates);
        if found == dropped {
            return Ok(());
        }
        Err(Failure::crashed(format!("{key}: {found} are listed where {dropped} were dropped")))
    }

    /// Points the catalog at the present generation, reads that back, and records it: the grace begins. The manifest of a live table
    /// names the generation by now.
    pub(super) async fn switch(&mut self, state: &HourState) -> Result<(), Failure> {
        let Some(location) = state.location() else {
            return Err(Failure::crashed("a generation without a file"));
        };
        let catalog = self.shared.ports.catalog.clone();
        let columns = self.columns(state).await?;
        // What a node says that has lost the hour meanwhile would be heard all the same.
        self.shared.cluster.may_act()?;
        catalog.ensure_table(&self.table, &columns).await?;
        catalog.set_location(&self.table, self.hour, &location).await?;
        if catalog.location(&self.table, self.hour).await?.as_ref() != Some(&location) {
            return Err(Failure::transient(format!(
                "the catalog does not show {location} for {}/{} yet",
                self.table, self.hour
            )));
        }
        crash::point("hour.after-catalog");
        let catalog = CatalogState { location: Some(location), switched_at: Some(Millis::now()) };
        self.take().await?.replace(HourState { catalog, ..state.clone() }).await
    }

    /// The columns of the present generation.
    async fn columns(&self, state: &HourState) -> Result<arrow::datatypes::SchemaRef, Failure> {
        let Some(file) = state.files.first() else {
            return Err(Failure::crashed("a generation without a file"));
        };
        let reader = parquet::open(self.objects.clone(), &file.key).await?;
        Ok(reader.schema().clone())
    }

    /// Where the catalog shows the hour; nowhere when it does not know the table.
    pub(super) async fn shown(&self) -> Result<Option<String>, Failure> {
        match self.shared.ports.catalog.location(&self.table, self.hour).await {
            Err(failure) if failure.class == Class::Rejected => Ok(None),
            outcome => outcome,
        }
    }

    /// Deletes what was replaced and absorbed, once the catalog is seen to look elsewhere.
    pub(super) async fn clean(&mut self, state: &HourState) -> Result<(), Failure> {
        if self.shown().await? != state.location() || !self.is_let_go(state).await? {
            // Somebody's late word has moved it, or the manifest: say it again, and the grace starts anew.
            let catalog = CatalogState { switched_at: None, ..state.catalog.clone() };
            return self.take().await?.replace(HourState { catalog, ..state.clone() }).await;
        }
        crash::point("hour.before-removal");
        for key in &state.garbage {
            self.objects.delete(key).await?;
        }
        crash::point("hour.after-removal");
        self.take().await?.replace(HourState { garbage: Vec::new(), ..state.clone() }).await
    }
}

/// What came of merging.
struct Made {
    /// The generation; none when late inputs wait, and there are no others.
    merged: Option<Merged>,
    /// What is in it.
    inputs: Inputs,
    /// Inputs that could not be read, by now.
    quarantined: Vec<Quarantined>,
    /// The list that was looked for in vain.
    lost: Option<LostList>,
}

/// What a merge brought.
pub(crate) struct Outcome {
    /// The new files.
    pub(crate) merged: Merged,
    /// Inputs that could not be read, by now.
    pub(crate) quarantined: Vec<Quarantined>,
    /// The list of duplicates that was looked for in vain.
    pub(crate) lost: Option<LostList>,
    /// Every shard has passed the hour.
    pub(crate) complete: bool,
    /// The column by which duplicates were looked for.
    pub(crate) column: Option<String>,
}

/// The hour's state after a merge of `inputs`.
pub(crate) fn succeed(state: &HourState, inputs: &Inputs, outcome: Outcome) -> HourState {
    let Outcome { merged, quarantined, lost, complete, column } = outcome;
    // Who has merged late inputs has read all lists.
    let lost_list = lost.or_else(|| state.lost_list.clone().filter(|_| inputs.late.is_empty()));
    let (tally, dropped, duplicates) = (merged.tally(), merged.dropped, merged.duplicates);
    let list = merged.list.map(|list| GenerationFile {
        key: list.key,
        bytes: list.summary.bytes,
        tally: list.summary.tally,
    });
    let files = merged.files.into_iter().map(|file| GenerationFile {
        key: file.key,
        bytes: file.summary.bytes,
        tally: file.summary.tally,
    });
    let (absorbed, late) = absorb(state, inputs);
    let sound = |key: &String| !quarantined.iter().any(|file| file.key == *key);
    let garbage = replaced(state, inputs).filter(sound);
    HourState {
        generation: state.generation + 1,
        committed_at: Some(Millis::now()),
        tally,
        files: files.collect(),
        absorbed,
        late,
        dropped: state.dropped + dropped,
        duplicates: state.duplicates + duplicates,
        duplicate_lists: state.duplicate_lists.iter().cloned().chain(list).collect(),
        dedupe: column,
        complete: complete || state.complete,
        late_generations: state.late_generations + u32::from(state.complete),
        catalog: CatalogState { switched_at: None, ..state.catalog.clone() },
        garbage: state.garbage.iter().cloned().chain(garbage).collect(),
        quarantined,
        lost_list,
        ..state.clone()
    }
}

/// What an hour has absorbed together with `inputs`: of each shard, and late sources.
pub(super) fn absorb(
    state: &HourState,
    inputs: &Inputs,
) -> (BTreeMap<String, Absorbed>, BTreeMap<String, Tally>) {
    let mut absorbed: BTreeMap<String, Absorbed> = state.absorbed.clone();
    for (shard, segment) in &inputs.segments {
        let entry = absorbed.entry(shard.clone()).or_default();
        entry.through = entry.through.max(segment.number);
        entry.tally += segment.tally;
    }
    let mut late = state.late.clone();
    for (source, entry) in &inputs.late {
        *late.entry(source.clone()).or_default() += entry.tally;
    }
    (absorbed, late)
}

/// The files that nobody needs once `inputs` are absorbed.
pub(super) fn replaced(state: &HourState, inputs: &Inputs) -> impl Iterator<Item = String> {
    let files = state.files.iter().map(|file| file.key.clone());
    let segments = inputs.segments.iter().map(|(_, segment)| segment.key.clone());
    files.chain(segments).chain(inputs.late.iter().map(|(_, entry)| entry.key.clone()))
}

/// Sets an input that cannot be read aside, loudly. A present generation that cannot be read is not an input: nothing may
/// be built on it.
fn quarantine(state: &HourState, inputs: &Inputs, key: &str, reason: &str) -> Result<Quarantined, Failure> {
    let segments = inputs.segments.iter().map(|(_, segment)| (&segment.key, segment.tally));
    let late = inputs.late.iter().map(|(_, entry)| (&entry.key, entry.tally));
    let Some((_, tally)) = segments.chain(late).find(|(input, _)| *input == key) else {
        let what = format!("{}/{}: the present generation is damaged: {reason}", state.table, state.hour);
        return Err(Failure::new(Class::Rejected, what));
    };
    tracing::error!(%key, %reason, rows = tally.rows, "corrupt input quarantined: its rows are missing from the hour");
    Ok(Quarantined { key: key.to_owned(), tally, reason: reason.to_owned() })
}
