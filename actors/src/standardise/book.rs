//! The tables in force: read when the node starts, and again whenever what they were read from has changed. A broken new version
//! is told and the last good one stays. A good one comes into force when its schemas are registered. Whoever writes rows takes a new version up at a commit: no file has rows of two.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use shardmill_connectors::failure::{Class, Failure};

use super::Tables;

/// What was found where tables are read from.
#[derive(Debug)]
pub struct Version {
    /// The same for the same texts.
    pub fingerprint: u64,
    /// The tables, or what is wrong with them, one problem a line.
    pub tables: Result<Tables, String>,
}

/// A new version that is good by itself.
#[derive(Debug)]
pub struct Found {
    fingerprint: u64,
    /// The tables.
    pub tables: Tables,
}

/// Where the tables of a stream are read from.
#[async_trait]
pub trait Source: Send + Sync {
    /// What is there now; `None`: what has the fingerprint `known`.
    ///
    /// # Errors
    /// Something cannot be read at the moment.
    async fn read(&self, known: Option<u64>) -> Result<Option<Version>, Failure>;
}

/// Where versions come from.
enum Kept {
    /// There is one.
    Fixed,
    Source(Arc<dyn Source>),
    /// Those of another book, with one of its tables for every event.
    Only {
        of: Arc<TablesBook>,
        table: String,
    },
}

/// The tables of one stream.
pub struct TablesBook {
    kept: Kept,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    tables: Arc<Tables>,
    /// What was judged last; `None` when it could not be read since.
    fingerprint: Option<u64>,
    /// What was found last and not judged yet.
    found: Option<u64>,
    problem: Option<String>,
    /// What `tables` were made from, when they are another book's.
    made_from: Option<Arc<Tables>>,
    /// Every table that events may have gone to.
    fed: BTreeSet<String>,
}

impl fmt::Debug for TablesBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TablesBook").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl TablesBook {
    /// Tables that do not change.
    pub fn fixed(tables: Tables) -> Self {
        TablesBook::with(Kept::Fixed, tables, None)
    }

    /// Tables that were read from `source` when it had this fingerprint, and are read again by [`TablesBook::refresh`].
    pub fn followed(source: Arc<dyn Source>, tables: Tables, fingerprint: u64) -> Self {
        TablesBook::with(Kept::Source(source), tables, Some(fingerprint))
    }

    /// What is in force in `of`, with `table` for every event. While there is no such table, what was there last.
    pub fn only(of: Arc<TablesBook>, table: &str) -> Self {
        let all = of.current();
        let tables = all.get(table).map_or_else(|| all.as_ref().clone(), |one| all.only(one.clone()));
        let book = TablesBook::with(Kept::Only { of, table: table.to_owned() }, tables, None);
        book.inner().made_from = Some(all);
        book
    }

    fn with(kept: Kept, tables: Tables, fingerprint: Option<u64>) -> Self {
        let fed = names(&tables).collect();
        let tables = Arc::new(tables);
        let inner = Inner { tables, fingerprint, found: None, problem: None, made_from: None, fed };
        TablesBook { kept, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables in force. The same `Arc` as long as they are the same.
    pub fn current(&self) -> Arc<Tables> {
        if let Kept::Only { of, table } = &self.kept {
            let (all, mut inner) = (of.current(), self.inner());
            let is_new = inner.made_from.as_ref().is_none_or(|from| !Arc::ptr_eq(from, &all));
            if let Some(one) = all.get(table).filter(|_| is_new) {
                inner.enforce(all.only(one.clone()));
                inner.made_from = Some(all);
            }
        }
        self.inner().tables.clone()
    }

    /// Whether events go to this table, or may have gone there since the node started.
    pub fn feeds(&self, table: &str) -> bool {
        self.current();
        self.inner().fed.contains(table)
    }

    /// What is wrong with the newest version, when it is not in force.
    pub fn problem(&self) -> Option<String> {
        self.inner().problem.clone()
    }

    /// Reads the tables again: a new version that is good by itself, which [`TablesBook::settle`] puts in force. What is found must be
    /// found twice, one time after the other: half of a file that is being written can look like a whole one.
    pub async fn look(&self) -> Option<Found> {
        let Kept::Source(source) = &self.kept else { return None };
        let known = self.inner().fingerprint;
        let found = source.read(known).await;
        let mut inner = self.inner();
        match found {
            Ok(None) => inner.found = None,
            Ok(Some(Version { fingerprint, .. }))
                if inner.found.replace(fingerprint) != Some(fingerprint) => {}
            Ok(Some(Version { fingerprint, tables: Ok(tables) })) => {
                return Some(Found { fingerprint, tables });
            }
            Ok(Some(Version { fingerprint, tables: Err(problem) })) => inner.refuse(fingerprint, problem),
            Err(failure) => inner.put_off(failure),
        }
        None
    }

    /// Puts a version in force, unless its schemas were not admitted.
    pub fn settle(&self, found: Found, admitted: Result<(), Failure>) {
        let (Found { fingerprint, tables }, mut inner) = (found, self.inner());
        match admitted {
            Ok(()) => {
                inner.fingerprint = Some(fingerprint);
                inner.problem = None;
                let named: Vec<String> = names(&tables).collect();
                tracing::info!(tables = %named.join(" "), "new tables are in force");
                inner.enforce(tables);
            }
            Err(failure) if failure.class == Class::Rejected => inner.refuse(fingerprint, failure.detail),
            Err(failure) => inner.put_off(failure),
        }
    }
}

impl Inner {
    fn refuse(&mut self, fingerprint: u64, problem: String) {
        tracing::error!(%problem, "new tables are broken: the last good ones stay in force");
        (self.fingerprint, self.problem) = (Some(fingerprint), Some(problem));
    }

    /// It is looked at again the next time.
    fn put_off(&mut self, failure: Failure) {
        tracing::warn!(problem = %failure.detail, "the tables in force stay");
        (self.fingerprint, self.problem) = (None, Some(failure.detail));
    }

    fn enforce(&mut self, tables: Tables) {
        self.fed.extend(names(&tables));
        self.tables = Arc::new(tables);
    }
}

fn names(tables: &Tables) -> impl Iterator<Item = String> + '_ {
    tables.all().iter().map(|table| table.name.clone())
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::schema::TableSchema;

    use super::*;

    /// A source that says what it is told to say.
    #[derive(Default)]
    struct Said(Mutex<Option<Result<&'static str, &'static str>>>);

    #[async_trait]
    impl Source for Said {
        async fn read(&self, known: Option<u64>) -> Result<Option<Version>, Failure> {
            let said = self.0.lock().unwrap().ok_or_else(|| Failure::transient("nobody is there"))?;
            let fingerprint = said.unwrap_or_else(|wrong| wrong).len() as u64;
            let tables = said.map(|name| Tables::one(name, TableSchema::builtin())).map_err(str::to_owned);
            Ok((known != Some(fingerprint)).then_some(Version { fingerprint, tables }))
        }
    }

    async fn refresh(book: &TablesBook) {
        if let Some(found) = book.look().await {
            book.settle(found, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_version_whose_schemas_are_not_admitted_is_not_in_force() {
        let source = Arc::new(Said(Mutex::new(Some(Ok("bb")))));
        let book = TablesBook::followed(source.clone(), Tables::one("a", TableSchema::builtin()), 1);
        assert!(book.look().await.is_none(), "found once");
        book.settle(book.look().await.unwrap(), Err(Failure::transient("nobody is there")));
        assert_eq!(
            (book.current().rest().name.as_str(), book.problem().as_deref()),
            ("a", Some("nobody is there"))
        );
        book.settle(book.look().await.unwrap(), Err(Failure::rejected("it breaks")));
        assert_eq!(
            (book.current().rest().name.as_str(), book.problem().as_deref()),
            ("a", Some("it breaks"))
        );
        assert!(book.look().await.is_none(), "it was judged");
        *source.0.lock().unwrap() = Some(Ok("ccc"));
        refresh(&book).await;
        refresh(&book).await;
        assert_eq!((book.current().rest().name.as_str(), book.problem()), ("ccc", None));
    }

    #[tokio::test]
    async fn the_last_good_tables_stay_in_force() {
        let source = Arc::new(Said::default());
        let book = TablesBook::followed(source.clone(), Tables::one("a", TableSchema::builtin()), 1);
        let book = Arc::new(book);
        for (said, rest, problem) in [
            (Some(Ok("a")), "a", None),
            (Some(Ok("bb")), "bb", None),
            (Some(Err("wrong")), "bb", Some("wrong")),
            (Some(Err("wrong")), "bb", Some("wrong")),
            (None, "bb", Some("nobody is there")),
            (Some(Err("wrong")), "bb", Some("wrong")),
            (Some(Ok("bb")), "bb", None),
            (Some(Ok("ccc")), "ccc", None),
        ] {
            *source.0.lock().unwrap() = said;
            refresh(&book).await;
            refresh(&book).await;
            assert_eq!((book.current().rest().name.as_str(), book.problem().as_deref()), (rest, problem));
        }
        assert!(["a", "bb", "ccc"].iter().all(|table| book.feeds(table)) && !book.feeds("wrong"));
    }

    #[tokio::test]
    async fn what_is_there_for_a_moment_is_not_meant() {
        let source = Arc::new(Said::default());
        let book = TablesBook::followed(source.clone(), Tables::one("a", TableSchema::builtin()), 1);
        for said in [Ok("bb"), Ok("a"), Ok("bb"), Err("half"), Ok("a"), Ok("bb")] {
            *source.0.lock().unwrap() = Some(said);
            refresh(&book).await;
            assert_eq!((book.current().rest().name.as_str(), book.problem()), ("a", None), "{said:?}");
        }
        refresh(&book).await;
        assert_eq!(book.current().rest().name, "bb");
    }

    #[tokio::test]
    async fn what_has_not_changed_is_the_same_version() {
        let source = Arc::new(Said(Mutex::new(Some(Ok("a")))));
        let book = TablesBook::followed(source.clone(), Tables::one("a", TableSchema::builtin()), 1);
        let (book, before) = (Arc::new(book), Tables::one("a", TableSchema::builtin()));
        let only = TablesBook::only(book.clone(), "a");
        let (first, of_only) = (book.current(), only.current());
        refresh(&book).await;
        assert!(Arc::ptr_eq(&first, &book.current()) && Arc::ptr_eq(&of_only, &only.current()));
        assert_eq!(of_only.rest(), before.rest());
        *source.0.lock().unwrap() = Some(Ok("bb"));
        refresh(&book).await;
        refresh(&book).await;
        assert_eq!(book.current().rest().name, "bb");
        assert_eq!(only.current().rest().name, "a", "it is gone: what was there last stays");
    }
}
