//! Every name of a span or a metric, in one place.

/// Span: one request at the collector, from its head to the answer.
pub const COLLECT: &str = "collect";
/// Span: one fetch from a shard that brought records, until the lake writer has them.
pub const READ: &str = "read";
/// Span: one batch turned into rows.
pub const STANDARDISE: &str = "standardise";
/// Span: segments uploaded and a shard's document written.
pub const COMMIT: &str = "commit";
/// Span: one generation of an hour made.
pub const COMPACT: &str = "compact";
/// Span: dead letters turned into late inputs.
pub const REDRIVE: &str = "redrive";
/// Span: one attempt to deliver a batch to a destination.
pub const DELIVER: &str = "deliver";

/// Every span.
pub const SPANS: &[&str] = &[COLLECT, READ, STANDARDISE, COMMIT, COMPACT, REDRIVE, DELIVER];

/// Counter; labels `door`, `status`.
pub const COLLECT_REQUESTS: &str = "shardmill_collect_requests_total";
/// Counter; label `stream`.
pub const COLLECT_ACCEPTED: &str = "shardmill_collect_events_accepted_total";
/// Counter; labels `stream`, `code`.
pub const COLLECT_REFUSED: &str = "shardmill_collect_events_refused_total";
/// Counter; label `stream`.
pub const COLLECT_BYTES: &str = "shardmill_collect_bytes_total";
/// Histogram; label `stream`.
pub const COLLECT_PUT_SECONDS: &str = "shardmill_collect_put_seconds";
/// Gauge.
pub const COLLECT_BUDGET_USED: &str = "shardmill_collect_budget_used_bytes";
/// Counter; label `why`.
pub const COLLECT_OVERLOAD: &str = "shardmill_collect_overload_total";
/// Counter; label `stream`.
pub const RECORDS_READ: &str = "shardmill_records_read_total";
/// Counter; label `table`.
pub const ROWS_COMMITTED: &str = "shardmill_rows_committed_total";
/// Counter; label `table`.
pub const DEAD_LETTERS: &str = "shardmill_dead_letters_total";
/// Counter.
pub const COMMITS: &str = "shardmill_commits_total";
/// Counter; label `table`.
pub const GENERATIONS: &str = "shardmill_generations_total";
/// Counter; label `table`.
pub const DUPLICATES: &str = "shardmill_duplicate_rows_dropped_total";
/// Counter; label `table`.
pub const LISTS_LOST: &str = "shardmill_duplicate_lists_lost_total";
/// Counter; label `class`.
pub const FAILURES: &str = "shardmill_failures_total";
/// Counter.
pub const SWEPT: &str = "shardmill_swept_objects_total";
/// Gauge; label `budget`.
pub const BUDGET_USED: &str = "shardmill_budget_used_bytes";
/// Gauge.
pub const LAG: &str = "shardmill_lag_ms";
/// Counter; label `destination`.
pub const DELIVERED: &str = "shardmill_events_delivered_total";
/// Counter; labels `destination`, `class`.
pub const GIVEN_UP: &str = "shardmill_deliveries_dead_lettered_total";
/// Histogram; label `destination`.
pub const DELIVERY_SECONDS: &str = "shardmill_delivery_seconds";
/// Counter; labels `intake`, `outcome`.
pub const INTAKE_FILES: &str = "shardmill_intake_files_total";
/// Counter; label `intake`.
pub const INTAKE_ROWS: &str = "shardmill_intake_rows_total";
/// Counter; labels `schedule`, `outcome`.
pub const SCHEDULE_FILES: &str = "shardmill_schedule_files_total";
/// Counter; label `schedule`.
pub const SCHEDULE_ROWS: &str = "shardmill_schedule_rows_total";
/// Counter; label `outcome`.
pub const REDRIVE_REQUESTS: &str = "shardmill_redrive_requests_total";

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises only.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// Its name in Prometheus' text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric: its name, its kind, what it means (the `# HELP` line).
pub type Metric = (&'static str, Kind, &'static str);

/// Every metric.
pub const METRICS: &[Metric] = &[
    (COLLECT_REQUESTS, Kind::Counter, "Requests answered by the collector"),
    (COLLECT_ACCEPTED, Kind::Counter, "Events durable in the stream"),
    (COLLECT_REFUSED, Kind::Counter, "Events refused at the door"),
    (COLLECT_BYTES, Kind::Counter, "Payload bytes durable in the stream"),
    (COLLECT_PUT_SECONDS, Kind::Histogram, "Seconds the stream took to make a request's events durable"),
    (COLLECT_BUDGET_USED, Kind::Gauge, "Bytes of the collector's memory budget in use"),
    (COLLECT_OVERLOAD, Kind::Counter, "Requests turned away for want of memory or room"),
    (RECORDS_READ, Kind::Counter, "Records read from shards"),
    (ROWS_COMMITTED, Kind::Counter, "Rows committed to segments"),
    (DEAD_LETTERS, Kind::Counter, "Events that became dead letters at the lake"),
    (COMMITS, Kind::Counter, "Commits of shard documents"),
    (GENERATIONS, Kind::Counter, "Generations of hours committed"),
    (DUPLICATES, Kind::Counter, "Rows dropped because an earlier row of their hour has their message id"),
    (
        LISTS_LOST,
        Kind::Counter,
        "Looks at a list of duplicates that could not be read: late rows of its hour wait",
    ),
    (FAILURES, Kind::Counter, "Failures decided by supervisors"),
    (SWEPT, Kind::Counter, "Abandoned objects deleted by the sweeper"),
    (BUDGET_USED, Kind::Gauge, "Bytes of a memory budget in use"),
    (DELIVERED, Kind::Counter, "Events that destinations took"),
    (GIVEN_UP, Kind::Counter, "Events that became dead letters at a destination"),
    (DELIVERY_SECONDS, Kind::Histogram, "Seconds one attempt at a destination took"),
    (INTAKE_FILES, Kind::Counter, "Raw files taken in, repeated or given up"),
    (INTAKE_ROWS, Kind::Counter, "Rows of raw files committed to late inputs"),
    (SCHEDULE_FILES, Kind::Counter, "Files of schedules put or given up"),
    (SCHEDULE_ROWS, Kind::Counter, "Rows of scheduled files put, or dead letters"),
    (
        REDRIVE_REQUESTS,
        Kind::Counter,
        "Messages of the redrive queue: redriven, repeated, put off or not ours",
    ),
    (LAG, Kind::Gauge, "Milliseconds the slowest shard is behind its tip"),
];
