//! Whether the node is ready to take traffic, and if not, why.

use std::sync::{PoisonError, RwLock};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Readiness as `/readyz` tells it; starts as not ready.
#[derive(Debug)]
pub struct Health(RwLock<Option<String>>);

impl Default for Health {
    fn default() -> Self {
        Health(RwLock::new(Some("starting".into())))
    }
}

impl Health {
    /// The node takes traffic.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The node takes no traffic, because of `reason`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Why the node takes no traffic; `None` when it does.
    pub fn reason(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(super) fn answer(&self) -> Response {
        match self.reason() {
            None => Json(json!({"ready": true})).into_response(),
            Some(reason) => {
                let body = Json(json!({"ready": false, "reason": reason}));
                (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
            }
        }
    }
}
