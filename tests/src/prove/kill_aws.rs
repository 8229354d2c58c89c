//! `kill-aws`: the real binary on servers that speak AWS's protocols is killed again and again while a producer writes plain and
//! packed records and the stream is split and merged twice: each user record once in the lake, each key in order at the
//! destination.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use shardmill_connectors::ports::{Shard, Stream};

use super::deliveries::{self, PATIENCE, Webhook, check};
use super::{Options, Outcome, tell};
use crate::harness::cloud::{Cloud, STREAM};
use crate::harness::producer::{PER_ROUND, Producer};
use crate::harness::receiver::Script;
use crate::harness::{Book, Cli, Node, Receiver, Setup};

/// Shards at the beginning.
const SHARDS: u32 = 2;
/// How long a node lives between two kills, in milliseconds: a node waits for the lease of its predecessor, six seconds, before
/// it takes its shards.
const LIVES: std::ops::Range<u64> = 3_000..14_000;
/// How often the stream is split and merged.
const CHANGES: u64 = 4;

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (events, kills) = if options.short { (6_000, 4) } else { (60_000, 12) };
    let cloud = Cloud::start(SHARDS, options.seed).await?;
    let receiver = Receiver::start(Script { seed: options.seed, ..Script::default() }).await?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let setup = cloud.setup(folder.path(), &Webhook::new("hook", &receiver).section());
    // The kills fall into the writing.
    let every = Duration::from_millis(LIVES.end * 2 / 3 * kills * PER_ROUND / events);
    let producing = Producer { client: cloud.kinesis(), stream: STREAM.to_owned(), events, every }.start();
    let mut chance = StdRng::seed_from_u64(options.seed);
    let (mut node, mut while_writing, mut changes) = (Node::start(&setup).await?, 0, 0);
    for kill in 1..=kills {
        tokio::time::sleep(Duration::from_millis(chance.random_range(LIVES))).await;
        while changes < kill * CHANGES / kills {
            reshard(&cloud, changes % 2 == 0).await?;
            changes += 1;
        }
        while_writing += u64::from(!producing.is_finished());
        node.kill().await?;
        tell(format!("kill {kill} of {kills} at {} of {events} written", producing.progress()));
        node = Node::start(&setup).await?;
    }
    let book = producing.book().await?;
    if !options.short && while_writing < 10 {
        return Err(format!("only {while_writing} kills fell into the writing: nothing was shown"));
    }
    let lake = judge(node, &setup, &receiver, &book).await?;
    Ok(
        json!({"events": book.len(), "kills": kills, "kills_while_writing": while_writing, "changes_of_shards": changes,
        "lake": lake, "receiver": receiver.record().figures(), "calls": cloud.figures()}),
    )
}

/// Splits every open shard, or merges all pairs of neighbours.
async fn reshard(cloud: &Cloud, split: bool) -> Result<(), String> {
    let stream = cloud.stream().await?;
    let shards = stream.shards().await.map_err(|failure| failure.to_string())?;
    let mut open: Vec<Shard> = shards.into_iter().filter(|shard| !shard.closed).collect();
    open.sort_by_key(|shard| shard.range.start);
    if split {
        for shard in &open {
            let middle = shard.range.start + (shard.range.end - shard.range.start) / 2;
            stream.split(&shard.id, middle).await.map_err(|failure| failure.to_string())?;
        }
    } else {
        for pair in open.chunks_exact(2) {
            stream.merge(&pair[0].id, &pair[1].id).await.map_err(|failure| failure.to_string())?;
        }
    }
    tell(format!("{} shards were {}", open.len(), if split { "split" } else { "merged" }));
    Ok(())
}

/// Lets the node finish, stops it, and compares what was written with what is there.
async fn judge(node: Node, setup: &Setup, receiver: &Receiver, book: &Book) -> Result<Value, String> {
    deliveries::settled(&node, book.len() as u64).await?;
    let all = book.len() as u64;
    deliveries::until(&node, "hook", PATIENCE, |state| state.is_done() && state.delivered >= all).await?;
    node.tell("compact", &json!({})).await?;
    node.stop().await?;
    let cli = Cli::new(setup)?;
    let rows = deliveries::rows(&cli).await?;
    check::verdict(&check::rows(book, &rows, |_| false)).map_err(|error| format!("the lake: {error}"))?;
    let record = receiver.record();
    check::verdict(&check::complete(book, &record, |_| false))
        .map_err(|error| format!("the destination: {error}"))?;
    check::verdict(&check::order(&record)).map_err(|error| format!("order: {error}"))?;
    let report = cli.verify().await?;
    Ok(json!({"rows": rows.len(), "hours": report["hours"], "files_read": report["files"]}))
}
