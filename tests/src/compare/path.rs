//! The whole path, beside standardising alone: a node takes a filled embedded stream to committed, compacted hours.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::account::{Account, Meter};
use super::agree::{Files, Questions};
use super::convert;
use super::events::Events;
use super::filled::{Compacted, Filled};
use super::turns::{self, Side};

/// A node from its start to its end.
struct Whole {
    filled: Filled,
    folder: PathBuf,
    /// The files that it made the last time.
    made: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Side for Whole {
    fn name(&self) -> &str {
        "shardmill, whole path"
    }

    async fn run(&self) -> Result<Account, String> {
        let Compacted { account, files } = self.filled.compacted(&self.folder, "snappy").await?;
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(account)
    }
}

/// Compares.
pub(super) async fn run(
    filled: &Filled,
    events: &Events,
    meter: &Meter,
    (folder, rounds): (&Path, usize),
) -> Result<Value, String> {
    let folder = folder.join("path");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut alone = convert::ours(events, meter, &folder)?;
    alone.name = "shardmill, standardising alone";
    let converted = Files::of(alone.name, &alone.makes);
    let made = Arc::default();
    let whole = Whole { filled: filled.clone(), folder, made: Arc::clone(&made) };
    let side = whole.name().to_owned();
    let sides: [Box<dyn Side>; 2] = [Box::new(alone), Box::new(whole)];
    let done = turns::take("path", events.count, &sides, rounds).await?;
    let files = made.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let same = Questions::of(&events.schema).agree(&[converted, Files { side, files }], events.count).await?;
    Ok(done.with("input_bytes", json!(events.bytes)).with("same", same).json())
}
