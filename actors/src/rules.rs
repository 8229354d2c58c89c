//! Routing rules in force: read when the node starts, and again whenever their text has changed. A broken new version is
//! told and the last good one stays.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::Value;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Text;
use shardmill_connectors::routing::{RuleProblem, Rules};

use crate::shared::Shared;
use crate::supervision::{Body, ChildSpec, Next, Worker};
use crate::tree::Kind;

#[derive(Debug)]
struct Inner {
    rules: Arc<Rules>,
    text: String,
    problem: Option<String>,
}

/// The rules of one stream.
#[derive(Debug)]
pub struct RulesBook {
    source: Option<Arc<dyn Text>>,
    inner: Mutex<Inner>,
}

impl RulesBook {
    /// No rules: every event goes to every destination.
    pub fn everything() -> Self {
        let inner = Inner { rules: Arc::new(Rules::everything()), text: String::new(), problem: None };
        RulesBook { source: None, inner: Mutex::new(inner) }
    }

    /// Rules whose text, as it is now at `source`, has been read.
    ///
    /// # Errors
    /// What is wrong with them: there is no good version to go on with.
    pub fn new(source: Arc<dyn Text>, text: String) -> Result<Self, Vec<RuleProblem>> {
        let inner = Inner { rules: Arc::new(Rules::parse(&text)?), text, problem: None };
        Ok(RulesBook { source: Some(source), inner: Mutex::new(inner) })
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
        let problem = match source.read().await {
            Ok(text) if text == self.inner().text => None,
            Ok(text) => {
                let parsed = parse(source.as_ref(), &text);
                let mut inner = self.inner();
                inner.text = text;
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
                return;
            }
            Err(failure) => Some(format!("{} cannot be read: {failure}", source.name())),
        };
        if let Some(problem) = problem {
            tracing::warn!(%problem, "the rules in force stay");
            self.inner().problem = Some(problem);
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

/// The actor that looks at the rules, as a child of the root.
pub fn spec(shared: &Shared) -> ChildSpec {
    let shared = shared.clone();
    let make = move || {
        let watcher = Watcher { shared: shared.clone() };
        async move { Ok(Box::new(watcher) as Box<dyn Worker>) }.boxed()
    };
    ChildSpec {
        name: "rules".into(),
        kind: Kind::Rules,
        body: Body::Worker(Arc::new(make)),
        view: Arc::new(|| Value::Null),
    }
}

struct Watcher {
    shared: Shared,
}

#[async_trait]
impl Worker for Watcher {
    async fn step(&mut self) -> Result<Next, Failure> {
        for stream in self.shared.streams.values() {
            stream.rules.refresh().await;
        }
        Ok(Next::After(self.shared.schedule.look_seldom()))
    }
}
