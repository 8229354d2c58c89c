//! `lake-storm`: a node is killed at random while late events come, the schema grows twice, and commands replay, edit and redrive
//! without a pause: at the end every acknowledged event is one row of its own hour or one dead letter, and the lake is whole.

mod crew;
mod judge;
mod script;

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use shardmill_connectors::Hour;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::crew::{Commands, Crew};
use super::kill::CONFIG;
use super::{Options, Outcome, deliveries, tell};
use crate::harness::{Book, Feed, Feeding, Node, Setup};

/// How long the last letters may take to be mended.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a command may take to be under way when a kill waits for it.
const UNDER_WAY: Duration = Duration::from_secs(20);
/// What must have happened, or nothing was shown.
const EXERCISED: [&str; 9] = [
    "/kills/while_sending",
    "/kills/while_replaying",
    "/kills/while_redriving",
    "/late_events",
    "/hours_of_several_generations",
    "/replays/rows",
    "/edits/edited",
    "/redrives/rows",
    "/lake/late_rows",
];

/// What kills have met.
#[derive(Debug, Default)]
struct Kills {
    all: u64,
    while_sending: u64,
    while_replaying: u64,
    while_redriving: u64,
}

/// The data under fire.
struct Stage {
    setup: Setup,
    commands: Commands,
    collector: watch::Sender<String>,
    chance: StdRng,
    kills: Kills,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (events, kills) = if options.short { (6_000, 6) } else { (60_000, 40) };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (mut stage, mut node) = Stage::begin(&folder.path().join("data"), options.seed).await?;
    let every = Duration::from_millis(kills * 3_000 / (events / 80));
    let feed = Feed { together: 20, every, ..Feed::new(events, 40, options.seed) };
    let mut feeding = feed.shaped(script::shape).start(stage.collector.subscribe());
    let crew = Crew::start(&stage.commands);
    for number in 0..kills {
        let due = events * number / (kills + 1);
        let reached = feeding.progress.wait_for(|acknowledged| *acknowledged >= due).await;
        reached.map_err(|_| "the senders ended early")?;
        node = match stage.strike(node, (&feeding, &crew)).await {
            Ok(node) => node,
            // What a command has failed with says more than that none is under way.
            Err(failed) => return crew.enough().await.and(Err(failed)),
        };
        if [kills / 3, kills * 2 / 3].contains(&(number + 1)) {
            stage.commands.schema(2 + u64::from(number + 1 > kills / 3))?;
            tell("the schema grows");
        }
    }
    let book = feeding.book().await?;
    let done = crew.enough().await?;
    tell(format!("{} replays and {} redrives meanwhile", done.replays.runs, done.redrives.runs));
    let hours = stage.finish(node, &book).await?;
    let late = book.values().filter(|offered| Hour::of(offered.at) < Hour::of(offered.sent)).count();
    let acknowledged = book.values().filter(|offered| offered.acknowledged).count();
    let Kills { all, while_sending, while_replaying, while_redriving } = stage.kills;
    let figures = json!({
        "events": book.len(), "acknowledged": acknowledged, "late_events": late,
        "kills": {"all": all, "while_sending": while_sending, "while_replaying": while_replaying,
            "while_redriving": while_redriving},
        "replays": done.replays.json(), "edits": done.edits.json(), "redrives": done.redrives.json(),
        "hours_of_several_generations": hours, "lake": judge::whole(&stage.setup, &book).await?,
    });
    exercised(&figures)?;
    Ok(figures)
}

/// Whether the figures tell of everything that the proof is about.
fn exercised(figures: &Value) -> Result<(), String> {
    let count = |pointer: &str| figures.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    if let Some(nothing) = EXERCISED.iter().find(|pointer| count(pointer) == 0) {
        return Err(format!("{nothing} is 0: nothing was shown: {figures}"));
    }
    match count("/lake/schema_versions") {
        3.. => Ok(()),
        versions => Err(format!("{versions} versions of the schema: nothing was shown: {figures}")),
    }
}

impl Stage {
    async fn begin(data: &Path, seed: u64) -> Result<(Stage, Node), String> {
        let schema = data.with_extension("schema.json");
        let lines = format!("[streams.events]\nraw = true\nschema = {schema:?}\n");
        let mut setup = Setup::new(data, Some(&CONFIG.replace("[streams.events]\n", &lines)));
        let commands = Commands::new(&setup, schema)?;
        commands.schema(1)?;
        let node = Node::start(&setup).await?;
        setup.port = node.port();
        let (collector, _) = watch::channel(node.collector.clone());
        let (chance, kills) = (StdRng::seed_from_u64(seed), Kills::default());
        Ok((Stage { setup, commands, collector, chance, kills }, node))
    }

    /// Has hours compacted, kills the node at a random moment while a replay or a redrive is under way, and starts it again.
    async fn strike(&mut self, node: Node, (feeding, crew): (&Feeding, &Crew)) -> Result<Node, String> {
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(100..900))).await;
        let compaction = compact(&node);
        let busy = if self.kills.all.is_multiple_of(2) { &crew.replaying } else { &crew.redriving };
        let mut busy = busy.clone();
        let seen = tokio::time::timeout(UNDER_WAY, busy.wait_for(|busy| *busy)).await;
        seen.map_err(|_| "no command is under way")?.map_err(|_| "a command has failed")?;
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..60))).await;
        self.kills.all += 1;
        self.kills.while_sending += u64::from(!feeding.is_finished());
        self.kills.while_replaying += u64::from(*crew.replaying.borrow());
        self.kills.while_redriving += u64::from(*crew.redriving.borrow());
        node.kill().await?;
        compaction.abort();
        tell(format!("kill {} at {} acknowledged", self.kills.all, *feeding.progress.borrow()));
        let node = Node::start(&self.setup).await?;
        self.collector.send_replace(node.collector.clone());
        Ok(node)
    }

    /// Mends what can be mended, replays everything once more, and stops the node; how many hours have had several generations.
    async fn finish(&self, node: Node, book: &Book) -> Result<u64, String> {
        let acknowledged = book.values().filter(|offered| offered.acknowledged).count() as u64;
        deliveries::settled(&node, acknowledged).await?;
        let since = Instant::now();
        loop {
            self.commands.edit().await?;
            self.commands.redrive().await?;
            let left = judge::letters(&self.setup).await?;
            match judge::settled(book, &left) {
                Ok(()) => break,
                Err(error) if since.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        self.commands.replay().await?;
        node.tell("compact", &json!({})).await?;
        let hours = node.ask("hours").await?;
        node.stop().await?;
        let several = |hour: &&Value| hour["generation"].as_u64().is_some_and(|generation| generation > 1);
        Ok(hours.as_array().into_iter().flatten().filter(several).count() as u64)
    }
}

/// Asks for a compaction of everything, whose answer nobody waits for.
fn compact(node: &Node) -> JoinHandle<()> {
    let url = format!("{}/api/compact", node.ops);
    tokio::spawn(async move {
        let _ = reqwest::Client::new().post(url).json(&json!({})).send().await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_lack_anything_show_nothing() {
        let mut figures = json!({
            "late_events": 1, "hours_of_several_generations": 1, "replays": {"rows": 1}, "edits": {"edited": 1},
            "kills": {"while_sending": 1, "while_replaying": 1, "while_redriving": 1},
            "redrives": {"rows": 1}, "lake": {"late_rows": 1, "schema_versions": 3},
        });
        assert_eq!(exercised(&figures), Ok(()));
        for pointer in EXERCISED.into_iter().chain(["/lake/schema_versions"]) {
            let before = figures.pointer(pointer).cloned().unwrap();
            *figures.pointer_mut(pointer).unwrap() = json!(0);
            assert!(exercised(&figures).unwrap_err().contains("nothing was shown"), "{pointer}");
            *figures.pointer_mut(pointer).unwrap() = before;
        }
    }
}
