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
        /// Where the bucket is, as S3 tells those who ask in another region.
        region: Option<String>,
    },
    /// Held up, then passed on.
    Delay(Duration),
    /// The connection is reset; the server never hears of the call.
    Reset,
    /// Passed on, and half of the answer's body comes back before the connection is reset.
    Truncate,
    /// Passed on and done; the answer is thrown away and the connection reset.
    Lost,
    /// Passed on; the connection is reset after so many bytes of the answer's body, as they come.
    Cut(u64),
    /// Passed on; of the answer's body the byte behind so many is another.
    Damage(u64),
    /// Passed on; after so many bytes of the answer's body no more come, and the connection stays.
    Stall(u64),
}

impl Fault {
    /// An error of a service.
    pub fn error(status: u16, code: &str) -> Self {
        Fault::Error { status, code: code.to_owned(), region: None }
    }

    /// An error of S3 that tells where the bucket is.
    pub fn elsewhere(status: u16, code: &str, region: &str) -> Self {
        Fault::Error { status, code: code.to_owned(), region: Some(region.to_owned()) }
    }

    /// Its name in counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Error { .. } => "error",
            Fault::Delay(_) => "delay",
            Fault::Reset => "reset",
            Fault::Truncate => "truncate",
            Fault::Lost => "lost",
            Fault::Cut(_) => "cut",
            Fault::Damage(_) => "damage",
            Fault::Stall(_) => "stall",
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

    /// Errors as each service has them, resets, delays and lost replies, each on a quarter of `share` of all calls.
    pub fn mixed(share: f64) -> Vec<Rule> {
        let throttles = [
            ("s3", 503, "SlowDown"),
            ("sqs", 400, "RequestThrottled"),
            ("kinesis", 400, "ProvisionedThroughputExceededException"),
            ("athena", 400, "TooManyRequestsException"),
            ("glue", 400, "ThrottlingException"),
        ];
        let part = share / 4.0;
        // The first rule that hits decides, so each draws from the calls that those before it left.
        let of_the_rest = |before: f64| part / (1.0 - before * part);
        let errors = throttles.map(|(service, status, code)| {
            Rule::new(Fault::error(status, code)).service(service).probability(of_the_rest(0.0))
        });
        let others = [Fault::Reset, Fault::Delay(Duration::from_millis(200)), Fault::Lost];
        let others = others
            .into_iter()
            .zip([1.0, 2.0, 3.0])
            .map(|(fault, before)| Rule::new(fault).probability(of_the_rest(before)));
        errors.into_iter().chain(others).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn mixed_rules_hit_their_share_evenly() {
        let rules = Rule::mixed(0.25);
        let mut random = StdRng::seed_from_u64(1);
        for (service, operation) in [("s3", "PutObject"), ("kinesis", "PutRecords")] {
            let call = Call {
                service: service.into(),
                operation: operation.into(),
                method: "PUT".into(),
                target: "/".into(),
            };
            let mut hits: BTreeMap<&str, u32> = BTreeMap::new();
            for _ in 0..40_000 {
                let hit =
                    rules.iter().find(|rule| rule.matches(&call) && random.random_bool(rule.probability));
                *hits.entry(hit.map_or("none", |rule| rule.fault.kind())).or_default() += 1;
            }
            for kind in ["error", "reset", "delay", "lost"] {
                assert!((2_200..2_800).contains(&hits[kind]), "{service}: {hits:?}");
            }
        }
    }
}
