//! A good lake with something of everything in it: generations and what they came from, fresh segments, late rows, dead letters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use bytes::Bytes;
use serde_json::{Value, json};
use shardmill_connectors::embedded::{CatalogStore, EmbeddedCatalog, EmbeddedDocuments, EmbeddedObjects};
use shardmill_connectors::ports::{Catalog, Documents, Objects};
use shardmill_connectors::{Hour, Millis};

use crate::harness::{Cli, Feed, Node, Setup};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// The table, and the stream.
pub(super) const TABLE: &str = "events";
/// Graces long enough that nothing is deleted, and no running hour closed, while faults are planted.
const CONFIG: &str = r#"
backend = "embedded"
[streams.events]
shards = 2
partition_by = "event"
schema = SCHEMA
[lake]
flush = { every = "200ms" }
late_grace = "2h"
delete_grace = "1h"
"#;
/// What every copy must answer as the good lake does.
const QUESTION: &str =
    "SELECT count(*) AS n, count(DISTINCT message_id) AS ids, sum(amount) AS amount FROM events";

/// Documents as they were at an earlier moment, by name.
pub(super) type Old = BTreeMap<String, Bytes>;

/// A lake's stores, past its nodes.
pub(super) struct Lake {
    pub(super) setup: Setup,
    pub(super) documents: Arc<dyn Documents>,
    pub(super) objects: Arc<dyn Objects>,
    pub(super) catalog: Arc<dyn Catalog>,
}

/// What an error of a store says.
pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Lake {
    /// The stores in the data directory of `setup`.
    pub(super) fn embedded(setup: &Setup) -> Result<Lake, String> {
        let dir = setup.data_dir.as_path();
        let objects = EmbeddedObjects::open(dir).map_err(said)?;
        Ok(Lake {
            setup: setup.clone(),
            documents: Arc::new(EmbeddedDocuments::open(dir).map_err(said)?),
            catalog: Arc::new(EmbeddedCatalog::open(dir, objects.root()).map_err(said)?),
            objects: Arc::new(objects),
        })
    }

    /// Everything that verification looks at, to be compared with a later look.
    pub(super) async fn fingerprint(&self) -> Result<BTreeMap<String, Bytes>, String> {
        let mut all =
            self.documents_now(&["shards/", "hours/", "late/", "dead/", "settled/", "edits/"]).await?;
        for prefix in ["segments/", "tables/", "late/", "dead/", "parked/", "edits/", "audit/"] {
            for object in self.objects.list(prefix).await.map_err(said)? {
                let bytes = self.objects.get(&object.key).await.map_err(said)?;
                all.insert(format!("object {}", object.key), bytes);
            }
        }
        let partitions = self.catalog.partitions(TABLE).await.map_err(said)?;
        all.insert("catalog".to_owned(), format!("{partitions:?}").into());
        Ok(all)
    }

    async fn documents_now(&self, prefixes: &[&str]) -> Result<Old, String> {
        let mut all = Old::new();
        for prefix in prefixes {
            for (key, _) in self.documents.list(prefix).await.map_err(said)? {
                if let Some(document) = self.documents.read(&key).await.map_err(said)? {
                    all.insert(key, document.body);
                }
            }
        }
        Ok(all)
    }

    /// What readers see of the lake.
    pub(super) async fn answer(setup: &Setup) -> Result<Value, String> {
        Cli::new(setup)?.query(QUESTION).await.map(Value::Array)
    }
}

/// The schema; it refuses amounts below `least`.
fn schema(least: i64) -> String {
    json!({"type": "object", "required": ["messageId"], "properties": {
        "messageId": {"type": "string", "x-column": "message_id"},
        "timestamp": {"type": "string", "format": "date-time"},
        "amount": {"type": "number", "minimum": least}}})
    .to_string()
}

/// Sends events that happened `hours` ago, every other one an hour earlier unless they are of the present hour; one in twenty
/// owes something.
async fn send(node: &Node, what: (&str, u64), hours: i64, seed: u64) -> Result<u64, String> {
    let ((name, count), now) = (what, Millis::now());
    let name = name.to_owned();
    let feed = Feed::new(count, 20, seed).shaped(move |index, event| {
        let before = if hours > 0 && index % 2 == 0 { 1 } else { 0 };
        let amount = if index % 20 == 7 { -1 } else { i64::try_from(index % 50).unwrap_or(0) };
        event.insert("messageId".into(), json!(format!("{name}-{index}")));
        event.insert("timestamp".into(), json!(now.plus(-(hours + before) * 3_600_000).to_string()));
        event.insert("amount".into(), json!(amount));
    });
    let book = feed.send(&node.collector).await?;
    let acknowledged = book.values().filter(|offered| offered.acknowledged).count();
    match acknowledged == book.len() {
        true => Ok(acknowledged as u64),
        false => Err(format!("{acknowledged} of {} events were acknowledged", book.len())),
    }
}

/// What is remembered of a lake while it is filled.
pub(super) struct Filled {
    /// Its documents when it had its first generation.
    pub(super) old: Old,
    /// Its partitions in the end.
    partitions: Vec<(Hour, String)>,
}

/// Fills a lake: two closed hours in three generations, of which the last has absorbed redriven rows, and fresh segments of
/// the present hour. `refusing` is the file with the schema; `open` opens the stores.
pub(super) async fn fill(
    setup: &Setup,
    refusing: &Path,
    (events, seed): (u64, u64),
    open: &(dyn Fn() -> Result<Lake, String> + Sync),
) -> Result<Filled, String> {
    std::fs::write(refusing, schema(0)).map_err(said)?;
    let node = Node::start(setup).await?;
    let mut sent = send(&node, ("first", events / 2), 5, seed).await?;
    node.drained(sent, PATIENCE).await?;
    node.tell("compact", &json!({})).await?;
    let old = open()?.documents_now(&["shards/", "hours/"]).await?;
    sent += send(&node, ("second", events / 2), 5, seed).await?;
    node.drained(sent, PATIENCE).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    std::fs::write(refusing, schema(-100)).map_err(said)?;
    let cli = Cli::new(setup)?;
    let redriven = cli.run(&["dlq", "redrive", "--table", TABLE, "--json"]).await?.json()?;
    if redriven["rows"].as_u64().unwrap_or(0) == 0 {
        return Err(format!("nothing was redriven: {redriven}"));
    }
    let node = Node::start(setup).await?;
    node.tell("compact", &json!({})).await?;
    let partitions = open()?.catalog.partitions(TABLE).await.map_err(said)?;
    sent += send(&node, ("fresh", (events / 8).max(80)), 0, seed).await?;
    node.drained(sent, PATIENCE).await?;
    node.stop().await?;
    is_good(&cli.verify().await?)?;
    Ok(Filled { old, partitions })
}

/// There is no finding, and something of everything to damage.
fn is_good(report: &Value) -> Result<(), String> {
    if report["findings"] != json!([]) {
        return Err(format!("a good lake with findings: {report}"));
    }
    let has = |figure: &&str| report[*figure].as_u64().unwrap_or(0) > 0;
    match ["rows", "fresh", "late", "invalid"].iter().find(|figure| !has(figure)) {
        None => Ok(()),
        Some(figure) => Err(format!("the lake has no {figure} to damage: {report}")),
    }
}

/// The good lake in a folder, to be copied.
pub(super) struct Good {
    setup: Setup,
    filled: Filled,
    /// What readers see of it.
    pub(super) answer: Value,
}

impl Good {
    /// Makes it below `folder`.
    pub(super) async fn new(folder: &Path, size: (u64, u64)) -> Result<Good, String> {
        let refusing = folder.join("good.schema.json");
        let config = CONFIG.replace("SCHEMA", &format!("{:?}", refusing.display().to_string()));
        let setup = Setup::new(&folder.join("good"), Some(&config));
        let filled = fill(&setup, &refusing, size, &|| Lake::embedded(&setup)).await?;
        let answer = Lake::answer(&setup).await?;
        Ok(Good { setup, filled, answer })
    }

    /// Its documents when it had its first generation.
    pub(super) fn old(&self) -> &Old {
        &self.filled.old
    }

    /// A copy of its own for a fault.
    pub(super) fn copy(&self, name: &str) -> Result<Setup, String> {
        let to = self.setup.data_dir.with_file_name(name);
        copy(&self.setup.data_dir, &to, &|_| true).map_err(|error| format!("copying the lake: {error}"))?;
        Ok(Setup { data_dir: to, ..self.setup.clone() })
    }

    /// A copy whose catalog does not know one of the partitions: a new one, told of all the others.
    pub(super) async fn copy_without(&self, name: &str, left_out: Hour) -> Result<Setup, String> {
        let to = self.setup.data_dir.with_file_name(name);
        let kept = |name: &str| !name.starts_with("catalog.db");
        copy(&self.setup.data_dir, &to, &kept).map_err(|error| format!("copying the lake: {error}"))?;
        let catalog = CatalogStore::open(&to).map_err(said)?;
        catalog.ensure_table(TABLE, &Arc::new(Schema::empty())).await.map_err(said)?;
        for (hour, location) in self.filled.partitions.iter().filter(|(hour, _)| *hour != left_out) {
            catalog.set_location(TABLE, *hour, location).await.map_err(said)?;
        }
        Ok(Setup { data_dir: to, ..self.setup.clone() })
    }

    /// The hours that its catalog knows.
    pub(super) fn hours(&self) -> Vec<Hour> {
        self.filled.partitions.iter().map(|(hour, _)| *hour).collect()
    }
}

/// Copies a folder, of its own files those that are `kept`.
fn copy(from: &Path, to: &Path, kept: &dyn Fn(&str) -> bool) -> std::io::Result<()> {
    let mut folders: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                folders.push((path, target));
            } else if kept(&entry.file_name().to_string_lossy()) {
                std::fs::copy(&path, &target)?;
            }
        }
    }
    Ok(())
}
