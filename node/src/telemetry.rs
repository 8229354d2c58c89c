//! Telemetry: logs on stderr, traces over OTLP when asked for, metrics for Prometheus.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use shardmill_actors::telemetry::{Kind, METRICS};
use shardmill_cluster::transport::Hush;
use shardmill_connectors::Failure;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{DynFilterFn, FilterExt, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// What is logged, in tracing's filter syntax.
pub const LOG: &str = "SHARDMILL_LOG";
/// Where traces go: the base URL of an OTLP/HTTP receiver, or the whole URL for traces. Without either none are made.
pub const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// How long the end of the process waits for the last traces to be sent.
const LAST_TRACES: Duration = Duration::from_secs(3);

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
            && let Err(error) = provider.shutdown_with_timeout(LAST_TRACES)
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
        // What the carrier between nodes tells of good connections, the transport tells as well.
        Err(_) => EnvFilter::new(format!("{level},ractor_cluster=warn")),
    };
    // Traces are a convenience: without them the node does its work all the same.
    let (provider, problem) = match provider() {
        Ok(provider) => (provider, None),
        Err(problem) => (None, Some(problem)),
    };
    let tracer = provider.as_ref().map(|provider| provider.tracer("shardmill"));
    // Only our own spans: a library's (the exporter's own client among them) are none of the receiver's business.
    let ours = Targets::new().with_target("shardmill", Level::INFO);
    let traces = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours));
    let registry = tracing_subscriber::registry().with(logs().with_filter(filter.and(calm()))).with(traces);
    // A second start (tests) keeps the first subscriber.
    let _ = registry.try_init();
    if let Some(problem) = problem {
        tracing::warn!(%problem, "traces are not exported");
    }
    Ok(Guard(provider))
}

/// The libraries between nodes write lines that a peer can cause at will: only so many of them are let through.
fn calm() -> DynFilterFn<Registry, impl Fn(&Metadata<'_>, &Context<'_, Registry>) -> bool> {
    static NOISE: Hush = Hush::new(20, Duration::from_secs(10));
    let quiet = |metadata: &Metadata<'_>, _: &Context<'_, Registry>| {
        !metadata.target().starts_with("ractor") || NOISE.say(Instant::now()).is_some()
    };
    dynamic_filter_fn(quiet).with_max_level_hint(LevelFilter::TRACE)
}

fn logs() -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match std::io::stderr().is_terminal() {
        true => layer.compact().boxed(),
        false => layer.with_ansi(false).boxed(),
    }
}

fn provider() -> Result<Option<SdkTracerProvider>, ExporterBuildError> {
    let is_set = |name: &&str| std::env::var(name).is_ok_and(|endpoint| !endpoint.is_empty());
    if !ENDPOINTS.iter().any(is_set) {
        return Ok(None);
    }
    // The exporter reads the endpoint itself and appends `/v1/traces` to the base URL; headers and timeouts likewise. It
    // sends from a thread of its own, and drops spans when the receiver does not keep up.
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
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
        for (name, kind, meaning) in METRICS {
            match kind {
                Kind::Counter => ::metrics::describe_counter!(*name, *meaning),
                Kind::Gauge => ::metrics::describe_gauge!(*name, *meaning),
                Kind::Histogram => ::metrics::describe_histogram!(*name, *meaning),
            }
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

/// What `/metrics` shows: every metric of the list, those without a sample yet by their head lines, so that rules and
/// dashboards can be written before the first of a kind happens.
pub fn render(handle: &PrometheusHandle) -> String {
    let mut page = handle.render();
    for (name, kind, meaning) in METRICS {
        if !page.contains(&format!("# TYPE {name} ")) {
            page.push_str(&format!("# HELP {name} {meaning}\n# TYPE {name} {}\n\n", kind.as_str()));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_head_with_its_meaning() {
        let handle = metrics().unwrap();
        ::metrics::counter!(shardmill_actors::telemetry::COMMITS).increment(1);
        let page = render(&handle);
        for (name, kind, meaning) in METRICS {
            let head = format!("# HELP {name} {meaning}\n# TYPE {name} {}\n", kind.as_str());
            assert_eq!(page.matches(&head).count(), 1, "{name} in {page}");
        }
    }
}
