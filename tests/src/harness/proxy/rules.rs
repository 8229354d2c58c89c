//! Which calls are hit, how often, and by what.

use std::time::Duration;

use super::Call;

/// What is done to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answered by the proxy, in the service's own form; the server never hears of it.
    Error {
        /// The HTTP status.
        status: u16,
        /// The service's error code, such as `SlowDown`.
        code: String,
    },
    /// Held up, then passed on.
    Delay(Duration),
    /// The connection is reset; the server never hears of the call.
    Reset,
    /// Passed on, and half of the answer's body comes back before the connection is reset.
    Truncate,
    /// Passed on and done; the answer is thrown away and the connection reset.
    Lost,
}

impl Fault {
    /// An error of a service.
    pub fn error(status: u16, code: &str) -> Self {
        Fault::Error { status, code: code.to_owned() }
    }

    /// Its name in counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Error { .. } => "error",
            Fault::Delay(_) => "delay",
            Fault::Reset => "reset",
            Fault::Truncate => "truncate",
            Fault::Lost => "lost",
        }
    }
}

/// A fault, and the calls it is for.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) fault: Fault,
    service: Option<String>,
    operation: Option<String>,
    target: Option<String>,
    pub(super) probability: f64,
    pub(super) left: Option<u64>,
    pub(super) spared: u64,
}

impl Rule {
    /// Every call, always.
    pub fn new(fault: Fault) -> Self {
        Rule { fault, service: None, operation: None, target: None, probability: 1.0, left: None, spared: 0 }
    }

    /// Only calls of this service: `s3`, `sqs`, `kinesis`, `athena`, `glue`, `sts`.
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.to_owned());
        self
    }

    /// Only this operation: `PutObject`, `SendMessageBatch`.
    #[must_use]
    pub fn operation(mut self, name: &str) -> Self {
        self.operation = Some(name.to_owned());
        self
    }

    /// Only calls whose path and query hold this text.
    #[must_use]
    pub fn target(mut self, part: &str) -> Self {
        self.target = Some(part.to_owned());
        self
    }

    /// Each call with this probability.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability.clamp(0.0, 1.0);
        self
    }

    /// This many calls, and no more.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.left = Some(count);
        self
    }

    /// Only after this many calls that would have been hit.
    #[must_use]
    pub fn after(mut self, count: u64) -> Self {
        self.spared = count;
        self
    }

    pub(super) fn matches(&self, call: &Call) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let within = self.target.as_deref().is_none_or(|part| call.target.contains(part));
        self.left != Some(0)
            && is(&self.service, &call.service)
            && is(&self.operation, &call.operation)
            && within
    }
}
