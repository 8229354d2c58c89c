//! Which keys are sent, so that every shard has the load that is wanted of it.

use std::sync::Arc;

use shardmill_connectors::ports::Shard;
use shardmill_connectors::ports::stream::hash_key;

/// Requests at a time. Every shard gets keys of every sender, in turns.
pub(super) const SENDERS: usize = 4;

/// The open shards of a stream, by the keys they hold.
#[derive(Debug, Clone)]
pub(super) struct Shards(Vec<Shard>);

impl Shards {
    /// In the order of their ranges.
    pub(super) fn new(mut shards: Vec<Shard>) -> Self {
        shards.retain(|shard| !shard.closed);
        shards.sort_by_key(|shard| shard.range.start);
        Shards(shards)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of the shard that holds a key.
    pub(super) fn place(&self, key: &str) -> usize {
        let hash = hash_key(key);
        self.0.iter().position(|shard| shard.range.holds(hash)).unwrap_or_default()
    }

    /// The name of the shard that holds a key.
    pub(super) fn of(&self, key: &str) -> String {
        self.name(self.place(key))
    }

    /// The name of the shard in a place.
    pub(super) fn name(&self, place: usize) -> String {
        self.0.get(place).map(|shard| shard.id.to_string()).unwrap_or_default()
    }

    /// Names of keys for a feed with [`SENDERS`] senders: the shard in place `i` gets `weights[i]` keys of each sender. Senders are
    /// in different places of the round at any time.
    pub(super) fn keys(&self, weights: &[usize]) -> Arc<[String]> {
        let round: Vec<usize> = (0..weights.iter().copied().max().unwrap_or_default())
            .flat_map(|turn| (0..self.len()).filter(move |place| weights.get(*place) > Some(&turn)))
            .collect();
        let mut pools: Vec<Vec<String>> = vec![Vec::new(); self.len()];
        let mut candidates = (0_u64..).map(|number| format!("k{number}"));
        let mut take = |place: usize| loop {
            if let Some(name) = pools.get_mut(place).and_then(Vec::pop) {
                return name;
            }
            if let Some(name) = candidates.next()
                && let Some(pool) = pools.get_mut(self.place(&name))
            {
                pool.push(name);
            }
        };
        let shift = round.len() / SENDERS;
        let mut names = Vec::with_capacity(round.len() * SENDERS);
        for turn in 0..round.len() {
            for sender in 0..SENDERS {
                names.push(take(round[(turn + sender * shift) % round.len()]));
            }
        }
        names.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shardmill_connectors::ports::HashRange;

    use super::*;

    #[test]
    fn every_shard_gets_as_many_keys_as_it_should() {
        let step = u128::MAX / 4;
        let shard = |number: u128| Shard {
            id: number.to_string().as_str().into(),
            range: HashRange { start: number * step, end: (number + 1) * step - 1 },
            parents: Vec::new(),
            closed: false,
        };
        let shards = Shards::new((0..4).map(shard).collect());
        let names = shards.keys(&[1, 1, 5, 2]);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 9 * SENDERS);
        let count = |place| names.iter().filter(|name| shards.place(name) == place).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [4, 4, 20, 8]);
    }
}
