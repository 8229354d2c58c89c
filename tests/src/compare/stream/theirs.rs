//! The peers: one Python script each, and a program in Rust.

use async_trait::async_trait;

use super::{Bucket, STREAM, Servers};
use crate::compare::account::{Account, Meter};
use crate::compare::convert::this_program;
use crate::compare::events::Events;
use crate::compare::turns::Side;

/// Their names, and their scripts without the ending.
pub(super) const PEERS: [(&str, &str); 3] = [
    ("boto3 + pandas + pandera", "stream_boto3_pandas"),
    ("boto3 + polars", "stream_boto3_polars"),
    ("http.client + orjson + polars", "stream_http_polars"),
];

/// A program in Rust, and what its bucket is called.
pub(in crate::compare) const PLAIN: (&str, &str) =
    ("plain Rust: aws-sdk + serde + arrow + parquet", "stream_plain");

/// One of them.
pub(super) struct Theirs {
    name: &'static str,
    meter: Meter,
    words: Vec<String>,
    env: std::collections::BTreeMap<String, String>,
}

impl Theirs {
    pub(super) fn new(
        name: &'static str,
        script: &str,
        meter: &Meter,
        (servers, events, bucket): (&Servers, &Events, &Bucket),
    ) -> Theirs {
        let mut words = meter.script(&format!("{script}.py"));
        let schema = events.schema_file.display().to_string();
        words.extend([schema, STREAM.to_owned(), bucket.name().to_owned()]);
        Theirs { name, meter: meter.clone(), words, env: servers.env() }
    }

    pub(super) fn plain(meter: &Meter, (servers, bucket): (&Servers, &Bucket)) -> Result<Theirs, String> {
        let words = this_program(&["copy", STREAM, bucket.name()])?;
        Ok(Theirs { name: PLAIN.0, meter: meter.clone(), words, env: servers.env() })
    }
}

#[async_trait]
impl Side for Theirs {
    fn name(&self) -> &str {
        self.name
    }

    async fn run(&self) -> Result<Account, String> {
        self.meter.run(&self.words, &self.env).await
    }
}

#[cfg(test)]
mod tests {
    use arrow::record_batch::RecordBatch;
    use aws_sdk_kinesis::primitives::{Blob, DateTime};
    use aws_sdk_kinesis::types::Record;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use shardmill_connectors::json::Object;
    use shardmill_connectors::record::{Origin, Sequence};
    use shardmill_connectors::schema::TableSchema;
    use shardmill_connectors::standardise::Rows;
    use shardmill_peer_plain::file;

    use crate::work;

    #[test]
    fn its_rows_are_those_of_the_table() {
        let events: Vec<String> = work::events(50, 1).collect();
        let schema = TableSchema::builtin();
        let mut rows = Rows::new(schema.clone());
        let mut records = Vec::new();
        for (n, event) in (0..).zip(&events) {
            let origin = Origin {
                stream: "events".into(),
                shard: "s".into(),
                sequence: Sequence::from(n),
                subsequence: 0,
                arrived_at: work::ARRIVED,
            };
            rows.append(&Object::parse(event.as_bytes()).unwrap(), &origin).unwrap();
            let record = Record::builder().sequence_number(n.to_string()).partition_key("k");
            let record = record.approximate_arrival_timestamp(DateTime::from_millis(work::ARRIVED.0));
            records.push(record.data(Blob::new(event.as_bytes())).build().unwrap());
        }
        let made = Bytes::from(file(&schema.arrow(), "s", &records).unwrap());
        let read: Vec<RecordBatch> = ParquetRecordBatchReaderBuilder::try_new(made)
            .unwrap()
            .build()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(read[0].columns(), rows.finish().columns());
        records[0] =
            Record::builder().sequence_number("7").partition_key("k").data(Blob::new("[")).build().unwrap();
        assert!(file(&schema.arrow(), "s", &records).unwrap_err().starts_with("7: "));
    }
}
