//! Parquet: a row becomes an object of its columns.
//!
//! Times are RFC 3339 (those without a zone are taken as UTC), decimals are numbers with all their digits, bytes are hexadecimal,
//! lists, structs and maps are JSON, what is null is null.

use std::collections::VecDeque;
use std::fs::File;

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::{Row, Rows, utf8};
use crate::failure::Failure;

/// Rows decoded at once, at most.
const ROWS: usize = 1_024;
/// Bytes decoded at once, about.
const BYTES: u64 = 4 << 20;

/// The rows of a file.
pub(super) fn rows(file: File, shown: String) -> Result<Rows, Failure> {
    let wrong = {
        let shown = shown.clone();
        move |error: &dyn std::fmt::Display| Failure::rejected(format!("{shown} cannot be read: {error}"))
    };
    // What Arrow noted beside Parquet's own types names zones and dictionaries that change nothing of a value.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
    let builder = builder.map_err(|error| wrong(&error))?;
    let groups = builder.metadata().row_groups();
    let bytes: u64 =
        groups.iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or_default()).sum();
    let count: u64 = groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or_default()).sum();
    let each = (bytes / count.max(1)).max(1);
    let together = usize::try_from(BYTES / each).unwrap_or(ROWS).clamp(1, ROWS);
    let mut batches = builder.with_batch_size(together).build().map_err(|error| wrong(&error))?;
    let (mut ready, mut number, mut ended) = (VecDeque::new(), 0, false);
    Ok(Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(data) = ready.pop_front() {
                number += 1;
                return Some(Ok(Row { number, data }));
            }
            if ended {
                return None;
            }
            let encoded = batches.next()?.and_then(|batch| lines(&batch));
            match encoded {
                Ok(bytes) => {
                    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    ready.extend(lines.map(utf8));
                }
                Err(error) => {
                    ended = true;
                    return Some(Err(wrong(&error)));
                }
            }
        }
    })))
}

/// A line of JSON for each row.
fn lines(batch: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let builder = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format("%Y-%m-%dT%H:%M:%S%.fZ".to_owned());
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}
