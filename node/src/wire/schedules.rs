//! Configured schedules, each with the stream that its rows go to.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardmill_actors::schedules::Settings;
use shardmill_actors::shared::StreamSettings;
use shardmill_connectors::Failure;
use shardmill_connectors::batches::Pattern;
use shardmill_connectors::ports::RawFiles;

use crate::config::Config;

/// Everything that `[[schedules]]` names. Local files count from the configuration's folder.
pub(super) fn settings(
    config: &Config,
    streams: &BTreeMap<String, StreamSettings>,
    files: &Arc<dyn RawFiles>,
) -> Result<Vec<Settings>, Failure> {
    let mut opened = Vec::new();
    for schedule in &config.schedules {
        // The configuration was checked: there is one.
        let Some(stream) = streams.get(&schedule.stream) else { continue };
        opened.push(Settings {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            pattern: absolute(config, &schedule.files)?,
            files: files.clone(),
            format: schedule.format,
            null: schedule.null.clone(),
            stream: stream.clone(),
        });
    }
    Ok(opened)
}

fn absolute(config: &Config, pattern: &Pattern) -> Result<Pattern, Failure> {
    if !pattern.bucket().is_empty() {
        return Ok(pattern.clone());
    }
    let wrong = |error: &dyn std::fmt::Display| Failure::rejected(format!("{pattern}: {error}"));
    let path = std::path::absolute(config.resolve(pattern.key())).map_err(|error| wrong(&error))?;
    path.to_str().ok_or_else(|| wrong(&"its folder's name is not UTF-8"))?.parse().map_err(Failure::rejected)
}
