//! How far the raw backups reach: a shard that is still being read has kept nothing yet of what comes after its watermark.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use shardmill_connectors::clock::Millis;

use crate::shared::StreamSettings;
use crate::state::ShardState;

/// A shard whose raw backup does not reach the end of what is asked for yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Its stream.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// Everything that arrived before this moment, by the stream's clock, is kept; `None` while nobody knows.
    #[serde(serialize_with = "moment")]
    pub kept_through: Option<Millis>,
}

#[allow(clippy::ref_option)] // as serde calls it
fn moment<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Behind { stream, shard, kept_through } = self;
        match kept_through {
            Some(at) => write!(f, "shard {shard} of stream {stream} is kept through {at}")?,
            None => write!(f, "nobody knows yet how far shard {shard} of stream {stream} is kept")?,
        }
        f.write_str("; run again later for the rest")
    }
}

/// The shards of streams that are kept as they are received, and that are not read as far as `to` yet: not those that ended.
pub(super) fn behind(
    shards: &[ShardState],
    streams: &BTreeMap<String, StreamSettings>,
    to: Millis,
) -> Vec<Behind> {
    let is_kept = |shard: &&ShardState| streams.get(&shard.stream).is_some_and(|stream| stream.raw);
    let is_behind =
        |shard: &&ShardState| !shard.ended && shard.watermark.is_none_or(|watermark| watermark < to);
    let told = |shard: &ShardState| Behind {
        stream: shard.stream.clone(),
        shard: shard.shard.clone(),
        kept_through: shard.watermark,
    };
    shards.iter().filter(is_kept).filter(is_behind).map(told).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_far_a_shard_is_kept_is_told_in_words_and_as_json() {
        let at = "2026-11-21T07:00:00Z".parse().unwrap();
        let of = |kept_through| Behind { stream: "web".into(), shard: "3".into(), kept_through };
        assert_eq!(
            of(Some(at)).to_string(),
            "shard 3 of stream web is kept through 2026-11-21T07:00:00.000Z; run again later for the rest"
        );
        assert!(of(None).to_string().contains("nobody knows"));
        let said = serde_json::to_value([of(Some(at)), of(None)]).unwrap();
        assert_eq!(said[0]["kept_through"], "2026-11-21T07:00:00.000Z");
        assert_eq!(said[1], json!({"stream": "web", "shard": "3", "kept_through": null}));
    }
}
