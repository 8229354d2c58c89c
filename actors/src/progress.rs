//! Progress, not heartbeats: finds work that is alive and does not move. Pure: marks and the clock are handed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long work may stand still. Even a shard without events moves its watermark every minute.
pub const LIMIT: Duration = Duration::from_secs(300);
/// Who did not look for so long knows nothing of the time between.
const BLIND: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
struct Entry<M> {
    mark: M,
    since: Instant,
}

/// What stands where, and since when.
#[derive(Debug, Clone)]
pub struct Progress<M> {
    limit: Duration,
    entries: BTreeMap<String, Entry<M>>,
    looked: Option<Instant>,
}

impl<M: PartialEq> Progress<M> {
    /// Work may stand still for `limit`.
    pub fn new(limit: Duration) -> Self {
        Progress { limit, entries: BTreeMap::new(), looked: None }
    }

    /// Looks at all the work there is at `now`. What has stood still for the limit, or for yet another one.
    pub fn look(&mut self, marks: impl Iterator<Item = (String, M)>, now: Instant) -> Vec<String> {
        let blind = self.looked.replace(now).is_none_or(|at| now.duration_since(at) > BLIND);
        let mut before = std::mem::take(&mut self.entries);
        let mut stuck = Vec::new();
        for (name, mark) in marks {
            let mut entry = match before.remove(&name) {
                Some(entry) if entry.mark == mark && !blind => entry,
                Some(entry) if entry.mark == mark => Entry { since: now, ..entry },
                _ => Entry { mark, since: now },
            };
            if now.duration_since(entry.since) >= self.limit {
                entry.since = now;
                stuck.push(name.clone());
            }
            self.entries.insert(name, entry);
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_move_is_found_again_and_again_until_it_does() {
        let mut progress = Progress::new(Duration::from_secs(100));
        let start = Instant::now();
        let mut look = |seconds: u64, marks: &[(&str, u64)]| {
            let marks: Vec<_> = marks.iter().map(|(name, mark)| ((*name).to_owned(), *mark)).collect();
            progress.look(marks.into_iter(), start + Duration::from_secs(seconds))
        };
        for seconds in (0..100).step_by(25) {
            assert!(look(seconds, &[("a", 1), ("b", seconds)]).is_empty());
        }
        assert_eq!(look(100, &[("a", 1), ("b", 100)]), ["a"]);
        assert!(look(150, &[("a", 1), ("b", 150)]).is_empty());
        assert_eq!(look(200, &[("a", 1), ("b", 200)]), ["a"]);
        assert!(look(225, &[("a", 2), ("b", 225)]).is_empty(), "it moves again");
        // Nobody looked for long: nothing is known of that time.
        assert!(look(900, &[("a", 2), ("b", 225)]).is_empty());
        assert!(look(950, &[("a", 2)]).is_empty());
        assert_eq!(look(1_000, &[("a", 2), ("b", 225)]), ["a"], "b was gone meanwhile");
    }
}
