//! The manifest of an hour, in the hands of its owner: see [`crate::live`].
//!
//! It is brought up to date before the next step is chosen; a step that lets files go waits for it. What the live table cannot have
//! (Athena is away, a column does not fit) is told, and keeps the hour's own table from nothing.

use std::time::{Duration, Instant};

use shardmill_cluster::cell;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::ports::LakeFile;

use super::Compactor;
use crate::lake;
use crate::live::plan::{self, Due, Facts};
use crate::live::{Live, Manifest, names};
use crate::state::HourState;
use crate::world::{Inputs, World};

/// How old what is known of a manifest may become before it is read again: somebody else's hand may have changed it.
const REREAD: Duration = Duration::from_secs(300);
/// How long after a failure the live table is asked again to have the hour.
const OPEN_AGAIN: Duration = Duration::from_secs(60);

/// What the owner knows of the manifest.
#[derive(Debug)]
struct Kept {
    /// As it was read or written last.
    there: Option<Manifest>,
    /// When it was read. Lists of segments that were read before may be older than it is.
    read_at: Instant,
}

/// The manifest, and when things were done about it.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    kept: Option<Kept>,
    written_at: Option<Instant>,
    refused_at: Option<Instant>,
}

/// How the hour is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As it should be, if it should be at all.
    Well,
    /// As it should be, and its document was written: the next step begins with that.
    Opened,
    /// Not yet: looked at again after this time. Until then nothing is let go.
    Waits(Duration),
}

impl Compactor {
    /// Where manifests are, when this hour is to have one.
    fn live(&self, state: &HourState) -> Option<Live> {
        let live = self.shared.ports.live.as_ref()?;
        (state.live || live.shows(&self.table)).then(|| live.clone())
    }

    /// How long the hour may sleep while it is shown, or is not.
    pub(super) fn nap(&self, state: &HourState) -> Duration {
        let look = self.live(state).map(|_| self.shared.schedule.look);
        look.map_or(super::LOOK, |look| look.min(super::LOOK))
    }

    /// Brings the manifest up to date, and opens the hour in the live table once there is something to show.
    pub(super) async fn show(
        &mut self,
        world: &World,
        state: &HourState,
        inputs: &Inputs,
    ) -> Result<Shown, Failure> {
        let Some(live) = self.live(state).filter(|_| state.expired_at.is_none()) else {
            return Ok(Shown::Well);
        };
        let files = lake::files(state, inputs);
        let shown = self.keep(&live, world, (state, &files)).await;
        if shown.is_err() {
            // Whether it was written is not known.
            self.keeping.kept = None;
        }
        match shown? {
            Shown::Well if !state.live && !files.is_empty() => self.open(&live, state, &files).await,
            shown => Ok(shown),
        }
    }

    async fn keep(
        &mut self,
        live: &Live,
        world: &World,
        (state, files): (&HourState, &[LakeFile]),
    ) -> Result<Shown, Failure> {
        let wanted = names(files);
        let written_at = self.keeping.written_at;
        let kept = self.kept(live).await?;
        let there = kept.there.as_ref().map(|there| there.files.as_slice());
        let due = plan::next(Facts {
            wanted: &wanted,
            there,
            fresh: world.as_of.is_some_and(|as_of| as_of >= kept.read_at),
            age: written_at.map(|at| at.elapsed()),
            every: live.every,
            urgent: plan::is_urgent(state),
        });
        let look = self.nap(state);
        match due {
            Due::Nothing => Ok(Shown::Well),
            Due::Reading => Ok(Shown::Waits(look)),
            Due::Later(wait) => Ok(Shown::Waits(wait.min(look))),
            Due::Write if self.write(live, wanted).await? => Ok(Shown::Well),
            Due::Write => Ok(Shown::Waits(look)),
        }
    }

    /// Writes it over the one that is known. `false`: that is not there any more.
    async fn write(&mut self, live: &Live, wanted: Vec<String>) -> Result<bool, Failure> {
        self.confirm().await?;
        self.shared.cluster.may_act()?;
        let there = self.keeping.kept.as_ref().and_then(|kept| kept.there.as_ref());
        let written = live.write((&self.table, self.hour), wanted, there).await?;
        match (written, &mut self.keeping.kept) {
            (Some(written), Some(kept)) => {
                tracing::debug!(table = %self.table, hour = %self.hour, files = written.files.len(), "manifest written");
                (kept.there, self.keeping.written_at) = (Some(written), Some(Instant::now()));
                Ok(true)
            }
            (_, kept) => {
                *kept = None;
                Ok(false)
            }
        }
    }

    /// Whether the hour is still this node's, by its document, which is read after the manifest and the shards: what a node would write that
    /// has lost the hour without knowing may miss what the next owner has absorbed by now.
    ///
    /// # Errors
    /// `Fenced` when it is not.
    async fn confirm(&self) -> Result<(), Failure> {
        let key = layout::documents::hour(&self.table, self.hour);
        let mine = self.cell.as_ref().and_then(|cell| cell.state()).map(|state| state.ownership.clone());
        let there = cell::read::<HourState>(self.shared.ports.documents.as_ref(), &key).await?;
        match there.map(|there| there.ownership) == mine {
            true => Ok(()),
            false => Err(Failure::fenced(format!("{key} is another's by now"))),
        }
    }

    /// What is known of the manifest, read where that is nothing or old.
    async fn kept(&mut self, live: &Live) -> Result<&Kept, Failure> {
        let known = self.keeping.kept.take().filter(|kept| kept.read_at.elapsed() < REREAD);
        let kept = match known {
            Some(kept) => kept,
            None => Kept { there: live.read(&self.table, self.hour).await?, read_at: Instant::now() },
        };
        Ok(self.keeping.kept.insert(kept))
    }

    /// Shows the hour's partition in the live table, and writes that down.
    async fn open(&mut self, live: &Live, state: &HourState, files: &[LakeFile]) -> Result<Shown, Failure> {
        if self.keeping.refused_at.is_some_and(|at| at.elapsed() < OPEN_AGAIN) {
            return Ok(Shown::Well);
        }
        let ports = self.shared.ports.clone();
        let today = self.shared.schema_of(&self.table);
        let registered = async {
            let columns = lake::columns(&ports, (&self.table, today.as_deref()), files).await?;
            self.shared.cluster.may_act()?;
            live.register(ports.catalog.as_ref(), (&self.table, self.hour), &columns).await
        };
        if let Err(failure) = registered.await {
            tracing::warn!(
                table = %layout::live_table(&self.table), hour = %self.hour, %failure,
                "the live table has not got the hour yet; its own table does not wait for that"
            );
            self.keeping.refused_at = Some(Instant::now());
            return Ok(Shown::Well);
        }
        self.take().await?.replace(HourState { live: true, ..state.clone() }).await?;
        Ok(Shown::Opened)
    }

    /// Whether the manifest, read again, names nothing that is about to be deleted.
    pub(super) async fn is_let_go(&mut self, state: &HourState) -> Result<bool, Failure> {
        let Some(live) = self.live(state) else { return Ok(true) };
        self.keeping.kept = None;
        let there = self.kept(&live).await?.there.as_ref();
        Ok(there.is_none_or(|there| !plan::names_garbage(&there.files, state)))
    }

    /// Takes an hour that is over out of the live table.
    pub(super) async fn hide(&mut self, state: &HourState) -> Result<(), Failure> {
        let Some(live) = self.live(state) else { return Ok(()) };
        self.keeping.kept = None;
        live.remove(&self.table, self.hour).await?;
        if state.live {
            let table = layout::live_table(&self.table);
            self.shared.ports.catalog.drop_partition(&table, self.hour).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
