//! Putting records with PutRecords: which go together, and what became of each.
//!
//! Kinesis goes on behind a record it cannot take, so of one key an earlier record may fail and a later one succeed; those
//! that succeed keep their order. Between the calls of one put this is prevented: once a record of a key has failed, no later
//! call brings more of that key. Within one call it cannot be; who needs the order kept across failures and their repetition
//! sets [`Options::strict_order`](super::Options::strict_order), and each call brings one record of a key.

use std::collections::HashMap;

use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use compact_str::CompactString;

use super::fault::{self, Missing};
use super::{Inner, Options};
use crate::aws::fault::classify;
use crate::failure::{Class, Failure};
use crate::record::{NewRecord, Position};

/// Characters of a partition key.
const KEY: usize = 256;

/// What became of a record.
type Outcome = Result<Position, Failure>;

/// A put on its way.
struct Putting {
    records: Vec<NewRecord>,
    outcomes: Vec<Option<Outcome>>,
    /// Keys of which a record has failed, and how.
    failed: HashMap<CompactString, Failure>,
}

/// See [`Stream::put`](crate::ports::Stream::put). Fails as a whole only when nothing was taken.
pub(super) async fn put(stream: &Inner, records: Vec<NewRecord>) -> Result<Vec<Outcome>, Failure> {
    let mut putting = Putting::new(records, stream.max_record);
    let mut taken = false;
    loop {
        let call = putting.next_call(&stream.options);
        if call.is_empty() {
            return Ok(putting.finish());
        }
        match send(stream, putting.entries(&call)?).await {
            Ok(answer) => taken |= putting.answered(&call, answer, &stream.name),
            Err(failure) if taken => putting.all_failed(&failure),
            Err(failure) => return Err(failure),
        }
    }
}

async fn send(stream: &Inner, entries: Vec<PutRecordsRequestEntry>) -> Result<PutRecordsOutput, Failure> {
    let call = stream.client.put_records().stream_name(&*stream.name).set_records(Some(entries));
    call.send().await.map_err(|error| {
        let doing = format!("putting into the stream `{}` (kinesis:PutRecords)", stream.name);
        fault::failure(&doing, &error, Missing::Stream)
    })
}

/// Why a record can't be put, ever.
fn refuse(record: &NewRecord, max_record: usize) -> Option<Failure> {
    let bytes = size(record);
    if bytes > max_record {
        let fix = "make it smaller, or raise the stream's limit by kinesis:UpdateMaxRecordSize";
        return Some(Failure::rejected(format!(
            "the record has {bytes} bytes, the stream takes at most {max_record} with the key: {fix}"
        )));
    }
    let characters = record.key.chars().count();
    let wrong = characters == 0 || characters > KEY;
    wrong.then(|| Failure::rejected(format!("the partition key must have 1 to {KEY} characters")))
}

/// What a record counts with in the limits.
fn size(record: &NewRecord) -> usize {
    record.data.len() + record.key.len()
}

impl Putting {
    fn new(records: Vec<NewRecord>, max_record: usize) -> Self {
        let outcomes = records.iter().map(|record| refuse(record, max_record).map(Err)).collect();
        Putting { records, outcomes, failed: HashMap::new() }
    }

    /// The indexes of the records that go into the next call: in order, as many as one call takes.
    fn next_call(&mut self, options: &Options) -> Vec<usize> {
        let mut call = Vec::new();
        let mut bytes = 0;
        // Of these keys, records wait for a later call, so those behind them wait as well.
        let mut behind: HashMap<&str, ()> = HashMap::new();
        for (index, record) in self.records.iter().enumerate() {
            if self.outcomes[index].is_some() {
                continue;
            }
            if let Some(failure) = self.failed.get(&record.key) {
                self.outcomes[index] = Some(Err(held_back(failure)));
                continue;
            }
            if options.strict_order && behind.contains_key(&*record.key) {
                continue;
            }
            let full = call.len() >= options.put_records || bytes + size(record) > options.put_bytes;
            if full && !call.is_empty() {
                break;
            }
            bytes += size(record);
            call.push(index);
            behind.insert(&record.key, ());
        }
        call
    }

    fn entries(&self, call: &[usize]) -> Result<Vec<PutRecordsRequestEntry>, Failure> {
        let entry = |&index: &usize| {
            let NewRecord { key, data, .. } = &self.records[index];
            let entry =
                PutRecordsRequestEntry::builder().partition_key(key.as_str()).data(Blob::new(data.to_vec()));
            entry.build().map_err(|error| Failure::crashed(format!("a record cannot be put: {error}")))
        };
        call.iter().map(entry).collect()
    }

    /// Notes an answer; whether any record was taken.
    fn answered(&mut self, call: &[usize], answer: PutRecordsOutput, stream: &str) -> bool {
        let mut results = answer.records.into_iter();
        let mut taken = false;
        for &index in call {
            let outcome = match results.next() {
                Some(result) => match (result.error_code.as_deref(), result.sequence_number) {
                    (None | Some(""), Some(sequence)) => sequence
                        .parse()
                        .map(|sequence| Position { sequence, subsequence: 0 })
                        .map_err(|detail| Failure::crashed(format!("the answer to a put: {detail}"))),
                    (code, _) => {
                        let doing = format!("putting into the stream `{stream}`");
                        Err(classify(
                            &doing,
                            0,
                            code.unwrap_or_default(),
                            &result.error_message.unwrap_or_default(),
                        ))
                    }
                },
                None => Err(Failure::transient("the answer to a put leaves this record out")),
            };
            taken |= outcome.is_ok();
            self.note(index, outcome);
        }
        taken
    }

    fn note(&mut self, index: usize, outcome: Outcome) {
        if let Err(failure) = &outcome {
            self.failed.entry(self.records[index].key.clone()).or_insert_with(|| failure.clone());
        }
        self.outcomes[index] = Some(outcome);
    }

    /// Notes that nothing of what is left was taken.
    fn all_failed(&mut self, failure: &Failure) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Err(failure.clone()));
        }
    }

    fn finish(self) -> Vec<Outcome> {
        let missing = || Err(Failure::crashed("a record was not put"));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }
}

/// The failure of a record that was not sent because an earlier one of its key had failed.
fn held_back(failure: &Failure) -> Failure {
    // What is wrong with the earlier one need not be wrong with this one.
    let class = if failure.class == Class::Rejected { Class::Transient } else { failure.class };
    Failure { class, ..failure.clone() }.during("an earlier record of the same key was not taken")
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::types::PutRecordsResultEntry;
    use bytes::Bytes;

    use super::*;

    const MAX: usize = 1 << 20;

    fn putting(keys: &str) -> Putting {
        let record = |key: char| NewRecord {
            key: key.to_string().into(),
            data: Bytes::from_static(&[b'x'; 99]),
            trace: None,
        };
        Putting::new(keys.chars().map(record).collect(), MAX)
    }

    fn answer(results: &[bool]) -> PutRecordsOutput {
        let result = |(index, ok): (usize, &bool)| match ok {
            true => PutRecordsResultEntry::builder().sequence_number(index.to_string()).build(),
            false => PutRecordsResultEntry::builder()
                .error_code("ProvisionedThroughputExceededException")
                .error_message("slow down")
                .build(),
        };
        let results = results.iter().enumerate().map(result).collect();
        PutRecordsOutput::builder().set_records(Some(results)).build().unwrap()
    }

    #[test]
    fn calls_keep_to_both_limits() {
        let by_records = Options { put_records: 3, ..Options::default() };
        let by_bytes = Options { put_bytes: 250, ..Options::default() };
        let by_less_than_one = Options { put_bytes: 10, ..Options::default() };
        let strict = Options { strict_order: true, ..Options::default() };
        let cases: [(&Options, &str, &[&[usize]]); 5] = [
            (&Options::default(), "aabca", &[&[0, 1, 2, 3, 4]]),
            (&by_records, "aabca", &[&[0, 1, 2], &[3, 4]]),
            (&by_bytes, "abcde", &[&[0, 1], &[2, 3], &[4]]),
            (&by_less_than_one, "abc", &[&[0], &[1], &[2]]),
            (&strict, "aabca", &[&[0, 2, 3], &[1], &[4]]),
        ];
        for (options, keys, expected) in cases {
            let mut putting = putting(keys);
            for call in expected {
                assert_eq!(putting.next_call(options), *call, "{keys} {options:?}");
                assert!(putting.answered(call, answer(&vec![true; call.len()]), "s"));
            }
            assert!(putting.next_call(options).is_empty());
            assert!(putting.finish().iter().all(Result::is_ok));
        }
    }

    #[test]
    fn behind_a_failure_nothing_of_its_key_is_sent() {
        let options = Options { put_records: 3, ..Options::default() };
        let mut putting = putting("abcabc");
        let call = putting.next_call(&options);
        assert!(putting.answered(&call, answer(&[true, false, true]), "s"));
        assert_eq!(putting.next_call(&options), [3, 5]);
        assert!(putting.answered(&[3, 5], answer(&[true, true]), "s"));
        assert!(putting.next_call(&options).is_empty());
        let outcomes = putting.finish();
        assert_eq!(
            outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, true, true, false, true]
        );
        for failed in [&outcomes[1], &outcomes[4]] {
            assert_eq!(failed.as_ref().unwrap_err().class, Class::Throttled);
        }
    }

    #[test]
    fn an_answer_too_short_and_a_call_that_fails_leave_no_record_without_an_outcome() {
        let mut putting = putting("abcd");
        putting.answered(&[0, 1], answer(&[true]), "s");
        putting.all_failed(&Failure::transient("reset"));
        let outcomes = putting.finish();
        assert!(outcomes[0].is_ok());
        assert!(outcomes[1..].iter().all(|outcome| outcome.as_ref().unwrap_err().class == Class::Transient));
    }

    #[test]
    fn what_no_stream_takes_is_refused() {
        let record = |key: String, bytes: usize| NewRecord {
            key: key.into(),
            data: vec![0; bytes].into(),
            trace: None,
        };
        let cases = [
            (record("k".into(), MAX - 1), true),
            (record("k".into(), MAX), false),
            (record(String::new(), 1), false),
            (record("ж".repeat(256), 1), true),
            (record("x".repeat(257), 1), false),
        ];
        for (record, fine) in cases {
            assert_eq!(refuse(&record, MAX).is_none(), fine, "{} {}", record.key, record.data.len());
        }
    }
}
