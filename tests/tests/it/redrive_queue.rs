//! Letters whose messages were moved to the redrive queue: redriven once, whatever is asked twice, asked wrongly, or killed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shardmill_actors::dead_letters::letter::to_ndjson;
use shardmill_actors::dead_letters::{DeadIndex, Letter};
use shardmill_actors::state::DeadFile;
use shardmill_connectors::crash;
use shardmill_connectors::embedded::{EmbeddedDocuments, EmbeddedObjects, EmbeddedQueues};
use shardmill_connectors::ports::{Documents, Objects, Queue};
use shardmill_connectors::setsum::Tally;
use shardmill_tests::harness::{Cli, Node, Setup};

use crate::support::{CONFIG, PATIENCE, Site, accept, ago, compact, until};

/// The queue of dead letters and the redrive queue, as an operator has them in hand.
#[async_trait]
pub(crate) trait Queues: Send + Sync {
    /// Takes so many messages out of the queue of dead letters; their bodies.
    async fn take(&self, count: usize) -> Vec<String>;

    /// Sends a message to the redrive queue.
    async fn ask(&self, body: &str);

    /// Messages in the redrive queue, hidden or not.
    async fn waiting(&self) -> u64;
}

/// In a data directory.
struct Embedded {
    dead: Arc<dyn Queue>,
    redrives: Arc<dyn Queue>,
}

impl Embedded {
    fn new(dir: &Path) -> Embedded {
        std::fs::create_dir_all(dir).unwrap();
        let queues = EmbeddedQueues::open(dir).unwrap();
        Embedded {
            dead: Arc::new(queues.queue("dead-letters")),
            redrives: Arc::new(queues.queue("redrives")),
        }
    }
}

#[async_trait]
impl Queues for Embedded {
    async fn take(&self, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        let taking = async {
            while bodies.len() < count {
                for message in self.dead.receive(10, PATIENCE, Duration::from_secs(1)).await.unwrap() {
                    assert!(self.dead.settle(&message.receipt).await.unwrap());
                    bodies.push(message.body);
                }
            }
        };
        tokio::time::timeout(PATIENCE, taking).await.unwrap();
        bodies
    }

    async fn ask(&self, body: &str) {
        for outcome in self.redrives.send(vec![body.to_owned()]).await.unwrap() {
            outcome.unwrap();
        }
    }

    async fn waiting(&self) -> u64 {
        let depth = self.redrives.depth().await.unwrap();
        depth.visible + depth.in_flight
    }
}

const REDRIVE_QUEUE: &str = "[dead_letters]\nredrive_queue = \"redrives\"\n";

/// Writes a schema that takes amounts, no less than `minimum`.
pub(crate) fn schema(file: &Path, minimum: i64) {
    let schema = json!({"$id": "orders", "type": "object", "required": ["messageId", "amount"], "properties": {
        "messageId": {"type": "string", "x-column": "message_id"},
        "timestamp": {"type": "string", "format": "date-time"},
        "amount": {"type": "number", "minimum": minimum},
    }});
    std::fs::write(file, schema.to_string()).unwrap();
}

fn order(id: &str, amount: i64, note: &str) -> Value {
    json!({"messageId": id, "event": "Order", "timestamp": ago(1).to_string(), "userId": id, "amount": amount, "note": note})
}

async fn letters(cli: &Cli) -> Vec<Value> {
    let letters = cli.run(&["dlq", "list", "--json"]).await.unwrap().json().unwrap();
    letters.as_array().cloned().unwrap()
}

fn count(status: &Value, what: &str) -> u64 {
    status["redrives"][what].as_u64().unwrap()
}

/// Waits until the redrive queue holds so many messages.
async fn left(queues: &dyn Queues, count: u64, within: Duration) {
    let looking = async {
        while queues.waiting().await != count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(within, looking).await.unwrap_or_else(|_| panic!("never {count} messages left"));
}

/// A schema refuses events, is mended, and the letters' messages are moved: asked for once, twice, by a node that is killed
/// between redriving and settling, beside messages that nobody here knows. `hidden` is how long what that node had in hand
/// stays hidden at most.
pub(crate) async fn letters_come_home(setup: &Setup, file: &Path, queues: &dyn Queues, hidden: Duration) {
    schema(file, 0);
    let node = Node::start(setup).await.unwrap();
    let large = "x".repeat(300_000);
    accept(&node, &[order("m1", 1, ""), order("m2", -2, ""), order("m3", -3, ""), order("m4", -4, &large)])
        .await;
    let bodies = queues.take(3).await;
    node.stop().await.unwrap();
    assert_eq!(bodies.iter().filter(|body| body.contains("\"object\":")).count(), 1, "one is too large");
    let cli = Cli::new(setup).unwrap();
    assert_eq!(letters(&cli).await.len(), 3);
    schema(file, -10);

    let armed = setup.clone().env(crash::VARIABLE, "request.before-settle");
    let mut killed = Node::start(&armed).await.unwrap();
    queues.ask(&bodies[0]).await;
    assert!(!killed.ended(PATIENCE).await.unwrap().success());
    assert_eq!(
        (letters(&cli).await.len(), queues.waiting().await),
        (2, 1),
        "settled by letter, not by message"
    );

    let node = Node::start(setup).await.unwrap();
    let unknown = r#"{"id":"00000000000000000000000000000000","reason":"r","object":"dead/none"}"#;
    for body in [&bodies[1], "{\"order\":7}", &bodies[1], &bodies[2], unknown] {
        queues.ask(body).await;
    }
    left(queues, 2, PATIENCE + hidden).await;
    // A poll that the killed node had open may have taken some: they come when their time is over.
    let seen = |status: &Value| count(status, "in_hand") == 0 && count(status, "not_ours") == 2;
    let status = until(&node, "status", seen).await;
    let (redriven, repeated) = (count(&status, "redriven"), count(&status, "repeated"));
    // The second message for a letter is with the first one, or comes after it.
    assert!((2..=3).contains(&redriven) && redriven + repeated == 4, "{status}");
    assert_eq!(count(&status, "put_off"), 0, "{status}");
    assert_eq!(node.metric("shardmill_redrive_requests_total").await.unwrap(), 6);
    let log = std::fs::read_to_string(&node.log).unwrap();
    assert!(
        log.contains("no message of a dead letter of ours") && log.contains("nobody knows its letter here")
    );
    assert!(letters(&cli).await.is_empty());

    // Asked again when all is done.
    queues.ask(&bodies[1]).await;
    until(&node, "status", |status| count(status, "repeated") == repeated + 1).await;
    compact(&node).await;
    let rows = cli.query("SELECT message_id, amount FROM events ORDER BY message_id").await.unwrap();
    let rows: Vec<&str> = rows.iter().map(|row| row["message_id"].as_str().unwrap()).collect();
    assert_eq!(rows, ["m1", "m2", "m3", "m4"]);
    assert_eq!(queues.waiting().await, 2, "what is not ours stays");
    node.stop().await.unwrap();
    cli.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_message_has_its_event_redriven_once() {
    let mut site = Site::new("");
    let file = site.file("orders.schema.json", "{}");
    let schema = format!("[streams.events]\nschema = \"{}\"\n", file.display());
    site.setup.config = Some(CONFIG.replace("[streams.events]\n", &schema) + REDRIVE_QUEUE);
    let queues = Embedded::new(&site.setup.data_dir);
    letters_come_home(&site.setup, &file, &queues, Duration::from_secs(10)).await;
}

/// A letter that the destination `log` gave up.
fn refused(n: u64) -> Letter {
    let origin = json!({"stream": "events", "shard": "planted", "sequence": n.to_string(), "subsequence": 0,
        "arrived_at": 1_795_000_000_000_i64});
    let letter = json!({
        "id": format!("{n:032x}"), "class": "rejected", "reason": "planted", "destination": "log", "table": null,
        "field": null, "event": "Planted", "key": format!("k{n}"), "origin": origin, "attempts": 1,
        "first_at": n, "last_at": n, "redrives": 0, "payload": {"messageId": format!("delivery {n}."), "event": "Planted"},
    });
    serde_json::from_value(letter).unwrap()
}

/// Puts letters into the data directory as a lane would have left them.
async fn plant(dir: &Path, letters: &[Letter]) {
    let key = "dead/events/planted/1-log.ndjson".to_owned();
    let mut tally = Tally::default();
    letters.iter().for_each(|letter| tally.insert(letter.origin.identity()));
    EmbeddedObjects::open(dir).unwrap().put(&key, to_ndjson(letters).unwrap().into()).await.unwrap();
    let documents: Arc<dyn Documents> = Arc::new(EmbeddedDocuments::open(dir).unwrap());
    DeadIndex::enter(&documents, &DeadFile { key, tally }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_gets_what_is_asked_for_once_and_nothing_while_it_is_paused() {
    let destination = "[destinations.log]\nkind = \"file\"\npath = \"taken.ndjson\"\n";
    let site = Site::new(&format!("{CONFIG}{REDRIVE_QUEUE}{destination}"));
    let dir = site.setup.data_dir.clone();
    let queues = Embedded::new(&dir);
    let planted: Vec<Letter> = (0..6).map(refused).collect();
    plant(&dir, &planted).await;
    let body = |n: usize| serde_json::to_string(&planted[n]).unwrap();
    let node = site.start().await;
    for n in [0, 1, 2, 2, 1, 3] {
        queues.ask(&body(n)).await;
    }
    left(&queues, 0, PATIENCE).await;
    node.tell("pause", &json!({"destination": "log"})).await.unwrap();
    until(&node, "destinations", |all| all[0]["state"] == "paused").await;
    queues.ask(&body(4)).await;
    let status = until(&node, "status", |status| count(status, "put_off") == 1).await;
    assert_eq!(count(&status, "redriven") + count(&status, "repeated"), 6, "{status}");
    assert_eq!(queues.waiting().await, 1, "it comes again");
    let cli = site.cli();
    let waiting: Vec<Value> = letters(&cli).await.into_iter().map(|letter| letter["key"].clone()).collect();
    assert_eq!(waiting, ["k4", "k5"]);
    let taken = std::fs::read_to_string(dir.join("taken.ndjson")).unwrap();
    for n in 0..6 {
        assert_eq!(taken.matches(&format!("delivery {n}.")).count(), usize::from(n < 4), "{n} in {taken}");
    }
    node.stop().await.unwrap();
}
