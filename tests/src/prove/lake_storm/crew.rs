//! Those who replay, edit and redrive without a pause, as people with a command line do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use shardmill_connectors::Millis;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::script;
use crate::harness::{Setup, client};

/// Between two commands.
const PAUSE: Duration = Duration::from_millis(50);
/// How far around now a replay goes.
const AROUND_MS: i64 = 2 * 3_600_000;

/// The commands, on files of their own: a node that starts writes its configuration anew.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    data_dir: String,
    config: String,
    schema: PathBuf,
}

/// What commands have told, summed up.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// How many have run.
    pub(super) runs: u64,
    sums: BTreeMap<String, u64>,
}

impl Totals {
    fn add(&mut self, told: &Value) {
        self.runs += 1;
        for (name, value) in told.as_object().into_iter().flatten() {
            if let Some(count) = value.as_u64() {
                *self.sums.entry(name.clone()).or_default() += count;
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let runs = std::iter::once(("runs".to_owned(), self.runs.into()));
        let sums = self.sums.iter().map(|(name, sum)| (name.clone(), (*sum).into()));
        Value::Object(runs.chain(sums).collect::<Map<_, _>>())
    }
}

impl Commands {
    pub(super) fn new(setup: &Setup, schema: PathBuf) -> Result<Commands, String> {
        let config = setup.data_dir.with_extension("commands.toml");
        let text = setup.config.clone().unwrap_or_default();
        std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let (data_dir, config) = (setup.data_dir.display().to_string(), config.display().to_string());
        Ok(Commands { data_dir, config, schema })
    }

    /// Puts a version of the schema in the place of the one before, whole.
    pub(super) fn schema(&self, version: u64) -> Result<(), String> {
        let new = self.schema.with_extension("new");
        std::fs::write(&new, script::schema(version).to_string())
            .and_then(|()| std::fs::rename(&new, &self.schema))
            .map_err(|error| format!("{}: {error}", self.schema.display()))
    }

    /// Replays what arrived in the hours around now.
    pub(super) async fn replay(&self) -> Result<Value, String> {
        let moment = |shift: i64| Millis::now().plus(shift).to_string();
        self.run(&["replay", "--from", &moment(-AROUND_MS), "--to", &moment(AROUND_MS)]).await
    }

    /// Mends the torn events among the letters.
    pub(super) async fn edit(&self) -> Result<Value, String> {
        self.run(&["dlq", "edit", "--patch", script::PATCH, "--event", "Torn"]).await
    }

    /// Redrives all letters.
    pub(super) async fn redrive(&self) -> Result<Value, String> {
        self.run(&["dlq", "redrive"]).await
    }

    async fn run(&self, words: &[&str]) -> Result<Value, String> {
        let rest = ["--json", "-c", &self.config, "--data-dir", &self.data_dir];
        let done = client::run(&[words, &rest].concat()).await?;
        done.json().map_err(|error| format!("{}: {error}", words.join(" ")))
    }
}

/// What the crew has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) replays: Totals,
    pub(super) edits: Totals,
    pub(super) redrives: Totals,
}

/// Two people at work.
pub(super) struct Crew {
    /// Whether a replay is under way.
    pub(super) replaying: watch::Receiver<bool>,
    /// Whether a redrive is under way.
    pub(super) redriving: watch::Receiver<bool>,
    enough: Arc<watch::Sender<bool>>,
    replays: JoinHandle<Result<Totals, String>>,
    mending: JoinHandle<Result<(Totals, Totals), String>>,
}

impl Crew {
    pub(super) fn start(commands: &Commands) -> Crew {
        let enough = Arc::new(watch::channel(false).0);
        let (busy, replaying) = watch::channel(false);
        let replays = tokio::spawn(replay(commands.clone(), busy, enough.clone()));
        let (busy, redriving) = watch::channel(false);
        let mending = tokio::spawn(mend(commands.clone(), busy, enough.clone()));
        Crew { replaying, redriving, enough, replays, mending }
    }

    /// Lets everybody finish what is begun.
    pub(super) async fn enough(self) -> Result<Done, String> {
        self.enough.send_replace(true);
        let replays = self.replays.await.map_err(|error| error.to_string())??;
        let (edits, redrives) = self.mending.await.map_err(|error| error.to_string())??;
        Ok(Done { replays, edits, redrives })
    }
}

async fn replay(
    commands: Commands,
    busy: watch::Sender<bool>,
    enough: Arc<watch::Sender<bool>>,
) -> Result<Totals, String> {
    let mut replays = Totals::default();
    while !*enough.borrow() {
        busy.send_replace(true);
        replays.add(&commands.replay().await?);
        busy.send_replace(false);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(replays)
}

async fn mend(
    commands: Commands,
    busy: watch::Sender<bool>,
    enough: Arc<watch::Sender<bool>>,
) -> Result<(Totals, Totals), String> {
    let (mut edits, mut redrives) = (Totals::default(), Totals::default());
    while !*enough.borrow() {
        edits.add(&commands.edit().await?);
        busy.send_replace(true);
        redrives.add(&commands.redrive().await?);
        busy.send_replace(false);
        tokio::time::sleep(PAUSE).await;
    }
    Ok((edits, redrives))
}
