//! Telemetry: logs on stderr, traces over OTLP when asked for, metrics for Prometheus.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use shardmill_connectors::Failure;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::names::metrics::DESCRIPTIONS;

/// What is logged, in tracing's filter syntax.
pub const LOG: &str = "SHARDMILL_LOG";
/// Where traces go; without it none are made.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Keeps telemetry alive; what is still buffered is sent when it is dropped.
#[derive(Default)]
pub struct Guard(Option<SdkTracerProvider>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("traces", &self.0.is_some()).finish()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last traces were not sent: {error}");
        }
    }
}

/// Starts logging at `level` (unless [`LOG`] says otherwise) and, when an endpoint is set, tracing. Called once, before the runtime starts: the exporter's blocking
/// client may not be built within one.
pub fn start(level: &str) -> Result<Guard, Failure> {
    let filter = match std::env::var(LOG) {
        Ok(text) => EnvFilter::try_new(&text).map_err(|error| {
            Failure::rejected(format!("{LOG} is no filter: {error}; write it like info,shardmill=debug"))
        })?,
        Err(_) => EnvFilter::new(level),
    };
    let provider = provider()?;
    let tracer = provider.as_ref().map(|provider| provider.tracer("shardmill"));
    let traces = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer));
    let registry = tracing_subscriber::registry().with(logs().with_filter(filter)).with(traces);
    // A second start (tests) keeps the first subscriber.
    let _ = registry.try_init();
    Ok(Guard(provider))
}

fn logs() -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match std::io::stderr().is_terminal() {
        true => layer.compact().boxed(),
        false => layer.with_ansi(false).boxed(),
    }
}

fn provider() -> Result<Option<SdkTracerProvider>, Failure> {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty());
    if endpoint.is_none() {
        return Ok(None);
    }
    // The exporter reads the endpoint itself, with the path it needs, and its headers and timeout.
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| Failure::unauthorized(format!("{ENDPOINT}: {error}")))?;
    let resource = Resource::builder().with_service_name("shardmill").build();
    Ok(Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
}

/// Installs the recorder behind the `metrics` crate, once per process, and keeps it from growing unscraped.
pub fn metrics() -> Result<PrometheusHandle, Failure> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let installed = HANDLE.get_or_init(|| {
        let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let builder = PrometheusBuilder::new().set_buckets(&buckets).map_err(|error| error.to_string())?;
        let handle = builder.install_recorder().map_err(|error| error.to_string())?;
        for (name, meaning) in DESCRIPTIONS {
            ::metrics::describe_counter!(*name, *meaning);
        }
        Ok(handle)
    });
    installed.clone().map_err(|error| Failure::crashed(format!("metrics: {error}")))
}

/// Folds what histograms have gathered into their buckets every few seconds, so that they do not grow when nobody
/// scrapes. Runs until it is aborted.
pub async fn keep_metrics_small(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

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
        }
    }
}
