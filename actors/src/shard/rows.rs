//! Rows on their way into a segment: in columns while there are few, encoded a piece at a time when there are more, a whole file at
//! a commit.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet::{Draft, Summary, WriteOptions};
use shardmill_connectors::ports::Objects;
use shardmill_connectors::setsum::Tally;

use super::Parts;
use crate::standardise::{Builder, Table};

/// Rows of a piece. In columns they take more memory than encoded; a piece pays for the encoder that it needs.
pub(super) const PIECE: usize = 4_096;
/// Bytes of their texts that make a piece of fewer rows.
pub(super) const PIECE_TEXTS: usize = 4 << 20;
/// What an encoder holds besides the rows: pages and dictionaries of every column.
const ENCODER_BYTES: u64 = 8 << 20;

/// How segments of a shard are written.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// How the lake's files are.
    pub lake: &'a WriteOptions,
    /// `stream/shard`.
    pub shard: &'a str,
}

impl<'a> Writing<'a> {
    /// How those of this shard are.
    pub(super) fn of(parts: &'a Parts) -> Self {
        Writing { lake: &parts.shared.lake.write, shard: &parts.name }
    }

    /// Whether what a builder has in columns is a piece.
    pub(super) fn is_piece<X>(builder: &Builder<X>) -> bool {
        builder.rows.len() >= PIECE || builder.rows.texts() >= PIECE_TEXTS
    }

    /// Encodes the rows that a builder has in columns.
    pub(super) async fn encode(self, builder: &mut Builder<Option<Draft>>) {
        let piece = builder.rows.finish();
        builder.beside.get_or_insert_with(|| self.draft(&builder.table)).write(piece).await;
    }

    fn draft(self, table: &Table) -> Draft {
        let meta = [
            ("shardmill.schema".to_owned(), table.schema.version().to_owned()),
            ("shardmill.shard".to_owned(), self.shard.to_owned()),
        ];
        Draft::new(table.schema.arrow(), &table.write(self.lake), &meta)
    }
}

/// The rows of one hour of one table, ready to be a segment.
#[derive(Debug)]
pub struct Rows {
    /// The table.
    pub table: Arc<Table>,
    /// The hour.
    pub hour: Hour,
    /// Their books.
    pub tally: Tally,
    draft: Option<Draft>,
    /// Those that are not in the draft.
    last: Option<RecordBatch>,
}

impl Rows {
    /// All that a builder has; `None` when that is nothing.
    pub(super) fn of(builder: Builder<Option<Draft>>) -> Option<Rows> {
        let Builder { table, hour, mut rows, tally, beside: draft, .. } = builder;
        let last = (!rows.is_empty()).then(|| rows.finish());
        (tally.rows > 0).then_some(Rows { table, hour, tally, draft, last })
    }

    /// What it takes, at most, to make a file of them: what they are, and that once more on its way out; pages and dictionaries,
    /// Bloom filters, and the ids for its run.
    pub(super) fn cost(&self, lake: &WriteOptions) -> u64 {
        let last = self.last.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        let held = last + self.draft.as_ref().map_or(0, Draft::bytes);
        cost(&self.table.write(lake), held as u64, self.tally.rows)
    }

    /// Makes a file of them, once, and uploads it under a name that nobody else can write.
    ///
    /// # Errors
    /// What the store says, or why no file can be made of them.
    pub(super) async fn upload(
        &mut self,
        writing: Writing<'_>,
        (objects, key): (&dyn Objects, &str),
    ) -> Result<Summary, Failure> {
        let draft = self.draft.get_or_insert_with(|| writing.draft(&self.table));
        if let Some(last) = self.last.take() {
            draft.write(last).await;
        }
        draft.finish().await;
        draft.put(objects, key).await
    }
}

fn cost(options: &WriteOptions, held: u64, rows: u64) -> u64 {
    ENCODER_BYTES + held + options.filter_bytes() + options.id_bytes(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_costs_what_it_holds_of_ids_and_filters_too() {
        let plain = WriteOptions::default();
        let with_ids = WriteOptions { ids: Some("message_id".to_owned()), ..plain.clone() };
        let with_both = WriteOptions { bloom: ["user_id".to_owned()].into(), ..with_ids.clone() };
        assert_eq!(cost(&plain, 1_000, 50_000), ENCODER_BYTES + 1_000);
        // A hash and a row number of each, in a list that grows by doubling.
        assert!(cost(&with_ids, 1_000, 50_000) >= ENCODER_BYTES + 1_000 + 50_000 * 3 * 32);
        assert_eq!(cost(&with_ids, 0, 10_000_000), cost(&with_ids, 0, 1 << 18), "a file of more has no run");
        assert!(cost(&with_both, 0, 10) > cost(&with_ids, 0, 10));
    }
}
