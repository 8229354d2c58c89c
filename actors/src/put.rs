//! Putting records into a stream until it has taken them: what it turned away because it was too much is put again, in order per
//! key, for as long as a client can be made to wait.
//!
//! Only what the stream says it has *not* taken is repeated. A put without an answer may have happened: whoever sent the event
//! is told so, and decides.

use std::time::{Duration, Instant};

use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::ports::Stream;
use shardmill_connectors::record::{NewRecord, Position};

use crate::supervision::backoff::delay;
use crate::tree;

/// How long a client can be made to wait for a stream that is too busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a record.
type Outcome = Result<Position, Failure>;

/// Puts `records`; one outcome for each, in the same order.
///
/// # Errors
/// When the first attempt failed as a whole.
pub async fn put(stream: &dyn Stream, records: Vec<NewRecord>) -> Result<Vec<Outcome>, Failure> {
    let began = Instant::now();
    let mut outcomes = stream.put(records.clone()).await?;
    for attempt in 1.. {
        let again = turned_away(&outcomes);
        let wait = delay(&tree::PUT, attempt, None, &mut rand::random);
        if again.is_empty() || began.elapsed() + wait > PATIENCE {
            break;
        }
        tokio::time::sleep(wait).await;
        let those = again.iter().filter_map(|index| records.get(*index).cloned()).collect();
        // Failed as a whole: what was said of each before still holds.
        let Ok(found) = stream.put(those).await else { break };
        for (index, outcome) in again.into_iter().zip(found) {
            outcomes[index] = outcome;
        }
    }
    Ok(outcomes)
}

/// The records that the stream has not taken because it was too much, in order.
fn turned_away(outcomes: &[Outcome]) -> Vec<usize> {
    let throttled =
        |outcome: &Outcome| outcome.as_ref().is_err_and(|failure| failure.class == Class::Throttled);
    outcomes.iter().enumerate().filter(|(_, outcome)| throttled(outcome)).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use shardmill_connectors::ports::{Shard, ShardReader, Start};
    use shardmill_connectors::record::ShardId;

    use super::*;

    /// A stream that answers each put as it is told: for each record whether it is taken.
    #[derive(Debug, Default)]
    struct Busy {
        takes: Mutex<VecDeque<Vec<bool>>>,
        taken: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Stream for Busy {
        fn name(&self) -> &str {
            "busy"
        }
        async fn put(&self, records: Vec<NewRecord>) -> Result<Vec<Outcome>, Failure> {
            let Some(takes) = self.takes.lock().unwrap().pop_front() else {
                return Err(Failure::transient("no answer"));
            };
            let mut taken = self.taken.lock().unwrap();
            let one = |(record, takes): (NewRecord, bool)| match takes {
                true => {
                    taken.push(String::from_utf8(record.data.to_vec()).unwrap());
                    Ok(Position { sequence: (taken.len() as u64).into(), subsequence: 0 })
                }
                false => Err(Failure::new(Class::Throttled, "too much")),
            };
            Ok(records.into_iter().zip(takes).map(one).collect())
        }
        async fn shards(&self) -> Result<Vec<Shard>, Failure> {
            Ok(Vec::new())
        }
        async fn open(&self, _: &ShardId, _: Start) -> Result<Box<dyn ShardReader>, Failure> {
            Err(Failure::rejected("nothing to read"))
        }
        async fn split(&self, _: &ShardId, _: u128) -> Result<(), Failure> {
            Ok(())
        }
        async fn merge(&self, _: &ShardId, _: &ShardId) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn records(names: &[&'static str]) -> Vec<NewRecord> {
        names.iter().map(|name| NewRecord { key: "k".into(), data: (*name).into(), trace: None }).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_turned_away_comes_again_in_order_until_it_is_taken() {
        let busy = Busy::default();
        *busy.takes.lock().unwrap() =
            VecDeque::from([vec![true, false, false], vec![false, false], vec![true, true]]);
        let outcomes = put(&busy, records(&["a", "b", "c"])).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(*busy.taken.lock().unwrap(), ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_put_without_an_answer_is_not_repeated() {
        let busy = Busy::default();
        *busy.takes.lock().unwrap() = VecDeque::from([vec![true, false]]);
        let outcomes = put(&busy, records(&["a", "b"])).await.unwrap();
        assert!(outcomes[0].is_ok());
        assert_eq!(outcomes[1].as_ref().unwrap_err().class, Class::Throttled, "what was known of it");
        assert!(put(&busy, records(&["c"])).await.is_err());
    }
}
