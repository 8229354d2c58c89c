//! `dlq backup --queue`: the messages of somebody else's queue to a file of JSON lines; with `--purge` those that are safe there are
//! settled, otherwise all are handed back.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use shardmill_connectors::Failure;
use shardmill_connectors::ports::{Message, Queue};

use super::super::letter_file::LetterFile;
use super::Done;
use crate::commands::progress::Progress;

/// Messages received together: as many as SQS hands out.
const TOGETHER: usize = 10;
/// How long they are hidden from others: a backup that is killed gives them back then.
const HIDDEN: Duration = Duration::from_secs(300);
/// How long the queue may take to find more.
const WAIT: Duration = Duration::from_secs(2);

/// Writes every message to the file, once.
pub(super) async fn backup(
    queue: &dyn Queue,
    file: &mut LetterFile,
    purge: bool,
    progress: &Progress,
) -> Result<Done, Failure> {
    let depth = queue.depth().await?.visible;
    let (mut done, mut seen, mut held) = (Done::default(), BTreeSet::new(), Vec::new());
    loop {
        let messages = queue.receive(TOGETHER, HIDDEN, WAIT).await?;
        // Nothing is left, or what was hidden long ago comes back.
        let fresh = messages.iter().filter(|message| seen.insert(message.id.clone())).count();
        if fresh == 0 {
            held.extend(messages);
            break;
        }
        for message in &messages {
            let line = line(message);
            match file.line(&message.id)?.is_some_and(|there| there == line) {
                true => done.already_there += 1,
                false => {
                    file.write(&message.id, &line)?;
                    done.written += 1;
                }
            }
        }
        file.sync()?;
        progress.advance(messages.len() as u64, depth);
        for message in messages {
            let safe = purge && file.line(&message.id)?.is_some_and(|there| there == line(&message));
            match safe {
                true => done.purged += u64::from(queue.settle(&message.receipt).await?),
                false => held.push(message),
            }
        }
    }
    for message in held {
        queue.extend(&message.receipt, Duration::ZERO).await?;
    }
    Ok(done)
}

/// What does not change from one delivery to the next.
fn line(message: &Message) -> Vec<u8> {
    json!({"id": message.id, "sent_at": message.sent_at, "body": message.body}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::embedded::EmbeddedQueues;

    use super::*;

    #[tokio::test]
    async fn every_message_is_one_line_and_is_settled_only_when_told() {
        let folder = std::env::temp_dir().join(format!("shardmill-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let queue = EmbeddedQueues::open(&folder).unwrap().queue("theirs");
        let bodies: Vec<String> = (0..25).map(|n| format!("message {n}, \"not\" JSON\n")).collect();
        queue.send(bodies.clone()).await.unwrap();
        let path = folder.join("messages.jsonl");
        let (progress, mut file) = (Progress::new(true, "letters"), LetterFile::append(&path).unwrap());
        let first = backup(&queue, &mut file, false, &progress).await.unwrap();
        assert_eq!(first, Done { written: 25, already_there: 0, purged: 0 });
        assert_eq!(queue.depth().await.unwrap().visible, 25, "handed back");
        let mut file = LetterFile::append(&path).unwrap();
        let again = backup(&queue, &mut file, true, &progress).await.unwrap();
        assert_eq!(again, Done { written: 0, already_there: 25, purged: 25 });
        let depth = queue.depth().await.unwrap();
        assert_eq!(depth.visible + depth.in_flight, 0);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut found: Vec<String> = lines.map(|line| line["body"].as_str().unwrap().to_owned()).collect();
        let mut wanted = bodies;
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
