//! The configured destinations as redelivery sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::deliver::{Prepared, Target, Targets};
use super::letter::Letter;
use crate::destination::Settings;
use crate::lane::prepare::{self, Received};
use crate::shared::StreamSettings;

/// The destinations that a configuration names, with the streams that letters come from.
#[derive(Debug)]
pub struct Configured {
    destinations: BTreeMap<String, Settings>,
    streams: Arc<BTreeMap<String, StreamSettings>>,
}

impl Configured {
    /// These destinations, for letters from these streams.
    pub fn new(
        destinations: impl IntoIterator<Item = Settings>,
        streams: Arc<BTreeMap<String, StreamSettings>>,
    ) -> Self {
        let of = |settings: Settings| (settings.name.clone(), settings);
        Configured { destinations: destinations.into_iter().map(of).collect(), streams }
    }
}

impl Targets for Configured {
    fn target(&self, name: &str) -> Option<Target> {
        let settings = self.destinations.get(name)?.clone();
        let (streams, prepared_for) = (self.streams.clone(), settings.clone());
        Some(Target {
            destination: settings.connector,
            prepare: Arc::new(move |letter: &Letter| prepare(&prepared_for, &streams, letter)),
            limits: settings.limits,
            strategy: settings.strategy,
            on_unknown: settings.on_unknown,
            quotas: settings.quotas,
        })
    }
}

/// A letter's event as its destination gets it now: the mapping is today's, the rules are not asked again.
fn prepare(settings: &Settings, streams: &BTreeMap<String, StreamSettings>, letter: &Letter) -> Prepared {
    let Some(stream) = streams.get(&*letter.origin.stream) else {
        return Prepared::Skip(format!("its stream `{}` is not configured", letter.origin.stream));
    };
    let data = match letter.data() {
        Ok(data) => Bytes::from(data),
        Err(reason) => return Prepared::Invalid(reason),
    };
    let received =
        Received { origin: Arc::new(letter.origin.clone()), partition_key: &letter.key, data: &data };
    match prepare::prepare(settings, &stream.fields, &received, None) {
        prepare::Prepared::Event(event) => Prepared::Event(event),
        prepare::Prepared::NotMeant => Prepared::Invalid("its payload is not a JSON object".into()),
        prepare::Prepared::Skipped(reason) => Prepared::Skip(reason.into()),
        prepare::Prepared::Refused(_, failure) => Prepared::Invalid(failure.detail),
    }
}
