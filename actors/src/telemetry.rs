//! Every name of a span, a metric or an attribute, in one place.

/// Span: one request at the collector.
pub const COLLECT: &str = "collect";
/// Span: one fetch from a shard that brought records.
pub const READ: &str = "read";
/// Span: one batch turned into rows.
pub const STANDARDISE: &str = "standardise";
/// Span: segments uploaded and a shard's document written.
pub const COMMIT: &str = "commit";
/// Span: one generation of an hour made.
pub const COMPACT: &str = "compact";
/// Span: dead letters turned into late inputs.
pub const REDRIVE: &str = "redrive";

/// Counter: events the collector accepted, by stream.
pub const ACCEPTED: &str = "shardmill_collector_accepted_total";
/// Counter: events the collector refused, by code.
pub const REFUSED: &str = "shardmill_collector_refused_total";
/// Counter: requests answered with 429 or 503.
pub const OVERLOADED: &str = "shardmill_collector_overloaded_total";
/// Counter: records read, by stream.
pub const RECORDS_READ: &str = "shardmill_records_read_total";
/// Counter: rows committed to segments, by table.
pub const ROWS_COMMITTED: &str = "shardmill_rows_committed_total";
/// Counter: events that became dead letters at the lake, by table.
pub const DEAD_LETTERS: &str = "shardmill_dead_letters_total";
/// Counter: commits of shard documents.
pub const COMMITS: &str = "shardmill_commits_total";
/// Counter: generations committed, by table.
pub const GENERATIONS: &str = "shardmill_generations_total";
/// Counter: failures decided by supervisors, by class.
pub const FAILURES: &str = "shardmill_failures_total";
/// Counter: objects deleted by the sweeper.
pub const SWEPT: &str = "shardmill_swept_objects_total";
/// Gauge: bytes taken of a memory budget, by budget.
pub const BUDGET_USED: &str = "shardmill_budget_used_bytes";
/// Gauge: milliseconds the slowest shard is behind its tip.
pub const LAG: &str = "shardmill_lag_ms";
