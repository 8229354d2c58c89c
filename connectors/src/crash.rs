//! Named crash points between durable steps, for tests that stop the process there.
//!
//! A process started with `SHARDMILL_CRASH_AT=name:n` aborts the n-th time it reaches the point `name`; one started with
//! `SHARDMILL_HOLD_AT=name` stays there for ever. Without the variables a point costs one atomic load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that arms a point: `name` or `name:n`, n counted from one.
pub const VARIABLE: &str = "SHARDMILL_CRASH_AT";

/// The environment variable that names a point where work is held for ever.
pub const HOLD_VARIABLE: &str = "SHARDMILL_HOLD_AT";

/// Every crash point: name, and the two durable steps it lies between.
pub const POINTS: &[(&str, &str)] = &[
    ("stream.before-commit", "a put was received, its transaction is not committed"),
    ("stream.after-commit", "the stream has the records, the collector has not answered"),
    ("objects.before-link", "an object's bytes are on disk under a temporary name only"),
    ("shard.after-take", "the shard's document names the new owner, nothing has been read"),
    ("shard.after-segments", "segments are uploaded, the dead-letter file is not"),
    ("shard.before-commit", "all objects of a commit are uploaded, the document does not name them"),
    ("shard.after-commit", "the document names the objects, nothing else knows"),
    ("dead.after-index", "a dead-letter file is indexed, its letters are not in the queue"),
    ("dead.after-queue", "the letters are in the queue, the shard still lists the file"),
    (
        "lane.after-letters",
        "a lane's dead-letter file is uploaded, the parked object is not, no document names it",
    ),
    ("lane.after-parked", "a lane's parked object is uploaded, no document names it"),
    ("lane.before-commit", "all objects of a lane's commit are uploaded, nothing is staged"),
    ("lane.after-commit", "the document names the lane's objects, those they replace still exist"),
    ("hour.after-take", "the hour's document names the new owner, nothing has been merged"),
    ("hour.after-write", "a generation's file is uploaded, the document does not name it"),
    ("hour.after-commit", "the document names the generation, the catalog does not"),
    ("hour.after-catalog", "the catalog was switched, the switch is not recorded"),
    ("hour.before-removal", "the switch is recorded, what was replaced still exists"),
    ("hour.after-removal", "replaced objects are deleted, the document still lists them"),
    ("redrive.after-segments", "late segments are uploaded, no manifest names them"),
    ("redrive.after-manifest", "the manifest exists, the dead letters are not settled"),
    ("intake.after-segments", "a raw file's late segments are uploaded, its dead letters are not"),
    ("intake.before-manifest", "everything of a raw file is uploaded, no manifest names it"),
    ("intake.after-manifest", "a raw file's manifest exists, its letters are not announced"),
    ("intake.before-settle", "a raw file's letters are announced, its notice is not settled"),
    ("intake.after-settle", "a raw file's notice is settled, nothing else knows"),
    (
        "schedule.before-mark",
        "a scheduled file's rows are in the stream, its letters announced, neither is written down",
    ),
    ("redeliver.after-send", "a destination has taken a redelivered batch, its letters are not settled"),
    ("request.before-settle", "letters that messages ask for are redriven, the messages are not settled"),
    ("raw.after-objects", "a commit's raw backups are uploaded, no document names them"),
    ("raw.after-page", "a page names raw backups, the shard's document lists them still"),
    ("replay.before-manifest", "everything of a part of a replay is uploaded, no manifest names it"),
    ("replay.after-manifest", "the manifest of a part of a replay exists, its letters are not announced"),
    ("replay.after-delivery", "a destination has taken a part of a replay, nothing remembers it"),
    ("erase.after-tombstone", "an erasure is remembered, nothing has been rewritten"),
    ("erase.after-write", "an hour without erased rows is written, its document names the one with them"),
    (
        "erase.after-commit",
        "the hour's document and the catalog show the one without, the other still exists",
    ),
    ("erase.after-catalog", "the catalog shows the hour without erased rows, the switch is not recorded"),
    ("erase.after-removal", "files with erased rows are deleted, the hour's document still lists them"),
    ("erase.after-raw", "raw backups without erased records are uploaded, nothing names them"),
    ("erase.after-page", "a page names raw backups without erased records, those with them still exist"),
    ("erase.before-settle", "nothing names what was replaced, which still exists"),
    (
        "erase.after-edits",
        "edits without those of an erased person are uploaded, their document names the others",
    ),
    ("erase.after-letters", "a dead-letter file without erased letters is entered beside the one with them"),
    ("redeliver.before-settle", "letters that came back are announced, the old ones are not settled"),
];

struct Armed {
    name: String,
    left: AtomicU32,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED
        .get_or_init(|| {
            let value = std::env::var(VARIABLE).ok()?;
            let (name, count) = value.split_once(':').unwrap_or((&value, "1"));
            Some(Armed { name: name.to_owned(), left: AtomicU32::new(count.parse().unwrap_or(1)) })
        })
        .as_ref()
}

/// Aborts the process when the point `name` is armed and this is its turn. `name` is one of [`POINTS`].
pub fn point(name: &'static str) {
    let Some(armed) = armed() else { return };
    debug_assert!(POINTS.iter().any(|(known, _)| *known == name), "unlisted crash point {name}");
    if armed.name == name && armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        eprintln!("crash point {name}: aborting");
        std::process::abort();
    }
}

/// The environment variable that makes an event poison: `WHERE:TEXT`.
pub const POISON_VARIABLE: &str = "SHARDMILL_POISON";

/// Panics at the place `place` when `data` holds the text that [`POISON_VARIABLE`] names for it; `abort` ends the process
/// wherever the event is looked at first, `abort-PLACE` where that place looks at it. A processing bug that only some events
/// trigger, for tests.
#[allow(clippy::panic)] // what it is for
pub fn poison(place: &'static str, data: &[u8]) {
    static POISON: OnceLock<Option<(String, String)>> = OnceLock::new();
    let poison = POISON.get_or_init(|| {
        let value = std::env::var(POISON_VARIABLE).ok()?;
        value.split_once(':').map(|(place, text)| (place.to_owned(), text.to_owned()))
    });
    let Some((armed, text)) = poison else { return };
    let aborts = armed == "abort" || armed.strip_prefix("abort-") == Some(place);
    if !(aborts || armed == place) || memchr::memmem::find(data, text.as_bytes()).is_none() {
        return;
    }
    if aborts {
        eprintln!("poison at {place}: aborting");
        std::process::abort();
    }
    panic!("poison at {place}");
}

/// Like [`point`], and waits for ever when the point is the one to be held at.
pub async fn pass(name: &'static str) {
    static HELD: OnceLock<Option<String>> = OnceLock::new();
    point(name);
    if HELD.get_or_init(|| std::env::var(HOLD_VARIABLE).ok()).as_deref() == Some(name) {
        std::future::pending::<()>().await;
    }
}
