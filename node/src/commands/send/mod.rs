//! `send`: files of events to a collector, in batches, several at a time, until every event has a verdict.

mod batch;
mod client;
mod report;

use futures::StreamExt;
use shardmill_connectors::Failure;
use tokio::sync::mpsc;

use self::batch::{Batch, Limits};
use self::client::{Client, Outcome};
use self::report::{Progress, Report};
use super::{Error, source};
use crate::cli::SendArgs;
use crate::output;

/// Sends the file; succeeds only if every event was accepted.
pub async fn send(args: SendArgs, json: bool) -> Result<(), Error> {
    let (events, size) = source::open_all(&args.files, args.format, args.null.clone())?;
    let limits = Limits {
        events: args.batch as usize,
        bytes: usize::try_from(args.batch_bytes.0).unwrap_or(usize::MAX),
    };
    let client = Client::new(&args.to, args.stream.as_deref(), args.give_up.0)?;
    let progress = Progress::new(size, json);
    let batches = read_ahead(batch::batches(events, limits), usize::from(args.in_flight));
    let (report, failure) = deliver(&client, batches, usize::from(args.in_flight), &progress).await;
    progress.finish();
    if json {
        output::print(&format!("{}\n", report.json()))?;
    } else {
        output::print(&report.text())?;
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None if report.is_whole() => Ok(()),
        None => Err(Error::Told),
    }
}

/// Reads on a thread of its own, a few batches ahead: files and standard input block.
fn read_ahead(
    batches: impl Iterator<Item = Result<Batch, Failure>> + Send + 'static,
    ahead: usize,
) -> mpsc::Receiver<Result<Batch, Failure>> {
    let (sender, receiver) = mpsc::channel(ahead.max(1));
    std::thread::spawn(move || {
        for batch in batches {
            let broken = batch.is_err();
            if sender.blocking_send(batch).is_err() || broken {
                return;
            }
        }
    });
    receiver
}

/// Delivers batches until the file ends, it breaks off, or a batch is given up: then nothing more is begun.
async fn deliver(
    client: &Client,
    mut batches: mpsc::Receiver<Result<Batch, Failure>>,
    in_flight: usize,
    progress: &Progress,
) -> (Report, Option<Failure>) {
    let reading = futures::stream::poll_fn(move |context| batches.poll_recv(context));
    let mut outcomes = reading
        .map(|batch| async move {
            match batch {
                Ok(batch) => Ok(client.deliver(batch).await),
                Err(failure) => Err(failure),
            }
        })
        .buffered(in_flight);
    let (mut report, mut failure) = (Report::default(), None);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(Outcome { verdicts, gave_up }) => {
                progress.advance(&verdicts);
                report.add(verdicts);
                failure = gave_up;
            }
            Err(broken) => failure = Some(broken),
        }
        if failure.is_some() {
            break;
        }
    }
    (report, failure)
}

#[cfg(test)]
mod tests;
