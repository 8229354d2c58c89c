//! The one vocabulary of failures: what happened, told by what must happen next.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The class of a [`Failure`]. Ports and connectors classify; supervision decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A timeout, a connection error, a 5xx: the same unit is retried after a backoff.
    Transient,
    /// The service asks for less (429, `SlowDown`): retried no sooner than it says.
    Throttled,
    /// This unit can never succeed (schema violation, 400, 422): it is dead-lettered.
    Rejected,
    /// Credentials or configuration are wrong: the work pauses until an operator or a probe resumes it.
    Unauthorized,
    /// The epoch is no longer ours: the work stops quietly, nothing is acknowledged.
    Fenced,
    /// A panic or an unexpected error, that is a bug: restarted, then escalated.
    Crashed,
}

impl Class {
    /// The name used in JSON, metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::Throttled => "throttled",
            Class::Rejected => "rejected",
            Class::Unauthorized => "unauthorized",
            Class::Fenced => "fenced",
            Class::Crashed => "crashed",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failed attempt: its class, what it was about, and how long the other side asked us to wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({class})")]
pub struct Failure {
    /// What happens next.
    pub class: Class,
    /// The shortest wait the service asked for, if it named one.
    pub retry_after: Option<Duration>,
    /// What failed, where, and, when known, what to do. Never holds a secret.
    pub detail: String,
}

impl Failure {
    /// A failure of `class` described by `detail`.
    pub fn new(class: Class, detail: impl Into<String>) -> Self {
        Failure { class, retry_after: None, detail: detail.into() }
    }

    /// See [`Class::Transient`].
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::new(Class::Transient, detail)
    }

    /// See [`Class::Throttled`].
    pub fn throttled(detail: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Failure { class: Class::Throttled, retry_after, detail: detail.into() }
    }

    /// See [`Class::Rejected`].
    pub fn rejected(detail: impl Into<String>) -> Self {
        Self::new(Class::Rejected, detail)
    }

    /// See [`Class::Unauthorized`].
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(Class::Unauthorized, detail)
    }

    /// See [`Class::Fenced`].
    pub fn fenced(detail: impl Into<String>) -> Self {
        Self::new(Class::Fenced, detail)
    }

    /// See [`Class::Crashed`].
    pub fn crashed(detail: impl Into<String>) -> Self {
        Self::new(Class::Crashed, detail)
    }

    /// The same failure with what we were doing put in front.
    #[must_use]
    pub fn during(mut self, doing: impl fmt::Display) -> Self {
        self.detail = format!("{doing}: {}", self.detail);
        self
    }
}
