//! Configured queues that are polled: intakes, each with the settings of the stream that feeds its table, and the redrive queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardmill_actors::intake::Settings;
use shardmill_actors::redrives;
use shardmill_actors::shared::StreamSettings;
use shardmill_actors::standardise::TablesBook;
use shardmill_connectors::Failure;
use shardmill_connectors::ports::{Queue, RawFiles};
use shardmill_connectors::raw::Announcements;

use crate::config::Config;

/// How a backend's queues are polled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long a notice in hand is hidden before it is extended or handed out again.
    pub(super) visibility: Duration,
    /// How long a poll waits for a notice.
    pub(super) wait: Duration,
}

/// Polling costs nothing here, so that what a killed node had in hand need not wait for long.
pub(super) const EMBEDDED: Pace = Pace { visibility: Duration::from_secs(10), wait: Duration::from_secs(1) };
/// A poll costs money, and a node that stops waits for the end of one.
pub(super) const SQS: Pace = Pace { visibility: Duration::from_secs(120), wait: Duration::from_secs(10) };

/// A redrive may take hours, and what a killed node had in hand should not have to wait as long as a file.
pub(super) const REDRIVES_SQS: Pace = Pace { visibility: Duration::from_secs(60), ..SQS };

/// The redrive queue, if one is named.
pub(super) fn redrives(
    config: &Config,
    queue: impl Fn(&str) -> Result<Arc<dyn Queue>, Failure>,
    pace: Pace,
) -> Result<Option<redrives::Settings>, Failure> {
    let Some(name) = &config.dead_letters.redrive_queue else { return Ok(None) };
    Ok(Some(redrives::Settings { queue: queue(name)?, visibility: pace.visibility, wait: pace.wait }))
}

/// Everything that `[intake.…]` names.
pub(super) fn settings(
    config: &Config,
    streams: &BTreeMap<String, StreamSettings>,
    files: &Arc<dyn RawFiles>,
    queue: impl Fn(&str) -> Result<Arc<dyn Queue>, Failure>,
    pace: Pace,
) -> Result<Vec<Settings>, Failure> {
    let mut opened = Vec::new();
    for (name, settings) in &config.intake {
        // The configuration was checked: there is one.
        let Some(table) = table(streams, &settings.table) else { continue };
        let queue = queue(&settings.queue)?;
        let announcements = Arc::new(Announcements::new(name, queue.clone()));
        opened.push(Settings {
            name: name.clone(),
            queue,
            files: files.clone(),
            table: StreamSettings { stream: announcements, ..table },
            visibility: pace.visibility,
            wait: pace.wait,
        });
    }
    Ok(opened)
}

/// How events of raw files become rows: where a stream puts the rest of its events into the table that is named, as that stream's own
/// would; where it puts those of some names there, in that table, whatever their names are.
fn table(streams: &BTreeMap<String, StreamSettings>, name: &str) -> Option<StreamSettings> {
    if let Some(whole) = streams.values().find(|stream| stream.tables.current().rest().name == name) {
        return Some(whole.clone());
    }
    let stream = streams.values().find(|stream| stream.tables.current().get(name).is_some())?;
    let only = Arc::new(TablesBook::only(stream.tables.clone(), name));
    Some(StreamSettings { tables: only, ..stream.clone() })
}
