//! Reading a shard in order with GetRecords, and by what is pushed.
//!
//! GetRecords knows no limit in bytes. It is asked for as many records as will fit by the size of those before; what comes on
//! top waits here for the next fetch, ten mebibytes at the very most and next to nothing as a rule. So does what is left of an
//! event that was pushed, and no other is taken before that is handed out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use tokio::time::Instant;

use super::Inner;
use super::answer::{self, Answer, Read, is_simple};
use super::cursor::{Cursor, From, Page};
use super::date::Clock;
use super::fan_out::{Push, Pushed};
use super::fault::{self, Missing};
use super::pace::{Pace, Turn};
use crate::aws::session::CALL;
use crate::clock::Millis;
use crate::failure::Failure;
use crate::ports::{Fetched, Limit, ShardReader};
use crate::record::{Position, Record, ShardId};

/// Records that one GetRecords may bring.
const RECORDS: usize = 10_000;
/// The size of a record, before any was seen.
const TYPICAL: usize = 1_000;

/// An open reader.
#[derive(Debug)]
pub(super) struct KinesisReader {
    stream: Arc<Inner>,
    shard: ShardId,
    pace: Arc<Pace>,
    cursor: Cursor,
    iterator: Option<String>,
    /// The shard's subscription, with enhanced fan-out.
    push: Option<Push>,
    /// Answers are not as we read them.
    by_sdk: bool,
    /// Fetched and not handed out yet.
    waiting: VecDeque<Record>,
    /// About the size of this shard's records.
    typical: usize,
    /// How things stand after the last page.
    behind_ms: i64,
    at_tip: bool,
    ended: bool,
    trimmed: bool,
    /// Nothing more was there: not worth a look before then.
    rest: Option<Instant>,
}

impl KinesisReader {
    /// A reader whose iterator is open, so that an unknown shard is found out at once and `Latest` is now.
    pub(super) async fn open(stream: Arc<Inner>, shard: &ShardId, cursor: Cursor) -> Result<Self, Failure> {
        let pace = stream.paces.of(shard);
        let push = stream.consumer.clone().map(|consumer| Push::new(consumer, shard.clone()));
        let mut reader = KinesisReader {
            stream,
            shard: shard.clone(),
            pace,
            cursor,
            iterator: None,
            push,
            by_sdk: false,
            waiting: VecDeque::new(),
            typical: TYPICAL,
            behind_ms: 0,
            at_tip: false,
            ended: false,
            trimmed: false,
            rest: None,
        };
        reader.iterator = Some(reader.find().await?);
        Ok(reader)
    }

    /// Asks for an iterator at the cursor.
    async fn find(&mut self) -> Result<String, Failure> {
        let from = self.cursor.from();
        match self.find_from(&from).await {
            // A time to come is refused; what arrives from now on and too early is passed over by the cursor.
            Err((failure, true)) => match from {
                From::Since(_) => self.find_from(&From::Latest).await.map_err(|_| failure),
                From::At(_) => {
                    let fix =
                        "if the stream was deleted and created again, give it another name or begin anew";
                    Err(Failure::unauthorized(format!("{}; {fix}", failure.detail)))
                }
                _ => Err(failure),
            },
            found => found.map_err(|(failure, _)| failure),
        }
    }

    /// Answers, beside a failure, whether an argument was refused.
    async fn find_from(&mut self, from: &From) -> Result<String, (Failure, bool)> {
        self.pace.iterator().await;
        let call =
            self.stream.client.get_shard_iterator().stream_name(&*self.stream.name).shard_id(&*self.shard);
        let call = match from {
            From::Oldest => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            From::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            From::Since(moment) => call
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(moment.0.max(0))),
            From::At(sequence) => call
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
        };
        let clock = Clock::new();
        let doing = || {
            format!("opening {} of the stream `{}` (kinesis:GetShardIterator)", self.shard, self.stream.name)
        };
        let found = call.customize().interceptor(clock.clone()).send().await;
        let found = found.map_err(|error| {
            let refused = error.code() == Some("InvalidArgumentException");
            (fault::failure(&doing(), &error, Missing::Shard), refused)
        })?;
        let iterator = found.shard_iterator.ok_or_else(|| {
            (Failure::transient(format!("{}: the answer holds no iterator", doing())), false)
        })?;
        self.cursor.opened(clock.told());
        Ok(iterator)
    }

    /// Reads the next page and takes it in. An iterator that has expired, may stand at what was trimmed, or leads nowhere is
    /// replaced by one at the cursor: that is no second attempt, for nothing was read with it.
    async fn fetch(&mut self, limit: Limit) -> Result<(), Failure> {
        let pace = self.pace.clone();
        let mut turn = pace.turn().await;
        if self.cursor.must_prove() {
            self.iterator = None;
        }
        let most = (limit.bytes / self.typical.max(1)).clamp(1, limit.records.clamp(1, RECORDS));
        let mut page = self.page(&mut turn, most).await?;
        if page.is_none() {
            page = self.page(&mut turn, most).await?;
        }
        let Some(page) = page else {
            return Err(Failure::transient(format!(
                "iterators of {} expire as soon as they are given",
                self.shard
            )));
        };
        if self.cursor.is_stuck(&page) {
            self.iterator = None;
            (self.at_tip, self.behind_ms) = (false, page.behind_ms);
            return Ok(());
        }
        self.take(page);
        Ok(())
    }

    /// One GetRecords; `None` when it has to be made again, because the iterator had expired or the answer is for the SDK to read.
    async fn page(&mut self, turn: &mut Turn<'_>, most: usize) -> Result<Option<Page>, Failure> {
        let iterator = match self.iterator.clone() {
            Some(iterator) => iterator,
            None => self.find().await?,
        };
        self.iterator = Some(iterator.clone());
        turn.begin().await;
        let clock = Clock::new();
        let doing =
            || format!("reading {} of the stream `{}` (kinesis:GetRecords)", self.shard, self.stream.name);
        let limit = i32::try_from(most).unwrap_or(i32::MAX);
        let call = self.stream.client.get_records().shard_iterator(iterator).limit(limit);
        let (call, answer) = (call.customize().interceptor(clock.clone()), Answer::default());
        let sent = match self.by_sdk {
            false => call.interceptor(answer.clone()).send().await,
            true => call.send().await,
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if error.code() == Some("ExpiredIteratorException") => {
                self.iterator = None;
                return Ok(None);
            }
            Err(error) => return Err(fault::failure(&doing(), &error, Missing::Shard)),
        };
        let read = match answer.taken() {
            None => by_sdk(sent).map_err(|detail| Failure::crashed(format!("{}: {detail}", doing())))?,
            Some(body) => {
                let whole = in_time(body, most).await;
                match whole.map_err(|why| Failure::transient(format!("{}: {why}", doing())))? {
                    Some(read) => read,
                    None => {
                        tracing::debug!(shard = %self.shard, "answers are left to the SDK from here on");
                        self.by_sdk = true;
                        return Ok(None);
                    }
                }
            }
        };
        Ok(Some(self.paged(read, (turn, most), clock.told())))
    }

    /// Makes a page of an answer to a call for `most` records.
    fn paged(&mut self, read: Read, (turn, most): (&mut Turn<'_>, usize), date: Option<Millis>) -> Page {
        let Read { records, simple, next, behind_ms } = read;
        let bytes = records.iter().map(|record| record.data.len()).sum();
        turn.brought(bytes);
        if let Some(size) = bytes.checked_div(records.len()) {
            self.typical = size.midpoint(self.typical).max(size);
        }
        let page = Page {
            full: records.len() >= most,
            records,
            simple,
            date,
            behind_ms: behind_ms.unwrap_or(0).max(0),
            ended: next.is_none(),
        };
        self.iterator = next;
        page
    }

    /// Waits until the deadline for what is pushed; whether that will do, and nothing need be asked for.
    async fn listen(&mut self, limit: Limit, deadline: Instant, at_least_one_look: bool) -> bool {
        let Some(push) = &mut self.push else { return false };
        if self.cursor.must_prove() {
            push.end();
            return false;
        }
        let until = if self.at_tip { deadline.min(push.look()) } else { deadline };
        match push.next(&self.pace, &mut self.cursor, until).await {
            Pushed::Page(page) => self.take_pushed(page),
            Pushed::Quiet => {
                if self.at_tip && push.look() <= Instant::now() {
                    push.put_off_look();
                    self.look(limit).await;
                    return true;
                }
                !at_least_one_look
            }
            Pushed::Poll => false,
        }
    }

    /// Takes in what an event brought; `false` when it leads nowhere.
    fn take_pushed(&mut self, page: Page) -> bool {
        // Polling would go on from here.
        self.iterator = None;
        if self.cursor.is_stuck(&page) {
            (self.at_tip, self.behind_ms) = (false, page.behind_ms);
            self.push.iter_mut().for_each(Push::end);
            return false;
        }
        self.take(page);
        true
    }

    /// Looks whether anything is there that was not pushed. A look that fails is no harm: records do not come by it.
    async fn look(&mut self, limit: Limit) {
        if let Err(failure) = self.fetch(limit).await {
            tracing::debug!(shard = %self.shard, %failure, "no look at a quiet shard");
        }
    }

    fn take(&mut self, page: Page) {
        self.at_tip = page.seen_until().is_some();
        self.behind_ms = page.behind_ms;
        self.ended = page.ended;
        let more = page.behind_ms > 0 || page.full;
        self.rest = (!more).then(|| Instant::now() + self.stream.options.idle);
        let seen = self.cursor.seen_until();
        let (records, trimmed) = self.cursor.take(page);
        match self.waiting.is_empty() {
            true => self.waiting = records.into(),
            false => self.waiting.extend(records),
        }
        self.trimmed |= trimmed;
        if self.cursor.seen_until() > seen {
            self.push.iter_mut().for_each(Push::put_off_look);
        }
        if self.ended {
            self.push = None;
        }
    }

    /// What is there to be told, within the limit.
    fn hand_out(&mut self, limit: Limit) -> Fetched {
        let mut bytes = 0;
        let fits =
            self.waiting.iter().take(limit.records.max(1)).enumerate().take_while(|(place, record)| {
                let fits = *place == 0 || bytes < limit.bytes;
                bytes += record.data.len();
                fits
            });
        let count = fits.count();
        let records: Vec<Record> = match count == self.waiting.len() {
            true => std::mem::take(&mut self.waiting).into(),
            false => self.waiting.drain(..count).collect(),
        };
        let emptied = self.waiting.is_empty();
        Fetched {
            complete_until: self.cursor.seen_until().filter(|_| self.at_tip && emptied),
            behind_ms: self.behind_ms,
            ended: self.ended && emptied,
            trimmed: std::mem::take(&mut self.trimmed),
            records,
        }
    }

    fn has_news(&self) -> bool {
        !self.waiting.is_empty() || self.ended || self.trimmed
    }
}

#[async_trait]
impl ShardReader for KinesisReader {
    async fn next(&mut self, limit: Limit, wait: Duration) -> Result<Fetched, Failure> {
        let deadline = Instant::now() + wait;
        // At least one look, however long the shard's allowance makes it wait, unless it would be a look too soon.
        while !self.has_news() {
            if !self.listen(limit, deadline, wait.is_zero()).await {
                if let Some(rest) = self.rest.filter(|_| !wait.is_zero()) {
                    tokio::time::sleep_until(rest.min(deadline)).await;
                    if rest >= deadline {
                        break;
                    }
                }
                self.fetch(limit).await?;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Ok(self.hand_out(limit))
    }

    fn rests(&self) -> Option<Duration> {
        let rest = self.rest.filter(|_| self.push.is_none() && !self.has_news())?;
        Some(rest.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }
}

/// The answer that comes in as `body`, of at most so many records; `None` when it is none that is read here. The SDK's limits end
/// with the head of an answer.
async fn in_time(body: SdkBody, most: usize) -> Result<Option<Read>, String> {
    match tokio::time::timeout(CALL, answer::read(body, most)).await {
        Ok(read) => read.map_err(|error| format!("the answer broke off: {}", DisplayErrorContext(error))),
        Err(_) => Err(format!("the answer was not whole after {} s", CALL.as_secs())),
    }
}

/// An answer as the SDK reads it.
fn by_sdk(answer: GetRecordsOutput) -> Result<Read, String> {
    let records = answer.records.into_iter().map(raw).collect::<Result<Vec<_>, _>>()?;
    Ok(Read {
        simple: is_simple(&records),
        records,
        next: answer.next_shard_iterator,
        behind_ms: answer.millis_behind_latest,
    })
}

/// A record as the SDK gives it.
pub(super) fn raw(record: aws_sdk_kinesis::types::Record) -> Result<Record, String> {
    let arrived_at = record.approximate_arrival_timestamp.and_then(|time| time.to_millis().ok());
    let none = || format!("{} has no arrival time", record.sequence_number);
    Ok(Record {
        position: Position { sequence: record.sequence_number.parse()?, subsequence: 0 },
        key: record.partition_key.unwrap_or_default().into(),
        arrived_at: Millis(arrived_at.ok_or_else(none)?),
        data: Bytes::from(record.data.into_inner()),
        trace: None,
    })
}
