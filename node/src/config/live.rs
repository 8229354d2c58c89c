//! `live` and `live_every` of `[lake]`, and `live` of `[tables.NAME]`: which tables have one beside them that shows what is committed
//! and not compacted yet. Embedded they say nothing: `shardmill query` shows fresh rows there anyway.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shardmill_connectors::layout;

use super::reader::Section;
use super::table_settings::TableSettings;
use super::{Backend, Config, Period};

/// What `[lake]` says of live tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Whether tables have one that do not say themselves; default: not.
    pub on: bool,
    /// The shortest time between two changes of what one shows of an hour; default 10 s, as often as documents are read on S3.
    pub every: Period,
}

impl Default for Live {
    fn default() -> Self {
        Live { on: false, every: Period::seconds(10) }
    }
}

/// Reads the keys `live` and `live_every`.
pub(super) fn read(section: &mut Section<'_>) -> Live {
    let defaults = Live::default();
    Live {
        on: section.flag("live").unwrap_or(defaults.on),
        every: section.setting("live_every").unwrap_or(defaults.every),
    }
}

/// Reports live tables whose names are those of other tables.
pub(super) fn check(config: &Config, root: &Section<'_>) {
    if config.backend == Backend::Embedded {
        return;
    }
    let fed: BTreeSet<&str> =
        config.streams.values().flat_map(|stream| stream.fed().map(|(table, _)| table)).collect();
    for table in &fed {
        let (live, own) = (layout::live_table(table), config.live_by_table().contains_key(*table));
        if config.is_live(table) && fed.contains(live.as_str()) {
            let key = if own { format!("tables.{table}.live") } else { "lake.live".to_owned() };
            let message = format!("the live table of `{table}` would be `{live}`, which a stream feeds");
            let fix = format!("give that table another name, or set live = false in [tables.{table}]");
            root.report_at(config.line(&key), &key, message, fix);
        }
    }
}

impl Config {
    /// Whether a table has a live one beside it.
    pub fn is_live(&self, table: &str) -> bool {
        self.live_by_table().get(table).copied().unwrap_or(self.lake.live.on)
    }

    /// Which tables have one that say so themselves, and which have none.
    pub fn live_by_table(&self) -> BTreeMap<String, bool> {
        let live = |(name, settings): (&String, &TableSettings)| Some((name.clone(), settings.live?));
        self.tables.iter().filter_map(live).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AWS: &str = "backend = \"aws\"\n[streams.web]\nkinesis = \"w\"\n[streams.raw]\nkinesis = \"r\"\n[documents]\nurl = \"s3://acme/state/\"\n\
                       [athena]\ndatabase = \"acme\"\n[dead_letters]\nqueue = \"https://sqs/dead\"\n\
                       [lake]\nurl = \"s3://acme/events\"\n";

    fn parse(text: &str) -> Result<Config, Vec<super::super::Problem>> {
        Config::parse("c.toml", text, &|_| None)
    }

    #[test]
    fn a_table_is_live_when_it_says_so_or_all_are() {
        let config = parse(&format!("{AWS}live = true\n[tables.raw]\nlive = false\n")).unwrap();
        assert!(config.is_live("web") && !config.is_live("raw"));
        assert_eq!(config.lake.live.every.0, Duration::from_secs(10));
        let config = parse(&format!("{AWS}live_every = \"1m\"\n[tables.raw]\nlive = true\n")).unwrap();
        assert!(!config.is_live("web") && config.is_live("raw"));
        assert_eq!(config.lake.live.every.0, Duration::from_secs(60));
        assert!(!parse(AWS).unwrap().is_live("web"));
    }

    #[test]
    fn a_live_table_that_would_be_another_is_told() {
        let text = AWS.replace("[streams.raw]", "[streams.web_live]");
        let problems = parse(&format!("{text}live = true\n")).unwrap_err();
        assert_eq!((problems.len(), problems[0].line, problems[0].key.as_str()), (1, 14, "lake.live"));
        assert!(problems[0].fix.contains("[tables.web]"), "{problems:?}");
        assert!(parse(&format!("{text}live = true\n[tables.web]\nlive = false\n")).is_ok());
        let own = parse(&format!("{text}[tables.web]\nlive = true\n")).unwrap_err();
        assert_eq!(own[0].key, "tables.web.live");
    }

    #[test]
    fn embedded_it_is_taken_and_says_nothing() {
        let config = parse("[streams.web]\n[streams.web_live]\n[lake]\nlive = true\n").unwrap();
        assert!(config.lake.live.on);
    }
}
