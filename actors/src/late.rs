//! How a late source is made: an attempt uploads everything under a name of its own, and *creating* the source's manifest commits it.
//! Whoever comes second adopts what is there; what no manifest names is swept.

use std::sync::Arc;
use std::time::Duration;

use shardmill_cluster::clock::{BootTime, Clock, Moment};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::ports::Documents;
use uuid::Uuid;

use crate::state::Manifest;

/// No attempt commits after this time: the [sweeper](crate::sweeper) may take what it has uploaded for abandoned after twice as long.
pub(crate) const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// An attempt at a source.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    source: String,
    folder: String,
    since: Moment,
}

impl Attempt {
    /// An attempt at `source` that begins now.
    pub(crate) fn new(source: &str) -> Self {
        let folder = layout::late(source, &Uuid::new_v4().simple().to_string());
        Attempt { source: source.to_owned(), folder, since: BootTime.now() }
    }

    /// The source's name.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Where it uploads to, and nobody else.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    /// Creates the manifest, or adopts the one that exists; whether it was created.
    ///
    /// # Errors
    /// `Transient` when the attempt has lasted so long that its uploads may be gone; what the store raises.
    pub(crate) async fn commit(
        &self,
        documents: &Arc<dyn Documents>,
        manifest: Manifest,
    ) -> Result<(Manifest, bool), Failure> {
        let mut cell: Cell<Manifest> =
            Cell::load(documents.clone(), layout::documents::late(&self.source)).await?;
        if let Some(adopted) = cell.state() {
            return Ok((adopted.clone(), false));
        }
        self.in_time(BootTime.now())?;
        match cell.replace(manifest.clone()).await {
            Ok(()) => Ok((manifest, true)),
            Err(failure) if failure.class == Class::Fenced => {
                cell.state().cloned().map(|adopted| (adopted, false)).ok_or(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    fn in_time(&self, now: Moment) -> Result<(), Failure> {
        match now.since(self.since) {
            took if took < LONGEST => Ok(()),
            took => Err(Failure::transient(format!(
                "the late source {} took {} h, and what it has uploaded may have been swept meanwhile: nothing was committed, do it again",
                self.source,
                took.as_secs() / 3_600
            ))),
        }
    }
}

/// The manifest of a source, if there is one.
///
/// # Errors
/// What the store raises.
pub(crate) async fn known(documents: &Arc<dyn Documents>, source: &str) -> Result<Option<Manifest>, Failure> {
    cell::read(documents.as_ref(), &layout::documents::late(source)).await
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::embedded::EmbeddedDocuments;

    use super::*;

    #[tokio::test]
    async fn an_attempt_that_took_too_long_commits_nothing_and_may_adopt() {
        let folder = tempfile::tempdir().unwrap();
        let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(folder.path()).unwrap());
        let manifest = |through| Manifest { source: "s".into(), through, ..Manifest::default() };
        let young = Attempt::new("s");
        let old = Attempt { since: Moment::default(), ..Attempt::new("s") };
        // The machine of this test may have been booted just now.
        assert!(old.in_time(Moment::at(LONGEST)).is_err() && old.in_time(Moment::default()).is_ok());
        let told = old.in_time(Moment::at(LONGEST * 2)).unwrap_err();
        assert!(told.class == Class::Transient && told.detail.contains("took 24 h"), "{told}");
        assert!(known(&documents, "s").await.unwrap().is_none());
        assert_ne!(young.folder(), old.folder());

        let (made, created) = young.commit(&documents, manifest(Some(1))).await.unwrap();
        assert!(created && made.through == Some(1));
        let (adopted, created) = old.commit(&documents, manifest(Some(2))).await.unwrap();
        assert!(!created && adopted == made, "what is there is adopted, however late");
    }
}
