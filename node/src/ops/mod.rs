//! The operators' HTTP door: health, metrics, the admin API and a dashboard.

mod access;
mod admin;
mod health;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

pub use access::Access;
pub use admin::{Admin, READS, status_of};
pub use health::Health;

/// What the ops listener needs of the node.
#[derive(Clone)]
pub struct Ops {
    /// Answers the admin API.
    pub admin: Arc<dyn Admin>,
    /// What `/readyz` says.
    pub health: Arc<Health>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Who may change things.
    pub access: Access,
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").field("access", &self.access).finish_non_exhaustive()
    }
}

/// The routes of the ops listener.
pub fn router(ops: Ops) -> Router {
    Router::new()
        .route("/", get(dashboard))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/{*command}", get(admin::read).post(admin::change))
        .with_state(ops)
}

async fn dashboard() -> Response {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-cache")];
    (headers, Html(include_str!("dashboard.html"))).into_response()
}

async fn ready(State(ops): State<Ops>) -> Response {
    ops.health.answer()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    let page = crate::telemetry::render(&ops.metrics);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

#[cfg(test)]
mod tests;
