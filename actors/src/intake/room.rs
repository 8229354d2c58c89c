//! What sorting a file takes of the node's memory.

use shardmill_connectors::parquet::WriteOptions;

use super::sorter::{HOURS, IDS_BYTES};
use crate::budget::Share;
use crate::shared::Memory;
use crate::standardise::Tables;

/// What an encoder holds besides the rows, and what unpacking and splitting hold.
const FIXED_BYTES: u64 = 8 << 20;
/// The most that the rows of one file hold before they are written.
const ROWS_BYTES: u64 = 32 << 20;

/// Bytes of the budgets. No file takes a whole budget: shards go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Of the builders': for rows.
    pub(super) rows: u64,
    /// Of the encoders'.
    encoders: u64,
    /// How much of that is for ids: what everything else leaves. Files that have more of them are written without their runs.
    pub(super) ids: u64,
}

impl Room {
    /// For a file whose rows go to these tables.
    pub(super) fn of(memory: &Memory, tables: &Tables, write: &WriteOptions) -> Self {
        let rows = (memory.builders.limit() / 4).min(FIXED_BYTES + ROWS_BYTES);
        let filters = tables.all().iter().map(|table| table.write(write).filter_bytes()).max();
        let fixed = FIXED_BYTES + write.row_group_bytes as u64 + HOURS as u64 * filters.unwrap_or_default();
        let has_ids = tables.all().iter().any(|table| table.ids.is_some());
        let wanted = fixed + if has_ids { IDS_BYTES } else { 0 };
        let encoders = wanted.min(memory.encoders.limit() / 2);
        Room { rows, encoders, ids: encoders.saturating_sub(fixed) }
    }

    /// Takes it: of the builders' budget and of the encoders'.
    pub(super) async fn take(self, memory: &Memory) -> (Share, Share) {
        (memory.builders.take(self.rows).await, memory.encoders.take(self.encoders).await)
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::schema::TableSchema;

    use super::*;
    use crate::standardise::Table;

    #[tokio::test]
    async fn ids_and_filters_of_all_open_files_are_counted_and_take_what_the_budget_leaves() {
        let table = Table::new("events", TableSchema::builtin());
        let (plain, write) = (Tables::new(table.clone(), []), WriteOptions::default());
        let with_ids = Table { ids: Some("message_id".to_owned()), ..table };
        let ids = Tables::new(with_ids.clone(), []);
        let both = Tables::new(Table { bloom: ["user_id".to_owned()].into(), ..with_ids }, []);
        let large = Memory::new(8 << 30);
        let of = |memory: &Memory, tables: &Tables| Room::of(memory, tables, &write);
        assert_eq!((of(&large, &plain).ids, of(&large, &ids).ids), (0, IDS_BYTES));
        assert_eq!(of(&large, &ids).encoders - of(&large, &plain).encoders, IDS_BYTES);
        assert!(of(&large, &both).encoders > of(&large, &ids).encoders);
        // Half of an eighth: the row group, and some of the ids.
        let small = Memory::new(16 * ((8 << 20) + write.row_group_bytes as u64 + 1_000));
        assert_eq!((of(&small, &ids).ids, of(&small, &ids).encoders), (1_000, small.encoders.limit() / 2));
        assert_eq!(of(&Memory::new(1 << 20), &ids).ids, 0);
        let share = of(&large, &both).take(&large).await;
        assert_eq!(large.encoders.used(), of(&large, &both).encoders);
        drop(share);
    }
}
