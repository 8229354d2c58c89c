//! Enhanced fan-out: a shard's records as they are pushed, at up to 2 MiB a second that no other consumer shares.
//!
//! A consumer has one subscription to a shard. The first cursor that needs one has the seat for as long as it lives, whatever
//! becomes of its subscriptions; all other cursors poll. It subscribes where it would ask for an iterator: *at* the record it
//! stands behind, so that the same proof tells what was trimmed. One that begins at a time or at the tip polls until it has
//! read a record, for where the tip was can't be asked for twice. Whatever goes wrong, it polls for a while: there is nothing
//! that only a subscription can bring. Where a subscription and a look overlap, the cursor passes over what it has.

use std::time::Duration;

use aws_sdk_kinesis::types::SubscribeToShardEvent;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::answer::is_simple;
use super::cursor::{Cursor, From, Page};
use super::pace::{Pace, Seat};
use super::reader::raw;
use super::subscription::{Consumer, End, Subscription};
use crate::clock::Millis;
use crate::failure::{Class, Failure};
use crate::record::{Record, ShardId};

/// How many times longer a shard is polled when somebody must do something first.
const LONGER: u32 = 10;

/// What there is to be had by a subscription.
#[derive(Debug)]
pub(super) enum Pushed {
    /// What an event brought.
    Page(Page),
    /// Nothing until the deadline.
    Quiet,
    /// Nothing can come by it now: poll.
    Poll,
}

/// A cursor's subscription, when it has one.
#[derive(Debug)]
pub(super) struct Push {
    consumer: Consumer,
    shard: ShardId,
    seat: Option<OwnedMutexGuard<Seat>>,
    subscription: Option<Subscription>,
    /// When the next look at a quiet shard is due.
    look: Instant,
}

impl Push {
    pub(super) fn new(consumer: Consumer, shard: ShardId) -> Self {
        Push { consumer, shard, seat: None, subscription: None, look: Instant::now() }
    }

    /// Ends the subscription; the next begins at the cursor.
    pub(super) fn end(&mut self) {
        self.subscription = None;
    }

    /// When a quiet shard is to be looked at.
    pub(super) fn look(&self) -> Instant {
        self.look
    }

    /// It is known, or was just asked, until when everything was seen.
    pub(super) fn put_off_look(&mut self) {
        self.look = Instant::now() + self.consumer.options.look;
    }

    /// Waits for the next event until the deadline.
    pub(super) async fn next(&mut self, pace: &Pace, cursor: &mut Cursor, deadline: Instant) -> Pushed {
        loop {
            if self.subscription.is_none() {
                self.subscribe(pace, cursor).await;
            }
            let Some(subscription) = &mut self.subscription else { return Pushed::Poll };
            let told = match tokio::time::timeout_at(deadline, subscription.events.recv()).await {
                Err(_) => return Pushed::Quiet,
                Ok(told) => told.unwrap_or(Err(End::Over)),
            };
            match told.and_then(|event| page(event, subscription.began)) {
                Ok(page) => return Pushed::Page(page),
                // The next may begin at once if this one lasted.
                Err(end) => self.ended(&end),
            }
        }
    }

    async fn subscribe(&mut self, pace: &Pace, cursor: &mut Cursor) {
        let from = cursor.from();
        if matches!(from, From::Latest | From::Since(_)) {
            return;
        }
        self.seat = self.seat.take().or_else(|| pace.seat());
        let Some(seat) = &mut self.seat else { return };
        if !seat.is_free(Instant::now()) {
            return;
        }
        let again = self.consumer.options.again;
        // Whether or not anybody is still here to see the answer.
        seat.keep_off(Instant::now() + again);
        match Subscription::begin(&self.consumer, &self.shard, &from).await {
            Ok(subscription) => {
                seat.keep_off(Instant::now() + again);
                cursor.opened(subscription.began);
                self.subscription = Some(subscription);
            }
            Err(failure) => self.ended(&End::Failed(failure)),
        }
    }

    fn ended(&mut self, end: &End) {
        self.subscription = None;
        let pause = pause(end, self.consumer.options.again);
        if let Some(seat) = self.seat.as_mut().filter(|_| !pause.is_zero()) {
            seat.keep_off(Instant::now() + pause);
        }
        match end {
            End::Over | End::Unread => {}
            End::Taken => {
                tracing::warn!(shard = %self.shard, consumer = %self.consumer.arn, "somebody else reads as this consumer: polling for a while");
            }
            End::Failed(failure) if must_be_mended(failure) => {
                tracing::warn!(shard = %self.shard, %failure, "no subscription: polling for a while");
            }
            End::Failed(failure) => {
                tracing::debug!(shard = %self.shard, %failure, "no subscription: polling for a while");
            }
        }
    }
}

/// How long the shard is polled at least after a subscription ended so.
fn pause(end: &End, again: Duration) -> Duration {
    match end {
        End::Over | End::Unread => Duration::ZERO,
        // Two that take it from each other would both be served badly.
        End::Taken => again * LONGER,
        End::Failed(failure) if must_be_mended(failure) => again * LONGER,
        End::Failed(_) => again,
    }
}

/// Whether the next attempt is likely to fail, too.
fn must_be_mended(failure: &Failure) -> bool {
    matches!(failure.class, Class::Unauthorized | Class::Rejected | Class::Crashed)
}

/// What an event says; `began`: when its subscription did.
///
/// An event may have lain in the connection for long, and does not tell since when. It was sent when its subscription began
/// or later, and when its last record arrived or later: that is the time that it stands for.
fn page(event: SubscribeToShardEvent, began: Option<Millis>) -> Result<Page, End> {
    let wrong =
        |detail: String| End::Failed(Failure::transient(format!("an event of a subscription: {detail}")));
    let open = !event.continuation_sequence_number.is_empty();
    let children = !event.child_shards().is_empty();
    if !open && !children {
        // Taken for the end of the shard, it might cost the rest of it. Polling will tell.
        return Err(wrong("tells neither where to go on nor which shards follow".to_owned()));
    }
    let records: Vec<Record> = event.records.into_iter().map(raw).collect::<Result<_, _>>().map_err(wrong)?;
    let arrived = records.iter().map(|record| record.arrived_at).max();
    Ok(Page {
        date: began.max(arrived),
        behind_ms: event.millis_behind_latest.max(0),
        full: false,
        // Servers other than AWS name the children with every event of a closed shard.
        ended: children && (!open || records.is_empty()),
        simple: is_simple(&records),
        records,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;
    use aws_sdk_kinesis::types::{ChildShard, HashKeyRange, Record};
    use aws_smithy_types::DateTime;

    use super::*;

    const AGAIN: Duration = Duration::from_secs(6);

    #[test]
    fn who_polls_and_for_how_long() {
        let failed = |class| End::Failed(Failure::new(class, "x"));
        let cases = [
            (End::Over, 0),
            (End::Unread, 0),
            (End::Taken, 60),
            (failed(Class::Transient), 6),
            (failed(Class::Throttled), 6),
            (failed(Class::Rejected), 60),
            (failed(Class::Unauthorized), 60),
            (failed(Class::Crashed), 60),
        ];
        for (end, seconds) in cases {
            assert_eq!(pause(&end, AGAIN), Duration::from_secs(seconds), "{end:?}");
        }
    }

    fn event(arrivals: &[i64], next: &str, children: bool) -> SubscribeToShardEvent {
        let record = |arrived: &i64| {
            let record = Record::builder().sequence_number(arrived.to_string()).partition_key("k");
            let record = record.approximate_arrival_timestamp(DateTime::from_millis(*arrived));
            record.data(Blob::new("{}")).build().unwrap()
        };
        let range = HashKeyRange::builder().starting_hash_key("0").ending_hash_key("1").build().unwrap();
        let child = ChildShard::builder().shard_id("c").parent_shards("p").hash_key_range(range);
        SubscribeToShardEvent::builder()
            .set_records(Some(arrivals.iter().map(record).collect()))
            .continuation_sequence_number(next)
            .millis_behind_latest(0)
            .set_child_shards(children.then(|| vec![child.build().unwrap()]))
            .build()
            .unwrap()
    }

    #[test]
    fn the_end_of_a_shard_is_not_guessed() {
        let cases = [
            ("records, and more to come", 1, "2", false, false),
            ("nothing, and more to come", 0, "2", false, false),
            ("the last records, as AWS sends them", 1, "", true, true),
            ("nothing more, as AWS says it", 0, "", true, true),
            ("a closed shard on other servers", 1, "2", true, false),
            ("and its end", 0, "2", true, true),
        ];
        for (what, records, next, children, ended) in cases {
            let page = page(event(&[1, 2][..records], next, children), None).unwrap();
            assert_eq!((page.records.len(), page.ended), (records, ended), "{what}");
        }
        assert!(page(event(&[1], "", false), None).is_err(), "neither a place to go on nor children");
    }

    #[test]
    fn an_event_stands_for_the_last_moment_it_was_surely_sent_after() {
        let began = Some(Millis(1_000_000));
        let seen = |event| page(event, began).unwrap().seen_until();
        assert_eq!(seen(event(&[], "2", false)), Some(Millis(990_000)), "however long it lay");
        assert_eq!(seen(event(&[900_000], "2", false)), Some(Millis(990_000)));
        assert_eq!(seen(event(&[1_200_000, 1_100_000], "2", false)), Some(Millis(1_190_000)));
        assert_eq!(seen(event(&[], "", true)), None, "children may hold what arrived before");
        let mut behind = event(&[1_200_000], "2", false);
        behind.millis_behind_latest = 4_000;
        assert_eq!(seen(behind.clone()), Some(Millis(1_186_000)));
        behind.millis_behind_latest = 60_000;
        assert_eq!(seen(behind), None, "away from the tip");
        assert_eq!(page(event(&[], "2", false), None).unwrap().seen_until(), None, "no clock");
    }
}
