//! Puts events into the stream, 500 records a PutRecords.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use shardmill_connectors::aws::Session;

use super::{SHARDS, STREAM, Servers};
use crate::compare::events::{self, Events};
use crate::compare::filled::key;
use crate::harness::servers::kinesis;

/// The most records of a PutRecords.
const TOGETHER: usize = 500;

/// Creates the stream and fills it.
pub(super) async fn fill(servers: &Servers, events: &Events) -> Result<(), String> {
    let session = Session::at(&servers.kinesis);
    kinesis::create(&session, STREAM, SHARDS).await?;
    let client = session.kinesis();
    let mut entries = Vec::with_capacity(TOGETHER);
    for line in events::lines(&events.file)? {
        let line = line?;
        let entry = PutRecordsRequestEntry::builder().partition_key(key(&line)).data(Blob::new(line));
        entries.push(entry.build().map_err(|error| error.to_string())?);
        if entries.len() == TOGETHER {
            put(&client, std::mem::take(&mut entries)).await?;
        }
    }
    put(&client, entries).await
}

async fn put(client: &Client, entries: Vec<PutRecordsRequestEntry>) -> Result<(), String> {
    if entries.is_empty() {
        return Ok(());
    }
    let call = client.put_records().stream_name(STREAM).set_records(Some(entries));
    let answer = call.send().await.map_err(|error| format!("PutRecords: {error:?}"))?;
    match answer.failed_record_count() {
        None | Some(0) => Ok(()),
        Some(refused) => Err(format!("PutRecords: {refused} records were refused")),
    }
}
