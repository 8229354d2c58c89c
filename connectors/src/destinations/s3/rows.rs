//! Events as rows of Parquet: who, what and when in columns of their own, and the whole event beside them.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::settings::Packing;
use crate::destinations::Event;
use crate::destinations::event::Tracked;

/// Columns with what stands at a place of the event, if it is a text or a number.
const FOUND: [(&str, &str); 4] =
    [("type", "/type"), ("event", "/event"), ("user_id", "/userId"), ("anonymous_id", "/anonymousId")];

/// The columns, in order.
pub(super) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![Field::new("id", DataType::Utf8, false), Field::new("time", time, false)];
    fields.extend(FOUND.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)));
    fields.push(Field::new("data", DataType::Utf8, false));
    Arc::new(Schema::new(fields))
}

/// The file of these events. The same events give the same bytes.
pub(super) fn encode(packing: Packing, events: &[Event]) -> Result<Vec<u8>, String> {
    let rows = rows(events)?;
    let compression = match packing {
        Packing::None => Compression::UNCOMPRESSED,
        Packing::Snappy => Compression::SNAPPY,
        Packing::Zstd | Packing::Gzip => Compression::ZSTD(ZstdLevel::default()),
    };
    let properties = WriterProperties::builder()
        .set_created_by(concat!("shardmill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression)
        .build();
    let wrong = |error: parquet::errors::ParquetError| error.to_string();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).map_err(wrong)?;
    writer.write(&rows).map_err(wrong)?;
    writer.into_inner().map_err(wrong)
}

fn rows(events: &[Event]) -> Result<RecordBatch, String> {
    let (mut ids, mut times, mut whole) =
        (StringBuilder::new(), TimestampMillisecondBuilder::new(), StringBuilder::new());
    let mut found = FOUND.map(|_| StringBuilder::new());
    for event in events {
        let tracked = Tracked::read(event).map_err(|failure| failure.detail)?;
        ids.append_value(&event.id);
        times.append_value(tracked.time().0);
        for (column, (_, place)) in found.iter_mut().zip(FOUND) {
            column.append_option(tracked.id(place));
        }
        whole.append_value(std::str::from_utf8(&event.data).map_err(|error| error.to_string())?);
    }
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(ids.finish()), Arc::new(times.with_timezone("UTC").finish())];
    columns.extend(found.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    columns.push(Arc::new(whole.finish()));
    RecordBatch::try_new(schema(), columns).map_err(|error| error.to_string())
}
