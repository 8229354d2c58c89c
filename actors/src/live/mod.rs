//! Live tables: beside its hourly table a table may have a second one, `<table>_live`, that shows what is committed and not compacted
//! yet, too. Each row is in it once.
//!
//! Each hour's partition is a folder that is registered once and holds one object, the manifest: the names of the files of the hour's
//! present generation and of the segments that this generation has not absorbed. One write of that object takes readers from
//! one such set of files to the next, a new generation included: a query reads it once, while it is planned.
//!
//! ```text
//! hour/live/     the owner of an hour keeps its manifest        plan.rs   when it is written, decided
//! anew.rs        the same where nobody owns the hour            mod.rs    the store of manifests
//! ```
//!
//! **Nothing goes back.** A manifest is written by compare-and-set over the very one that was read before the lists of segments were, and
//! these before the hour's document, which must still name the writer as its owner: so one that is replaced never names a row that the
//! new one misses. The late word of a node that has lost the hour was said about an older manifest, and is refused by the store.
//!
//! **Nothing goes too early.** A generation's grace begins after the manifest names it; before replaced files are deleted, the manifest is
//! read again: while it names one of them it is written anew, and the grace begins anew.
//!
//! **What it costs.** One PUT and one GET (of the hour's document) for each change, at most one every [`every`](Live::every) and hour,
//! $0.005 and $0.0004 a thousand on S3: a table whose rows come all the time into one hour costs $1.40 a month when that is 10 s, $0.23
//! when it is 60 s. One GET every five minutes and hour that is open, three to five statements of DDL for each hour, none for a change.
//! Queries read at most as many files more as an hour gets before it is compacted: a segment for each shard and flush, until it is
//! crowded.

pub mod anew;
pub mod plan;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;
use shardmill_connectors::ports::{Catalog, Documents, LakeFile, Tag, Written};

/// Where manifests are kept, and of which tables.
#[derive(Debug, Clone)]
pub struct Live {
    /// The lake's place, as a store of texts that are changed by compare-and-set.
    pub texts: Arc<dyn Documents>,
    /// What the names of files are relative to, as the engine names it: `s3://bucket/prefix`, without a slash at its end.
    pub root: String,
    /// Whether tables are live that do not say themselves.
    pub by_default: bool,
    /// Whether those are that do.
    pub by_table: BTreeMap<String, bool>,
    /// The shortest time between two writes of one manifest, a new generation aside.
    pub every: Duration,
}

/// A manifest, as it was read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The names of the files; one that is not below the lake's place is a whole URL.
    pub files: Vec<String>,
    /// The state it is in.
    pub tag: Tag,
}

/// The names of files, in the order of a manifest.
pub fn names(files: &[LakeFile]) -> Vec<String> {
    files.iter().map(|file| file.key.clone()).collect()
}

impl Live {
    /// Whether hours of `table` are opened in its live table. Those that were stay there.
    pub fn shows(&self, table: &str) -> bool {
        self.by_table.get(table).copied().unwrap_or(self.by_default)
    }

    /// The manifest of an hour, if there is one.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn read(&self, table: &str, hour: Hour) -> Result<Option<Manifest>, Failure> {
        let found = self.texts.read(&layout::manifest(table, hour)).await?;
        Ok(found.map(|found| Manifest { files: self.parse(&found.body), tag: found.tag }))
    }

    /// Writes the manifest of an hour over `there`; `None` when that is not there any more.
    ///
    /// # Errors
    /// What the store raises: it is unknown then whether it was written.
    pub async fn write(
        &self,
        (table, hour): (&str, Hour),
        files: Vec<String>,
        there: Option<&Manifest>,
    ) -> Result<Option<Manifest>, Failure> {
        let key = layout::manifest(table, hour);
        let body = self.text(&files);
        match self.texts.write(&key, body.into(), there.map(|there| &there.tag)).await? {
            Written::Done(tag) => Ok(Some(Manifest { files, tag })),
            Written::Conflict => Ok(None),
        }
    }

    /// Removes the manifest of an hour that has no rows any more.
    ///
    /// # Errors
    /// `Transient` when somebody writes it at the same moment; what the store raises.
    pub async fn remove(&self, table: &str, hour: Hour) -> Result<(), Failure> {
        let Some(there) = self.read(table, hour).await? else { return Ok(()) };
        let key = layout::manifest(table, hour);
        match self.texts.delete(&key, &there.tag).await? {
            Written::Done(_) => Ok(()),
            Written::Conflict => Err(Failure::transient(format!("{key} was written while it was removed"))),
        }
    }

    /// Shows the hour in the live table, if it is not shown there. Its manifest should be there first.
    ///
    /// # Errors
    /// What the catalog raises; `Transient` when it does not show the partition yet.
    pub async fn register(
        &self,
        catalog: &dyn Catalog,
        (table, hour): (&str, Hour),
        columns: &SchemaRef,
    ) -> Result<(), Failure> {
        let (live, folder) = (layout::live_table(table), layout::live(table, hour));
        catalog.ensure_manifests(&live, &layout::live_folder(table), columns).await?;
        catalog.set_location(&live, hour, &folder).await?;
        match catalog.location(&live, hour).await?.as_ref() == Some(&folder) {
            true => Ok(()),
            false => Err(Failure::transient(format!("the catalog does not show {live}/{hour} yet"))),
        }
    }

    /// Gives the live table columns that its files are about to have, unless it is shown no more.
    ///
    /// # Errors
    /// What the catalog raises.
    pub async fn fit(&self, catalog: &dyn Catalog, table: &str, columns: &SchemaRef) -> Result<(), Failure> {
        if !self.shows(table) {
            return Ok(());
        }
        catalog.ensure_manifests(&layout::live_table(table), &layout::live_folder(table), columns).await
    }

    fn text(&self, files: &[String]) -> String {
        let line = |file: &String| match file.contains("://") {
            true => format!("{file}\n"),
            false => format!("{}/{file}\n", self.root),
        };
        files.iter().map(line).collect()
    }

    fn parse(&self, body: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(body);
        let name = |line: &str| {
            let inside = line.strip_prefix(self.root.as_str()).and_then(|rest| rest.strip_prefix('/'));
            inside.unwrap_or(line).to_owned()
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::live;
    use super::*;

    fn hour() -> Hour {
        "2026-11-21T07".parse().unwrap()
    }

    #[tokio::test]
    async fn a_manifest_names_files_as_the_engine_does_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let live = live(folder.path());
        assert_eq!(live.read("t", hour()).await.unwrap(), None);
        let files = vec!["tables/t/g1/part-0000.parquet".to_owned(), "segments/web/0/1-a.parquet".to_owned()];
        let first = live.write(("t", hour()), files.clone(), None).await.unwrap().unwrap();
        let text = live.texts.read(&layout::manifest("t", hour())).await.unwrap().unwrap().body;
        let wanted =
            "s3://acme/lake/tables/t/g1/part-0000.parquet\ns3://acme/lake/segments/web/0/1-a.parquet\n";
        assert_eq!(text, wanted);
        assert_eq!(live.read("t", hour()).await.unwrap(), Some(first.clone()));
        let elsewhere = live.write(("t", hour()), vec!["s3://other/x".to_owned()], Some(&first)).await;
        let elsewhere = elsewhere.unwrap().unwrap();
        assert_eq!(live.read("t", hour()).await.unwrap(), Some(elsewhere));
    }

    #[tokio::test]
    async fn what_was_said_about_an_older_manifest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let live = live(folder.path());
        let file = |name: &str| vec![name.to_owned()];
        let first = live.write(("t", hour()), file("a"), None).await.unwrap();
        let second = live.write(("t", hour()), file("b"), first.as_ref()).await.unwrap();
        for zombie in [None, first.as_ref()] {
            assert_eq!(live.write(("t", hour()), file("z"), zombie).await.unwrap(), None);
        }
        assert_eq!(live.read("t", hour()).await.unwrap(), second);
        live.remove("t", hour()).await.unwrap();
        live.remove("t", hour()).await.unwrap();
        assert_eq!(live.write(("t", hour()), file("z"), second.as_ref()).await.unwrap(), None);
        assert_eq!(live.read("t", hour()).await.unwrap(), None);
    }

    #[test]
    fn a_table_says_itself_or_is_as_all_are() {
        let folder = tempfile::tempdir().unwrap();
        let by_table = BTreeMap::from([("off".to_owned(), false), ("on".to_owned(), true)]);
        let all = Live { by_table, ..live(folder.path()) };
        assert!(all.shows("any") && all.shows("on") && !all.shows("off"));
        let none = Live { by_default: false, ..all };
        assert!(!none.shows("any") && none.shows("on"));
    }
}
