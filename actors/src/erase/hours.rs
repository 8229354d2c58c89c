//! Hours without the person: what is listed for an hour is absorbed, then its files are written anew, then what they replace goes.
//!
//! Each is a generation of its own, committed as a take and a release in one write, and only while nobody who lives owns the hour:
//! nodes may run, an hour they work on is told and left for another time. The erased rows are counted in the hour's books, so that
//! rows = absorbed + late − dropped − … − erased stays to be proved.

use std::collections::BTreeSet;

use shardmill_cluster::{Cell, Ownership};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::erasure::{RowSieve, Sieves};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::parquet::sift::{self, SiftRequest};
use shardmill_connectors::parquet::{self, Dedupe, Input, MergeRequest, WriteOptions};
use shardmill_connectors::setsum::Tally;
use uuid::Uuid;

use super::{Erase, ErasedHour, Report};
use crate::hour::steps;
use crate::live::anew;
use crate::state::HourState;
use crate::state::hour::GenerationFile;
use crate::verify::repair::{passed_on, rebuild};
use crate::world::{Inputs, Reader, World};

/// Erases in every hour that a document names. One that cannot be done keeps no other from being tried.
pub(super) async fn erase(with: &Erase<'_>, sieves: &Sieves, report: &mut Report) -> Result<(), Failure> {
    let world = Reader::default().read(with.ports.documents.as_ref()).await?;
    for (table, hour) in world.all_hours() {
        let key = layout::documents::hour(&table, hour);
        // After the lists: it can only know more than they do.
        let cell: Cell<HourState> = Cell::load(with.ports.documents.clone(), key).await?;
        let mut work = Work { with, sieve: sieves.of(&table), cell, report, rows: 0 };
        let outcome = work.hour(&world, (&table, hour)).await;
        let (rows, reason) = (work.rows, outcome.err().map(|failure| failure.detail));
        if rows > 0 || reason.is_some() {
            report.hours.push(ErasedHour { table, hour, rows, reason });
        }
    }
    Ok(())
}

/// The work on one hour.
struct Work<'w> {
    with: &'w Erase<'w>,
    sieve: RowSieve,
    cell: Cell<HourState>,
    report: &'w mut Report,
    /// Rows of the person.
    rows: u64,
}

impl Work<'_> {
    async fn hour(&mut self, world: &World, (table, hour): (&str, Hour)) -> Result<(), Failure> {
        let mut state = self.cell.state().cloned().unwrap_or_else(|| HourState::new(table, hour));
        let inputs = world.inputs(&state);
        let fresh = self.fresh(&inputs).await?;
        for file in &state.files {
            self.rows += self.count(&file.key).await?;
        }
        let replaced = self.replaced(&state).await?;
        if fresh > 0 && state.expired_at.is_some() {
            return Err(Failure::rejected("it is older than its table keeps: a node lets its rows go"));
        }
        if self.with.dry_run {
            self.report.waiting += replaced;
            return Ok(());
        }
        let in_place = self.rows > 0;
        if fresh > 0 {
            state = self.absorb(state, &inputs).await?;
        }
        if in_place {
            state = self.rewrite(state).await?;
        }
        match in_place || replaced > 0 {
            true => self.clear(state).await,
            false => Ok(()),
        }
    }

    /// Rows of the person in files that the hour has not absorbed: in how many files.
    async fn fresh(&mut self, inputs: &Inputs) -> Result<u64, Failure> {
        let segments = inputs.segments.iter().map(|(_, segment)| &segment.key);
        let mut files = 0;
        for key in segments.chain(inputs.late.iter().map(|(_, entry)| &entry.key)) {
            let rows = self.count(key).await?;
            self.rows += rows;
            files += u64::from(rows > 0);
        }
        self.report.segments += files;
        Ok(files)
    }

    /// Files with rows of the person that have been replaced, or absorbed, and are still there.
    async fn replaced(&self, state: &HourState) -> Result<u64, Failure> {
        let mut files = 0;
        for key in &state.garbage {
            match self.count(key).await {
                Ok(rows) => files += u64::from(rows > 0),
                // Some may have been deleted before the document could say so.
                Err(failure) if failure.class == Class::Rejected => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(files)
    }

    async fn count(&self, key: &str) -> Result<u64, Failure> {
        sift::count(&self.with.ports.objects, key, &self.sieve).await
    }

    /// The hour's ownership after a take and a release.
    async fn owned(&self, state: &HourState) -> Result<Ownership, Failure> {
        passed_on(self.with.tools, &state.ownership).await.map_err(|failure| busy(state, failure))
    }

    async fn commit(&mut self, next: HourState) -> Result<HourState, Failure> {
        let committed = rebuild::commit(self.with.ports, &mut self.cell, next.clone()).await;
        committed.map_err(|failure| busy(&next, failure))?;
        self.cell.state().cloned().ok_or_else(|| Failure::crashed("the hour's document vanished"))
    }

    /// Makes a generation with everything that is listed for the hour: only what is in one can be written anew.
    async fn absorb(&mut self, state: HourState, inputs: &Inputs) -> Result<HourState, Failure> {
        let ownership = self.owned(&state).await?;
        let input = |key: &str, tally: Tally| Input { key: key.to_owned(), tally };
        let random = random();
        let (table, hour, generation) = (&state.table, state.hour, state.generation + 1);
        let lists = layout::duplicates(table, hour, generation, ownership.epoch, &random);
        // As nodes do: an hour that nothing more comes for has no later generation to be de-duplicated in.
        let column = self.with.dedupe.get(table).cloned().unwrap_or_else(|| state.dedupe.clone());
        let request = MergeRequest {
            objects: self.with.ports.objects.clone(),
            folder: layout::generation(table, hour, generation, ownership.epoch, &random),
            base: state.files.iter().map(|file| input(&file.key, file.tally)).collect(),
            segments: inputs.segments.iter().map(|(_, one)| input(&one.key, one.tally)).collect(),
            late: inputs.late.iter().map(|(_, one)| input(&one.key, one.tally)).collect(),
            options: self.with.tools.write_of(table),
            meta: meta(&state),
            dedupe: column.clone().map(|column| Dedupe { column, folder: lists }),
            listed: state.duplicate_lists.iter().map(|list| input(&list.key, list.tally)).collect(),
        };
        let merged = parquet::merge(request).await?;
        for file in &merged.files {
            if parquet::read_back(self.with.ports.objects.clone(), file).await? != file.summary.tally {
                let key = &file.key;
                return Err(Failure::crashed(format!("{key}: other rows were read back than were written")));
            }
        }
        if let Some(list) = &merged.list
            && parquet::deep(self.with.ports.objects.clone(), &list.key).await? != merged.duplicates
        {
            return Err(Failure::crashed(format!("{}: other rows are listed than were dropped", list.key)));
        }
        let quarantined = state.quarantined.clone();
        let state = HourState { ownership, ..state };
        let outcome = steps::Outcome { merged, quarantined, lost: None, complete: false, column };
        self.commit(steps::succeed(&state, inputs, outcome)).await
    }

    /// Makes a generation without the person.
    async fn rewrite(&mut self, state: HourState) -> Result<HourState, Failure> {
        let ownership = self.owned(&state).await?;
        let files = state.files.iter().map(|file| Input { key: file.key.clone(), tally: file.tally });
        let request = SiftRequest {
            objects: self.with.ports.objects.clone(),
            folder: layout::generation(
                &state.table,
                state.hour,
                state.generation + 1,
                ownership.epoch,
                &random(),
            ),
            files: files.collect(),
            options: WriteOptions { ids: state.dedupe.clone(), ..self.with.tools.write_of(&state.table) },
            meta: meta(&state),
            sieve: &self.sieve,
        };
        let (files, out) = sift::sift(request).await?;
        crash::point("erase.after-write");
        // Not those that were dropped as duplicates when the hour absorbed them.
        self.rows = out.rows;
        self.report.objects_rewritten += files.len() as u64;
        let files: Vec<GenerationFile> = files.into_iter().map(rebuild::written).collect();
        let (tally, erased) = (state.tally - out, state.erased + out);
        let next = rebuild::succeed(HourState { ownership, tally, erased, ..state }, files);
        let state = self.commit(next).await?;
        crash::point("erase.after-commit");
        Ok(state)
    }

    /// Deletes what was replaced, when it is time, or at once. The catalog, and the manifest of a live table, show the present
    /// generation by then.
    async fn clear(&mut self, mut state: HourState) -> Result<(), Failure> {
        let ports = self.with.ports;
        // A switch that nobody has recorded has no grace that could end.
        let shown = state.catalog.switched_at.is_some()
            && self.shown(&state).await? == state.location()
            && anew::is_let_go(ports, &state).await?;
        if !state.files.is_empty() && !shown {
            let ownership = self.owned(&state).await?;
            rebuild::show(ports, &mut self.cell, HourState { ownership, ..state.clone() }).await?;
            state = self.cell.state().cloned().unwrap_or(state);
        }
        let grace = i64::try_from(self.with.delete_grace.as_millis()).unwrap_or(i64::MAX);
        let over = state.catalog.switched_at.is_some_and(|at| Millis::now().since(at) >= grace);
        if !self.with.now && !over {
            self.report.waiting += state.garbage.len() as u64;
            return Ok(());
        }
        let ownership = self.owned(&state).await?;
        let garbage: BTreeSet<&String> = state.garbage.iter().collect();
        for key in &garbage {
            ports.objects.delete(key).await?;
        }
        crash::point("erase.after-removal");
        self.report.objects_deleted += garbage.len() as u64;
        let next = HourState { ownership, garbage: Vec::new(), ..state.clone() };
        self.cell.replace(next).await.map_err(|failure| busy(&state, failure))
    }

    /// Where the catalog shows the hour; nowhere when it does not know the table.
    async fn shown(&self, state: &HourState) -> Result<Option<String>, Failure> {
        match self.with.ports.catalog.location(&state.table, state.hour).await {
            Err(failure) if failure.class == Class::Rejected => Ok(None),
            outcome => outcome,
        }
    }
}

/// What tells one attempt from all others.
fn random() -> String {
    Uuid::new_v4().simple().to_string()[..12].to_owned()
}

fn meta(state: &HourState) -> Vec<(String, String)> {
    vec![
        ("shardmill.table".to_owned(), state.table.clone()),
        ("shardmill.hour".to_owned(), state.hour.to_string()),
    ]
}

fn busy(state: &HourState, failure: Failure) -> Failure {
    match failure.class {
        Class::Rejected | Class::Fenced => Failure::rejected(format!(
            "a node works on {}/{}: run the same command again later, or with the nodes stopped",
            state.table, state.hour
        )),
        _ => failure,
    }
}
