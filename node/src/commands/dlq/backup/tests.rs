//! Tests of backups on real stores: what is resumed, what is purged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use shardmill_actors::dead_letters::letter::to_ndjson;
use shardmill_actors::dead_letters::{DeadIndex, announce};
use shardmill_actors::state::DeadFile;
use shardmill_connectors::embedded::{EmbeddedCatalog, EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues};
use shardmill_connectors::setsum::Tally;

use super::*;

struct Site {
    folder: PathBuf,
    ports: Ports,
}

impl Site {
    async fn with(letters: u64) -> Site {
        let folder = std::env::temp_dir().join(format!("shardmill-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let objects = EmbeddedObjects::open(&folder).unwrap();
        let ports = Ports {
            documents: Arc::new(EmbeddedDocuments::open(&folder).unwrap()),
            dead_letters: Arc::new(EmbeddedQueues::open(&folder).unwrap().queue("dead-letters")),
            catalog: Arc::new(EmbeddedCatalog::open(&folder, objects.root()).unwrap()),
            objects: Arc::new(objects),
            live: None,
        };
        let letters: Vec<Letter> = (0..letters).map(letter).collect();
        let mut tally = Tally::default();
        letters.iter().for_each(|letter| tally.insert(letter.origin.identity()));
        let key = "dead/events/0/1-a.ndjson".to_owned();
        ports.objects.put(&key, to_ndjson(&letters).unwrap().into()).await.unwrap();
        DeadIndex::enter(&ports.documents, &DeadFile { key: key.clone(), tally }).await.unwrap();
        announce(&ports, &key).await.unwrap();
        Site { folder, ports }
    }

    async fn write(&self, file: &Path) -> (u64, u64) {
        let mut file = LetterFile::append(file).unwrap();
        let done = write(&self.ports, &Selection::default(), &mut file, &Progress::new(true, "letters"))
            .await
            .unwrap();
        (done.written, done.already_there)
    }

    async fn purge(&self, file: &Path) -> u64 {
        let mut file = LetterFile::append(file).unwrap();
        purge(&self.ports, &Selection::default(), &mut file, &Progress::new(true, "letters")).await.unwrap()
    }

    async fn left(&self) -> usize {
        Selection::default().find(&self.ports).await.unwrap().len()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn letter(n: u64) -> Letter {
    let origin = json!({"stream": "events", "shard": "0", "sequence": n.to_string(), "subsequence": 0, "arrived_at": 0});
    let text = json!({
        "id": format!("{n:032}"), "class": "rejected", "reason": "r", "destination": "crm", "table": null, "field": null,
        "event": null, "key": "k", "origin": origin, "attempts": 1, "first_at": 0, "last_at": 0, "redrives": 0,
        "payload": {"n": n},
    });
    serde_json::from_str(&text.to_string()).unwrap()
}

#[tokio::test]
async fn a_torn_backup_goes_on_and_only_what_is_in_it_is_purged() {
    let site = Site::with(10).await;
    let file = site.folder.join("letters.jsonl");
    assert_eq!(site.write(&file).await, (10, 0));
    assert_eq!(site.write(&file).await, (0, 10));
    let text = std::fs::read_to_string(&file).unwrap();
    let half: String = text.split_inclusive('\n').take(4).collect::<String>() + &text[..40];
    std::fs::write(&file, half).unwrap();
    assert_eq!(site.purge(&file).await, 4, "what the file does not hold stays");
    assert_eq!(site.left().await, 6);
    assert_eq!(site.write(&file).await, (6, 0));
    let lines = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    let mut all: Vec<&str> = text.lines().collect();
    all.sort_unstable();
    assert_eq!(lines, all);
}

#[tokio::test]
async fn what_reads_back_otherwise_is_not_purged() {
    let site = Site::with(5).await;
    let file = site.folder.join("letters.jsonl");
    site.write(&file).await;
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(r#"{"n":3}"#, r#"{"n":4}"#)).unwrap();
    assert_eq!(site.purge(&file).await, 4);
    assert_eq!(site.left().await, 1);
    assert_eq!(site.write(&file).await, (1, 0), "the letter as it is follows; the last line of an id counts");
    assert_eq!((site.purge(&file).await, site.left().await), (1, 0));
    assert_eq!(site.ports.dead_letters.depth().await.unwrap().visible, 0);
}
