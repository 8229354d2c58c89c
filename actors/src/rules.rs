//! Routing rules in force: read when the node starts, and again whenever their text has changed. A broken new version is
//! told and the last good one stays. The same actor looks at the [tables](crate::standardise::TablesBook).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Map, Value};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Text;
use shardmill_connectors::routing::{RuleProblem, Rules};

use crate::schemas;
use crate::shared::Shared;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;

#[derive(Debug)]
struct Inner {
    rules: Arc<Rules>,
    /// The text that was judged last; `None` when it could not be read since.
    text: Option<String>,
    problem: Option<String>,
}

/// What else must hold of rules before they are in force: whatever is wrong with them, one problem a line.
pub type Judge = Box<dyn Fn(&Rules) -> Result<(), String> + Send + Sync>;

/// The rules of one stream.
pub struct RulesBook {
    source: Option<Arc<dyn Text>>,
    judge: Judge,
    inner: Mutex<Inner>,
}

impl fmt::Debug for RulesBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, inner) = (&self.source, &self.inner);
        f.debug_struct("RulesBook").field("source", source).field("inner", inner).finish_non_exhaustive()
    }
}

impl RulesBook {
    /// No rules: every event goes to every destination.
    pub fn everything() -> Self {
        let inner = Inner { rules: Arc::new(Rules::everything()), text: None, problem: None };
        RulesBook { source: None, judge: Box::new(|_| Ok(())), inner: Mutex::new(inner) }
    }

    /// Rules whose text, as it is now at `source`, has been read and was judged; `judge` is asked about later versions.
    ///
    /// # Errors
    /// What is wrong with them: there is no good version to go on with.
    pub fn new(source: Arc<dyn Text>, text: String, judge: Judge) -> Result<Self, Vec<RuleProblem>> {
        let rules = Arc::new(Rules::parse(&text)?);
        let inner = Inner { rules, text: Some(text), problem: None };
        Ok(RulesBook { source: Some(source), judge, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules in force.
    pub fn current(&self) -> Arc<Rules> {
        self.inner().rules.clone()
    }

    /// What is wrong with the newest version, when it is not in force.
    pub fn problem(&self) -> Option<String> {
        self.inner().problem.clone()
    }

    /// Looks at the text again and puts it in force when it has changed and is good.
    pub async fn refresh(&self) {
        let Some(source) = &self.source else { return };
        let text = match source.read().await {
            Ok(text) if self.inner().text.as_ref() == Some(&text) => return,
            Ok(text) => text,
            Err(failure) => {
                tracing::warn!(problem = %failure.detail, "the rules in force stay");
                let mut inner = self.inner();
                (inner.problem, inner.text) = (Some(failure.detail), None);
                return;
            }
        };
        let parsed = parse(source.as_ref(), &text).and_then(|rules| (self.judge)(&rules).map(|()| rules));
        let mut inner = self.inner();
        inner.text = Some(text);
        match parsed {
            Ok(rules) => {
                inner.rules = Arc::new(rules);
                inner.problem = None;
                tracing::info!(rules = %source.name(), "new rules are in force");
            }
            Err(problem) => {
                tracing::error!(%problem, "new rules are broken: the last good ones stay in force");
                inner.problem = Some(problem);
            }
        }
    }
}

fn parse(source: &dyn Text, text: &str) -> Result<Rules, String> {
    Rules::parse(text).map_err(|problems| {
        let line = |problem: RuleProblem| {
            format!("{}:{}: {}; {}", source.name(), problem.line, problem.message, problem.fix)
        };
        problems.into_iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// The actor that looks at the rules and at the tables, as a child of the root. It shows the version of each table's schema.
pub fn spec(shared: &Shared) -> ChildSpec {
    let (shared, shown) = (shared.clone(), shared.clone());
    let make = move || {
        let watcher = Watcher { shared: shared.clone() };
        async move { Ok(Box::new(watcher) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec {
        name: "rules".into(),
        kind: Kind::Rules,
        body: Body::Worker(Arc::new(make)),
        view: Arc::new(move || versions(&shown)),
    }
}

fn versions(shared: &Shared) -> Value {
    let mut versions = Map::new();
    for stream in shared.streams.values() {
        for table in stream.tables.current().all() {
            versions.insert(table.name.clone(), table.schema.version().into());
        }
    }
    Value::Object(versions)
}

struct Watcher {
    shared: Shared,
}

#[async_trait]
impl Worker for Watcher {
    async fn step(&mut self) -> Result<Next, Failure> {
        for stream in self.shared.streams.values() {
            stream.rules.refresh().await;
            if let Some(found) = stream.tables.look().await {
                let admitted = schemas::admit(&self.shared.ports, &found.tables).await;
                stream.tables.settle(found, admitted);
            }
        }
        Ok(Next::After(self.shared.schedule.look_seldom()))
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::embedded::EmbeddedObjects;
    use shardmill_connectors::ports::{Objects, TextFile, TextObject};

    use super::*;

    fn in_force(book: &RulesBook) -> Vec<String> {
        book.current().destinations().into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn rule(destination: &str) -> String {
        format!("[{{\"destination_name\": \"{destination}\"}}]")
    }

    /// What is told, for each text that is found one after the other; `None`: it is gone.
    async fn follow(source: Arc<dyn Text>, mut write: impl AsyncFnMut(Option<&str>)) {
        let name = source.name();
        let shown = name.clone();
        let judge = move |rules: &Rules| match rules.destinations().iter().any(|(name, _)| *name == "nobody")
        {
            true => Err(format!("{shown}: nobody is to get anything")),
            false => Ok(()),
        };
        let text = source.read().await.unwrap();
        let book = RulesBook::new(source.clone(), text, Box::new(judge)).unwrap();
        for (text, expected, problem) in [
            (Some(rule("a")), "a", None),
            (Some(rule("b")), "b", None),
            (Some("[7]".to_owned()), "b", Some("rule 0 is not an object")),
            (Some("[7]".to_owned()), "b", Some("rule 0 is not an object")),
            (None, "b", Some("cannot be read")),
            (None, "b", Some("cannot be read")),
            (Some("[7]".to_owned()), "b", Some("rule 0 is not an object")),
            (None, "b", Some("cannot be read")),
            (Some(rule("nobody")), "b", Some("nobody is to get anything")),
            (Some(rule("b")), "b", None),
            (Some(rule("c")), "c", None),
        ] {
            write(text.as_deref()).await;
            book.refresh().await;
            assert_eq!(in_force(&book), [expected], "{text:?}");
            let told = book.problem();
            assert_eq!(told.is_some(), problem.is_some(), "{text:?}: {told:?}");
            if let (Some(told), Some(problem)) = (told, problem) {
                assert!(told.contains(problem) && told.contains(&name), "{text:?}: {told}");
            }
        }
    }

    #[tokio::test]
    async fn the_last_good_rules_of_an_object_stay_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        let key = "config/rules.json";
        objects.put(key, rule("a").into()).await.unwrap();
        let source = TextObject::new(objects.clone(), key, "lake://config/rules.json");
        follow(Arc::new(source), async |text| {
            objects.delete(key).await.unwrap();
            if let Some(text) = text {
                objects.put(key, text.to_owned().into()).await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn the_last_good_rules_of_a_file_stay_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.json");
        std::fs::write(&path, rule("a")).unwrap();
        follow(Arc::new(TextFile(path.clone())), async |text| match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap_or_default(),
        })
        .await;
    }

    #[tokio::test]
    async fn an_object_that_is_no_text_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Arc::new(EmbeddedObjects::open(folder.path()).unwrap());
        objects.put("r", vec![0xff, 0xfe].into()).await.unwrap();
        let told = TextObject::new(objects, "r", "lake://r").read().await.unwrap_err();
        assert!(told.detail.contains("lake://r") && told.detail.contains("no text"), "{told}");
    }
}
