//! W3C trace contexts, and the links from work on many records to the traces that brought them.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use shardmill_connectors::record::Record;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Links of one span, at most: a batch may come from thousands of requests.
const LINKS: usize = 32;
/// Where the trace id stands in a `traceparent`.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// The span a W3C `traceparent` header names; `None` when it is not valid (<https://www.w3.org/TR/trace-context/>).
pub fn remote_context(traceparent: &str) -> Option<SpanContext> {
    let lower_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    let whole = [version, trace, span, flags].iter().all(|part| lower_hex(part));
    // Later versions may append parts; version 00 may not, and ff is no version.
    let more = parts.next().is_some();
    if lengths != (2, 32, 16, 2) || !whole || version == "ff" || (version == "00" && more) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

/// The `traceparent` header of a span.
pub fn traceparent(context: &SpanContext) -> String {
    let flags = (context.trace_flags() & TraceFlags::SAMPLED).to_u8();
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

/// The distinct traces of some records, up to a bound: the first span of each.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// The trace id as text, by which a record of a known trace is told without reading its `traceparent`.
    known: Vec<(Box<str>, SpanContext)>,
}

impl Links {
    /// The traces of `records`.
    pub fn of(records: &[Record]) -> Self {
        let mut links = Links::default();
        records.iter().for_each(|record| links.note(record.trace.as_deref()));
        links
    }

    /// Notes the trace of one record.
    pub fn note(&mut self, traceparent: Option<&str>) {
        let Some(traceparent) = traceparent.filter(|_| self.known.len() < LINKS) else { return };
        let Some(id) = traceparent.get(TRACE_ID) else { return };
        if self.known.iter().rev().any(|(known, _)| **known == *id) {
            return;
        }
        if let Some(context) = remote_context(traceparent) {
            self.known.push((id.into(), context));
        }
    }

    /// Links `span` to them. Does nothing when no traces are exported.
    pub fn add_to(&self, span: &Span) {
        for (_, context) in &self.known {
            span.add_link(context.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparents_are_read_and_written() {
        let context = remote_context(VALID).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(traceparent(&context), VALID);
        assert!(remote_context("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "ä0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(remote_context(wrong).is_none(), "{wrong}");
            let mut links = Links::default();
            links.note(Some(wrong));
            assert!(links.known.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn links_are_distinct_and_bounded() {
        let mut links = Links::default();
        links.note(None);
        for trace in (1..=100).flat_map(|trace| [trace, trace]) {
            links.note(Some(&format!("00-{trace:032x}-00f067aa0ba902b7-01")));
        }
        assert_eq!(links.known.len(), LINKS);
        assert_eq!(links.known[31].1.trace_id(), TraceId::from(32));
    }
}
