//! Every name of a metric or span, in one place.

/// Spans.
pub mod spans {
    /// One request at the collector, from its head to the answer.
    pub const COLLECT: &str = "collect";
}

/// Metrics, in Prometheus' form.
pub mod metrics {
    /// Counter: requests answered by the collector; labels `door`, `status`.
    pub const COLLECT_REQUESTS: &str = "shardmill_collect_requests_total";
    /// Counter: events accepted, that is durable in the stream; label `stream`.
    pub const COLLECT_ACCEPTED: &str = "shardmill_collect_events_accepted_total";
    /// Counter: events refused; labels `stream`, `code`.
    pub const COLLECT_REFUSED: &str = "shardmill_collect_events_refused_total";
    /// Counter: payload bytes accepted; label `stream`.
    pub const COLLECT_BYTES: &str = "shardmill_collect_bytes_total";
    /// Histogram: seconds from the end of the body to the stream's answer; label `stream`.
    pub const COLLECT_PUT_SECONDS: &str = "shardmill_collect_put_seconds";
    /// Gauge: bytes of the collector's memory budget that are taken.
    pub const COLLECT_BUDGET_USED: &str = "shardmill_collect_budget_used_bytes";
    /// Counter: requests turned away unread for want of memory or room; label `why`.
    pub const COLLECT_OVERLOAD: &str = "shardmill_collect_overload_total";

    /// Each metric with what it means, for `# HELP` lines.
    pub const DESCRIPTIONS: &[(&str, &str)] = &[
        (COLLECT_REQUESTS, "Requests answered by the collector"),
        (COLLECT_ACCEPTED, "Events durable in the stream"),
        (COLLECT_REFUSED, "Events refused at the door"),
        (COLLECT_BYTES, "Payload bytes durable in the stream"),
        (COLLECT_PUT_SECONDS, "Seconds the stream took to make a request's events durable"),
        (COLLECT_BUDGET_USED, "Bytes of the collector's memory budget in use"),
        (COLLECT_OVERLOAD, "Requests turned away for want of memory or room"),
    ];
}
