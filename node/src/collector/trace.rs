//! The trace a request belongs to: continued from its `traceparent` header, stored with its records.

use axum::http::HeaderMap;
use opentelemetry::trace::TraceContextExt;
use shardmill_actors::trace;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes `span` part of the caller's trace, and says which `traceparent` its records carry: this span's own when traces
/// are exported, else the caller's as it came (when it is valid).
pub(super) fn adopt(span: &Span, headers: &HeaderMap) -> Option<String> {
    let header = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::trim);
    let caller = header.and_then(|header| Some((header, trace::remote_context(header)?)));
    if let Some((_, context)) = &caller {
        let parent = opentelemetry::Context::new().with_remote_span_context(context.clone());
        // It fails when no trace is exported; the header is stored all the same.
        let _ = span.set_parent(parent);
    }
    let own = span.context().span().span_context().clone();
    match (own.is_valid() && !own.is_remote(), caller) {
        (true, _) => Some(trace::traceparent(&own)),
        (false, Some((header, _))) => Some(header.to_owned()),
        (false, None) => None,
    }
}
