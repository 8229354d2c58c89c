//! The reader: fetches one shard's records, never more than the node's memory budget has room for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Fetched, Limit, ShardReader, Start};
use shardmill_connectors::record::Position;
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use super::lost::{self, Lost};
use super::place::Place;
use super::{Batch, Parts, open};
use crate::ledger::Change;
use crate::probing::{Turn, Wish};
use crate::state::ShardState;
use crate::supervision::{Next, Worker};
use crate::telemetry;
use crate::trace::Links;

/// How long a fetch waits for records when there are none.
const LONG_POLL: Duration = Duration::from_millis(250);
/// Records in a batch, at most.
const RECORDS: usize = 5_000;
/// What a fetch at the tip reserves; a full fetch makes the reservation four times as large, up to the settings' fetch size.
const SMALL: usize = 64 << 10;
/// How often a cautious reader looks whether its batch is committed.
const AWAIT: Duration = Duration::from_millis(20);
/// How often the writer is told that nothing has come.
const TELL: Duration = Duration::from_secs(1);
/// What a record costs beside its payload, at least; see `Record::cost`.
const BESIDE: usize = 200;

/// See the [module](self).
#[derive(Debug)]
pub struct Reader {
    parts: Parts,
    send: mpsc::Sender<Arc<Batch>>,
    cursor: Option<Box<dyn ShardReader>>,
    /// Where the next fetch begins.
    place: Place,
    /// Bytes the next fetch may bring.
    reserve: usize,
    ended: bool,
    /// When a batch was passed on last.
    passed: Option<Instant>,
    /// What the stream trimmed, until it is told.
    lost: Option<Lost>,
    /// While cautious: what was fetched and is not opened yet.
    unopened: Option<Batch>,
    /// While cautious: that there is something to open, until it is this reader's turn.
    wish: Option<Wish>,
    /// While cautious: the end of the batch that must be committed before the next is fetched, and the turn it was opened in.
    awaited: Option<(Position, Turn)>,
    rate: Rate,
}

/// Counts what was read over about a second.
#[derive(Debug)]
struct Rate {
    since: Instant,
    records: u64,
    bytes: u64,
}

impl Reader {
    /// A reader that passes batches to `send`.
    pub fn new(parts: Parts, send: mpsc::Sender<Arc<Batch>>) -> Self {
        let rate = Rate { since: Instant::now(), records: 0, bytes: 0 };
        let place = Place::At(Start::Oldest);
        Reader {
            parts,
            send,
            cursor: None,
            place,
            reserve: SMALL,
            ended: false,
            passed: None,
            lost: None,
            unopened: None,
            wish: None,
            awaited: None,
            rate,
        }
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let stream = &self.parts.stream;
        let (place, ended) =
            self.parts.ledger.with(|state| (open::beginning(state, stream), state.ended)).await;
        self.ended = ended;
        self.cursor = Some(stream.stream.open(&self.parts.shard, place.start()).await?);
        self.place = place;
        if !ended {
            // Of a shard that the lake is done with, lanes read what is left by the catch-up.
            self.parts.feed.begin(self.place.clone());
        }
        Ok(())
    }

    async fn fetch(&mut self, records: usize) -> Result<Batch, Failure> {
        let cursor = self.cursor.as_mut().ok_or_else(|| Failure::crashed("the reader is not open"))?;
        let reserve = (self.reserve + self.reserve / 4) as u64;
        let mut share = match self.parts.shared.memory.fetch.try_take(reserve) {
            Some(share) => share,
            None => {
                // What waits at a lane that does not run just now must not keep anybody from reading.
                self.parts.feed.detach_waiting();
                self.parts.shared.memory.fetch.take(reserve).await
            }
        };
        // Small records cost more beside their payload than in it: fewer of them fit.
        let limit = Limit { records: records.min(self.reserve / BESIDE).max(1), bytes: self.reserve };
        let fetched = cursor.next(limit, LONG_POLL).await?;
        let cost: usize = fetched.records.iter().map(shardmill_connectors::record::Record::cost).sum();
        share.resize(cost as u64);
        let payload: usize = fetched.records.iter().map(|record| record.data.len()).sum();
        let full = payload * 2 >= self.reserve || fetched.records.len() == limit.records;
        let rest = !fetched.records.is_empty() && fetched.complete_until.is_none();
        self.reserve = reservation(self.reserve, (full, rest), self.parts.shared.memory.fetch_bytes);
        self.count(&fetched, payload as u64);
        if fetched.trimmed && lost::is_possible(&self.parts, &self.place).await {
            self.lost = Some(Lost::between(&self.parts, None, &self.place, fetched.records.first()));
        }
        let Fetched { records, complete_until, ended, .. } = fetched;
        let from = self.place.clone();
        if let Some(last) = records.last() {
            self.place = Place::After(last.position.clone());
        }
        Ok(Batch { records, from, share, complete_until, ended, set_aside: false })
    }

    fn count(&mut self, fetched: &Fetched, bytes: u64) {
        let records = fetched.records.len() as u64;
        self.rate.records += records;
        self.rate.bytes += bytes;
        let elapsed = self.rate.since.elapsed().as_secs_f64();
        let rate = (elapsed >= 1.0).then(|| {
            #[allow(clippy::cast_precision_loss)] // a rate for people
            let rate = (self.rate.records as f64 / elapsed, self.rate.bytes as f64 / elapsed);
            self.rate = Rate { since: Instant::now(), records: 0, bytes: 0 };
            rate
        });
        if records > 0 {
            let stream = self.parts.stream.stream.name().to_owned();
            metrics::counter!(telemetry::RECORDS_READ, "stream" => stream).increment(records);
        }
        self.parts.shared.gauge(&self.parts.name, |gauge| {
            gauge.lag_ms = fetched.behind_ms;
            gauge.records += records;
            gauge.bytes += bytes;
            gauge.uncommitted += records;
            gauge.at_tip = fetched.complete_until.is_some() || fetched.ended;
            if let Some((records_per_s, bytes_per_s)) = rate {
                (gauge.records_per_s, gauge.bytes_per_s) = (records_per_s, bytes_per_s);
                gauge.steady.take_in(elapsed, (records_per_s, bytes_per_s));
            }
        });
    }
}

/// What the next fetch reserves after one that was full, or that brought only what a page before had left over: that is little, and
/// says nothing of the next.
fn reservation(now: usize, (full, rest): (bool, bool), most: usize) -> usize {
    match (full, rest) {
        (true, _) => (now * 4).min(most),
        (false, true) => now,
        (false, false) => SMALL,
    }
}

#[async_trait]
impl Worker for Reader {
    async fn step(&mut self) -> Result<Next, Failure> {
        // Suspended, it reads nothing: the shard may be another's by now, and if it is not, it goes on where it was.
        if !self.parts.shared.cluster.wait_until_current().await? {
            return Ok(Next::Again);
        }
        if self.cursor.is_none() {
            self.open().await?;
        }
        if self.ended {
            return Ok(Next::After(Duration::from_secs(60)));
        }
        if let Some((awaited, _)) = &self.awaited {
            let behind = self.parts.ledger.with(|state| state.position.as_ref() >= Some(awaited)).await;
            if !behind {
                return Ok(Next::After(AWAIT));
            }
            self.awaited = None;
        }
        self.tell_lost().await?;
        if let Some(batch) = self.unopened.take() {
            return self.open_with_caution(batch).await;
        }
        if let Some(rest) = self.cursor.as_ref().and_then(|cursor| cursor.rests()) {
            return Ok(Next::After(rest));
        }
        let look = |state: &ShardState| (state.caution.limit(), state.caution.is_hopeless());
        let (caution, hopeless) = self.parts.ledger.with(look).await;
        let asked = Instant::now();
        let mut batch = self.fetch(caution.unwrap_or(RECORDS)).await?;
        batch.set_aside = hopeless;
        if let Err(failure) = self.tell_lost().await {
            // Told before anything behind it is committed.
            self.unopened = Some(batch);
            return Err(failure);
        }
        let span = self.span(&batch, asked.elapsed());
        match caution.is_some() && !batch.records.is_empty() {
            true => self.open_with_caution(batch).instrument(span).await,
            false => self.hand_on(batch).instrument(span).await,
        }
    }
}

impl Reader {
    /// The span of a batch that brought records. A fetch that found none is none: idle shards would drown everything else.
    fn span(&self, batch: &Batch, fetched_in: Duration) -> Span {
        if batch.records.is_empty() {
            return Span::none();
        }
        let span = tracing::info_span!(
            telemetry::READ,
            shard = %self.parts.name,
            records = batch.records.len(),
            // Began before the span did: it may have waited for the first record.
            fetch_ms = u64::try_from(fetched_in.as_millis()).unwrap_or(u64::MAX),
        );
        Links::of(&batch.records).add_to(&span);
        span
    }

    async fn tell_lost(&mut self) -> Result<(), Failure> {
        if let Some(lost) = &self.lost {
            lost.tell(&self.parts).await?;
            self.lost = None;
        }
        Ok(())
    }

    /// Hands a batch on when it is this reader's turn and the document says which batch it is. One at a time: the next is
    /// fetched when this one is committed.
    async fn open_with_caution(&mut self, batch: Batch) -> Result<Next, Failure> {
        let Some(last) = batch.records.last().map(|record| record.position.clone()) else {
            return self.hand_on(batch).await;
        };
        let probing = &self.parts.shared.probing;
        let turn = match probing.grant(self.wish.take().unwrap_or_else(|| probing.wish())) {
            Ok(turn) => turn,
            Err(wish) => {
                (self.wish, self.unopened) = (Some(wish), Some(batch));
                return Ok(Next::After(AWAIT));
            }
        };
        self.parts.ledger.stage(Change::Suspect(last.clone(), batch.records.len())).await;
        if let Err(failure) = self.parts.ledger.commit().await {
            self.unopened = Some(batch);
            return Err(failure);
        }
        self.awaited = Some((last, turn));
        self.hand_on(batch).await
    }

    /// The writer need not hear more often that there is nothing than it commits that.
    fn tell_every(&self) -> Duration {
        TELL.min(self.parts.shared.schedule.idle_commit / 4)
    }

    /// Offers a batch to the lanes and passes it to the writer.
    async fn hand_on(&mut self, batch: Batch) -> Result<Next, Failure> {
        self.ended = batch.ended;
        let tells_nothing = batch.records.is_empty() && !batch.ended;
        if tells_nothing && self.passed.is_some_and(|passed| passed.elapsed() < self.tell_every()) {
            return Ok(Next::Again);
        }
        self.passed = Some(Instant::now());
        let batch = Arc::new(batch);
        self.parts.feed.offer(&batch);
        // The writer may be busy: waiting here is what stops the reading.
        if self.send.send(batch).await.is_err() {
            return Err(Failure::crashed("the lake writer is gone"));
        }
        Ok(Next::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_grows_with_full_fetches_and_shrinks_at_the_tip_alone() {
        let most = 40 * SMALL;
        let after =
            |now, seen: &[(bool, bool)]| seen.iter().fold(now, |now, seen| reservation(now, *seen, most));
        assert_eq!(after(SMALL, &[(true, true), (true, true)]), 16 * SMALL);
        assert_eq!(after(SMALL, &[(true, true); 9]), most);
        assert_eq!(
            after(most, &[(true, true), (false, true), (true, true)]),
            most,
            "what was left of a page"
        );
        assert_eq!(after(most, &[(false, false)]), SMALL);
    }
}
