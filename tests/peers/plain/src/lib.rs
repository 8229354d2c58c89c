//! What one would write in Rust in a day: the SDK as it comes, serde, arrow's builders, parquet. It keeps no checkpoint, no books and
//! nothing that it cannot read. A peer of `shardmill-tests compare`: a package of its own, so that it is compiled as ours is.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, StringArray, StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
    new_null_array,
};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use aws_config::BehaviorVersion;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Records standardised together; a file holds as many. As in the scripts.
const SOME: usize = 50_000;

/// An event of the built-in table.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    anonymous_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sent_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    received_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    category: Option<Cow<'a, str>>,
    #[serde(borrow)]
    group_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    previous_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(borrow)]
    traits: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    integrations: Option<&'a RawValue>,
}

/// Copies a whole stream into files of a bucket, whose columns are those of the built-in table.
///
/// # Errors
/// A call that failed, or the first event that is no row.
pub async fn copy(schema: SchemaRef, stream: &str, bucket: &str) -> Result<(), String> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let kinesis = aws_sdk_kinesis::Client::new(&config);
    let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let listed =
        kinesis.list_shards().stream_name(stream).send().await.map_err(|error| format!("{error:?}"))?;
    let mut number = 0;
    for shard in listed.shards().iter().map(|shard| shard.shard_id()) {
        let call = kinesis.get_shard_iterator().stream_name(stream).shard_id(shard);
        let opened = call.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await;
        let mut iterator = opened.map_err(|error| format!("{error:?}"))?.shard_iterator;
        let mut held: Vec<Record> = Vec::new();
        while let Some(at) = iterator {
            let answer = kinesis.get_records().shard_iterator(at).send().await;
            let answer = answer.map_err(|error| format!("{error:?}"))?;
            iterator = answer.next_shard_iterator.filter(|_| !answer.records.is_empty());
            held.extend(answer.records);
            if held.len() >= SOME || (iterator.is_none() && !held.is_empty()) {
                let file = file(&schema, shard, &std::mem::take(&mut held))?;
                let call = s3.put_object().bucket(bucket).key(format!("rows/{number:05}.parquet"));
                call.body(file.into()).send().await.map_err(|error| format!("{error:?}"))?;
                number += 1;
            }
        }
    }
    Ok(())
}

/// Records as a Parquet file.
///
/// # Errors
/// The first event that is no row.
pub fn file(schema: &SchemaRef, shard: &str, records: &[Record]) -> Result<Vec<u8>, String> {
    let mut columns = Columns::default();
    for record in records {
        let event = serde_json::from_slice(record.data().as_ref());
        columns.push(&event.map_err(|error| format!("{}: {error}", record.sequence_number()))?)?;
    }
    let batch = RecordBatch::try_new(schema.clone(), columns.finish(shard, records))
        .map_err(|error| error.to_string())?;
    let options = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let written = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(options))
        .and_then(|mut writer| writer.write(&batch).and_then(|()| writer.into_inner()));
    written.map_err(|error| error.to_string())
}

#[derive(Default)]
struct Columns {
    texts: [StringBuilder; 9],
    times: [TimestampMicrosecondBuilder; 3],
    objects: [StringBuilder; 4],
}

impl Columns {
    fn push(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event { message_id, r#type, event: of, user_id, anonymous_id, name, .. } = event;
        let texts = [
            message_id,
            r#type,
            of,
            user_id,
            anonymous_id,
            name,
            &event.category,
            &event.group_id,
            &event.previous_id,
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text.as_deref());
        }
        for (column, text) in
            self.times.iter_mut().zip([&event.timestamp, &event.sent_at, &event.received_at])
        {
            let nanos = text.as_deref().map(string_to_timestamp_nanos).transpose();
            column.append_option(nanos.map_err(|error| error.to_string())?.map(|nanos| nanos / 1_000));
        }
        let objects = [event.properties, event.traits, event.context, event.integrations];
        for (column, object) in self.objects.iter_mut().zip(objects) {
            match object.map(RawValue::get) {
                Some(text) if !text.starts_with('{') => return Err(format!("{text} is no object")),
                text => column.append_option(text),
            }
        }
        Ok(())
    }

    /// In the order of the table, with a row's origin behind.
    fn finish(mut self, shard: &str, records: &[Record]) -> Vec<ArrayRef> {
        let rows = records.len();
        let mut texts = self.texts.iter_mut().map(|column| -> ArrayRef { Arc::new(column.finish()) });
        let mut columns: Vec<ArrayRef> = texts.by_ref().take(5).collect();
        let utc = |column: &mut TimestampMicrosecondBuilder| -> ArrayRef {
            Arc::new(column.finish().with_timezone("UTC"))
        };
        columns.extend(self.times.iter_mut().map(utc));
        columns.extend(texts);
        columns.extend(self.objects.iter_mut().map(|column| -> ArrayRef { Arc::new(column.finish()) }));
        let arrived = records.iter().filter_map(|record| record.approximate_arrival_timestamp());
        let arrived =
            arrived.map(|at| at.as_nanos().checked_div(1_000).and_then(|us| i64::try_from(us).ok()));
        columns.extend([
            new_null_array(&DataType::Utf8, rows),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n("events", rows))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(shard, rows))),
            Arc::new(StringArray::from_iter_values(records.iter().map(Record::sequence_number))),
            Arc::new(Int64Array::from_value(0, rows)),
            Arc::new(TimestampMicrosecondArray::from_iter(arrived).with_timezone("UTC")) as ArrayRef,
        ]);
        columns
    }
}
