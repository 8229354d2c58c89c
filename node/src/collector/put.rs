//! Handing records to the stream and sorting its outcomes into verdicts.

use std::time::Instant;

use bytes::Bytes;
use metrics::{counter, histogram};
use shardmill_connectors::json::Object;
use shardmill_connectors::record::{NewRecord, Position};
use shardmill_connectors::{Class, Failure};

use super::admission::{Admission, RECORD_COST};
use super::answer::{Refused, Turned, Verdicts};
use super::{App, Shared};
use shardmill_actors::telemetry as name;

/// Kinesis takes partition keys of up to 256 characters; longer ones are cut, which keeps equal keys equal.
const MAX_KEY: usize = 256;

/// What one request puts: its stream, its events with their indexes, and the trace they belong to.
pub(super) struct Work {
    pub(super) stream: String,
    pub(super) events: Vec<(usize, Bytes)>,
    pub(super) trace: Option<String>,
}

/// Puts the events and adds the stream's verdicts to `verdicts`. Runs to its end even when the client hangs up, and holds
/// the request's room for as long.
pub(super) async fn put(
    app: &App,
    work: Work,
    mut admission: Admission,
    verdicts: &mut Verdicts,
) -> Result<(), Turned> {
    if work.events.is_empty() {
        return Ok(());
    }
    admission.charge(work.events.len() * RECORD_COST)?;
    let (indexes, records) = records(app, &work);
    let bytes: usize = work.events.iter().map(|(_, event)| event.len()).sum();
    let (shared, stream) = (app.clone(), work.stream.clone());
    let putting = async move {
        let outcome = shared.door.put(&stream, records).await;
        drop((work.events, admission));
        outcome
    };
    let started = Instant::now();
    let outcome = match tokio::spawn(putting).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Failure::crashed(format!("putting the events crashed: {error}"))),
    };
    histogram!(name::COLLECT_PUT_SECONDS, "stream" => work.stream.clone())
        .record(started.elapsed().as_secs_f64());
    sort(&indexes, outcome.map_err(Turned::Failed)?, verdicts);
    if verdicts.accepted > 0 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        counter!(name::COLLECT_BYTES, "stream" => work.stream).increment(bytes);
    }
    Ok(())
}

fn records(shared: &Shared, work: &Work) -> (Vec<usize>, Vec<NewRecord>) {
    let record = |(index, data): &(usize, Bytes)| {
        let key = Object::parse(data).ok().and_then(|event| shared.door.key(&work.stream, &event));
        let mut key = key.filter(|key| !key.is_empty()).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        if let Some((end, _)) = key.char_indices().nth(MAX_KEY) {
            key.truncate(end);
        }
        let record =
            NewRecord { key: key.into(), data: data.clone(), trace: work.trace.as_deref().map(Into::into) };
        (*index, record)
    };
    work.events.iter().map(record).unzip()
}

fn sort(indexes: &[usize], outcomes: Vec<Result<Position, Failure>>, verdicts: &mut Verdicts) {
    let missing = || Err(Failure::crashed("the stream gave no verdict on this event"));
    let outcomes = outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    for (index, outcome) in indexes.iter().zip(outcomes) {
        match outcome.unwrap_or_else(missing) {
            Ok(_) => verdicts.accepted += 1,
            Err(failure) => {
                verdicts.refused.push(Refused::new(*index, failure.class.as_str(), &failure.detail));
                // Throttling is told first: it is what the client can do something about.
                let weighs = failure.class == Class::Throttled || verdicts.failure.is_none();
                if failure.class != Class::Rejected && weighs {
                    verdicts.failure = Some(failure);
                }
            }
        }
    }
    verdicts.refused.sort_by_key(|refused| refused.index);
}

/// Counts what became of a request's events.
pub(super) fn count(stream: &str, verdicts: &Verdicts) {
    let accepted = u64::try_from(verdicts.accepted).unwrap_or(u64::MAX);
    counter!(name::COLLECT_ACCEPTED, "stream" => stream.to_owned()).increment(accepted);
    for refused in &verdicts.refused {
        counter!(name::COLLECT_REFUSED, "stream" => stream.to_owned(), "code" => refused.code).increment(1);
    }
}
