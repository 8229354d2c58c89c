//! Composition of deliveries: from the configured destinations to open connectors with their strategies, gates' limits and
//! mappings; and the same again when an operator has the configuration read anew.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardmill_actors::alarms::AlarmSettings;
use shardmill_actors::destination::{OnOutage, OnUnknown, Settings};
use shardmill_actors::shared::Reload;
use shardmill_actors::state::lane::LaneStart;
use shardmill_actors::tree::{self, Retry};
use shardmill_connectors::Failure;
use shardmill_connectors::destinations::quota::{self, Counted};
use shardmill_connectors::destinations::registry::{self, Kind, Setup};
use shardmill_connectors::destinations::sender::Sender;
use shardmill_connectors::destinations::{Destination, Limits, Quota};
use shardmill_connectors::fields::Fields;
use shardmill_connectors::notify::Notifier;

use crate::config::{self, Config, Problem};
use crate::wire;

/// Opens every destination that `config` names, or says everything that is wrong with them. Nothing is reached for yet.
pub fn open(config: &Config, sender: &Sender) -> Result<Vec<Settings>, Vec<Problem>> {
    let (mut opened, mut problems) = (Vec::new(), Vec::new());
    for (name, destination) in &config.destinations {
        match one(config, name, destination, sender) {
            Ok(settings) => opened.push(settings),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(opened) } else { Err(problems) }
}

fn one(
    config: &Config,
    name: &str,
    destination: &config::Destination,
    sender: &Sender,
) -> Result<Settings, Vec<Problem>> {
    let problem =
        |key: &str, message: String, fix: String| config.destination_problem(name, key, message, fix);
    let Some(kind) = registry::find(&destination.kind) else {
        let known: Vec<&str> = registry::KINDS.iter().map(|kind| kind.name).collect();
        let fix = match registry::nearest(&destination.kind) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}", known.join(", ")),
        };
        let message = format!("`{}` is no kind of destination", destination.kind);
        return Err(vec![problem("kind", message, fix)]);
    };
    let setup = Setup {
        name: name.to_owned(),
        settings: destination.settings.values().clone(),
        batch: destination.batch.map(|batch| batch as usize),
        base_dir: config.data_dir.clone(),
        sender: sender.clone(),
    };
    let connector = kind.open(setup).map_err(|found| {
        found.into_iter().map(|found| problem(&found.key, found.message, found.fix)).collect::<Vec<_>>()
    })?;
    let mapping = destination.mapping().map_err(|found| {
        let of = |(key, message, fix)| problem(&format!("map.{key}"), message, fix);
        found.into_iter().map(of).collect::<Vec<_>>()
    })?;
    let quotas = quota::in_force(connector.quotas(), &destination.rate);
    Ok(Settings {
        name: name.to_owned(),
        kind: kind.name.to_owned(),
        limits: limits(destination, connector.as_ref(), &quotas),
        quotas,
        connector,
        strategy: tree::delivery(retry(destination, kind)),
        key: Fields { name: vec![], time: vec![], id: vec![], key: destination.key.clone() },
        start: match destination.start {
            config::LaneStart::Lake => LaneStart::Lake,
            config::LaneStart::TrimHorizon => LaneStart::Oldest,
            config::LaneStart::At(moment) => LaneStart::At(moment),
        },
        park_after: destination.park_after.map_or(PARK_AFTER, |period| period.0),
        on_outage: match destination.on_outage {
            config::OnOutage::Hold => OnOutage::Hold,
            config::OnOutage::DeadLetter => OnOutage::DeadLetter,
        },
        on_unknown: match destination.on_unknown {
            config::OnUnknown::Repeat => OnUnknown::Repeat,
            config::OnUnknown::DeadLetter => OnUnknown::DeadLetter,
        },
        mapping: Arc::new(mapping),
        fingerprint: fingerprint(destination),
    })
}

/// How long a key may fail before it is parked, unless the configuration says otherwise.
const PARK_AFTER: Duration = Duration::from_secs(30);

/// The connector's limits, lowered by what is configured. A batch of more events than a quota has would never be sent.
fn limits(destination: &config::Destination, connector: &dyn Destination, quotas: &[Quota]) -> Limits {
    let limits = connector.limits();
    let counted = quotas.iter().filter(|quota| quota.of == Counted::Events).map(|quota| quota.count);
    let most = counted.chain(destination.batch.map(u64::from)).min();
    let least = |own: usize, configured: Option<u64>| {
        configured.and_then(|most| usize::try_from(most).ok()).map_or(own, |most| own.min(most))
    };
    Limits {
        events: least(limits.events, most).max(1),
        bytes: least(limits.bytes, destination.batch_bytes.map(|size| size.0)).max(1),
        linger: destination.batch_age.map_or(limits.linger, |period| period.0),
        concurrency: least(limits.concurrency, destination.concurrency.map(u64::from)).max(1),
        ..limits
    }
}

fn retry(destination: &config::Destination, kind: &Kind) -> Retry {
    let (own, defaults) = (&destination.retry, &kind.retry);
    Retry {
        base: Some(own.base.map_or(defaults.base, |period| period.0)),
        max: Some(own.max.map_or(defaults.max, |period| period.0)),
        attempts: Some(own.attempts.unwrap_or(defaults.attempts)),
        max_age: Some(own.max_age.map_or(defaults.max_age, |period| period.0)),
    }
}

/// Tells one configuration of a destination from another, secrets included.
fn fingerprint(destination: &config::Destination) -> u128 {
    let mut hash = DefaultHasher::new();
    format!("{destination:?}").hash(&mut hash);
    for values in [destination.settings.values(), destination.map.values()] {
        serde_json::to_string(values).unwrap_or_default().hash(&mut hash);
    }
    u128::from(hash.finish())
}

/// When alarms are raised, and who is told.
pub fn alarms(config: &Config, sender: &Sender) -> Result<AlarmSettings, Vec<Problem>> {
    let alarms = &config.alarms;
    let mut notifiers = Vec::new();
    let kinds = [
        ("webhook", &alarms.webhook, Notifier::webhook as fn(&str, Sender) -> _),
        ("slack", &alarms.slack, Notifier::slack),
    ];
    for (key, url, open) in kinds {
        let Some(url) = url else { continue };
        let notifier = open(url.reveal(), sender.clone()).map_err(|found| {
            let file = config.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
            let key = format!("alarms.{key}");
            vec![Problem { file, line: 0, key, message: found.message, fix: found.fix }]
        })?;
        notifiers.push(Arc::new(notifier));
    }
    Ok(AlarmSettings { depth: alarms.dead_letters, per_minute: alarms.dead_letters_per_minute, notifiers })
}

/// Reads the configuration file's destinations again.
#[derive(Debug)]
pub struct Reloading {
    /// The file; `None`: there is nothing to read again.
    pub file: Option<PathBuf>,
    /// The configuration the node was started with.
    pub config: Config,
    /// The shared HTTP client.
    pub sender: Sender,
}

#[async_trait]
impl Reload for Reloading {
    async fn destinations(&self) -> Result<Vec<Settings>, Failure> {
        let told = |problems: Vec<Problem>| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::rejected(format!("nothing was changed: {}", lines.join("\n")))
        };
        let mut config = self.config.clone();
        if let Some(file) = &self.file {
            // Everything else, the data directory above all, stays what the node was started with.
            config.destinations = Config::load(file).map_err(told)?.destinations;
        }
        let config = wire::complete(&config).await.map_err(told)?;
        open(&config, &self.sender).map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(lines: &str) -> Settings {
        let text = format!(
            "[streams.events]\n[destinations.hook]\nkind = \"webhook\"\nurl = \"https://a.example\"\n{lines}"
        );
        let config = Config::parse("a.toml", &text, &|_| None).unwrap();
        open(&config, &Sender::new().unwrap()).unwrap().remove(0)
    }

    #[test]
    fn no_batch_is_larger_than_what_a_quota_lets_through() {
        let own = opened("batch = 1000").limits.events;
        assert!(own > 30, "{own}");
        for (lines, events) in [
            ("batch = 1000\nrate = \"30/s\"", 30),
            ("batch = 1000\nrate = [\"500/s\", \"20 events/day UTC\"]", 20),
            ("batch = 5\nrate = \"30/s\"", 5),
            ("batch = 1000\nrate = \"3 requests/s\"", own),
        ] {
            assert_eq!(opened(lines).limits.events, events, "{lines}");
        }
    }
}
