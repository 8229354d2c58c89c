//! What a supervisor does about each class of failure, as data.

use std::time::Duration;

use serde::{Serialize, Serializer};
use shardmill_connectors::failure::Class;

/// A duration as people read it: `100ms`, `30s`.
fn text<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{duration:?}"))
}

fn text_if_any<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => text(duration, to),
        None => to.serialize_none(),
    }
}

/// What is done about a failure, before delays are worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The same child tries the same unit again after a backoff.
    Resume,
    /// A fresh child takes the same unit after a backoff.
    Restart,
    /// The unit is durably recorded as a dead letter and acknowledged.
    DeadLetter,
    /// The work is held and probed slowly; nothing is dead-lettered.
    Pause,
    /// The child ends quietly; nothing is acknowledged.
    Stop,
    /// The failure goes to the supervisor above.
    Escalate,
}

/// The answer to one class: what, for how long, and what then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What is done.
    pub answer: Answer,
    /// Failures in a row after which [`Rule::exhausted`] is done instead; `None`: never.
    pub attempts: Option<u32>,
    /// Time since the first failure in a row after which [`Rule::exhausted`] is done instead; `None`: never.
    #[serde(serialize_with = "text_if_any")]
    pub max_age: Option<Duration>,
    /// What is done when attempts or age are used up.
    pub exhausted: Answer,
}

impl Rule {
    /// `answer`, for ever.
    pub const fn always(answer: Answer) -> Self {
        Rule { answer, attempts: None, max_age: None, exhausted: answer }
    }

    /// `answer` for `attempts` failures in a row, then `exhausted`.
    pub const fn until(answer: Answer, attempts: u32, exhausted: Answer) -> Self {
        Rule { answer, attempts: Some(attempts), max_age: None, exhausted }
    }
}

/// How fast a child may restart: more than `restarts` within `period` and `exceeded` is done instead. Counted per child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Intensity {
    /// Restarts allowed.
    pub restarts: u32,
    /// Within this time.
    #[serde(serialize_with = "text")]
    pub period: Duration,
    /// What is done beyond.
    pub exceeded: Answer,
}

/// The delays between attempts: exponential from `base` to `max`, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backoff {
    /// The first delay.
    #[serde(serialize_with = "text")]
    pub base: Duration,
    /// The longest delay.
    #[serde(serialize_with = "text")]
    pub max: Duration,
    /// The delay between probes of paused work.
    #[serde(serialize_with = "text")]
    pub probe: Duration,
}

/// Who is restarted with a failed child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Only the child (one for one).
    One,
    /// All children of its supervisor, which opens anew (one for all).
    All,
}

/// A row of the table: the answers to every class, the delays, the intensity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Strategy {
    /// See [`Class::Transient`].
    pub transient: Rule,
    /// See [`Class::Throttled`].
    pub throttled: Rule,
    /// See [`Class::Rejected`].
    pub rejected: Rule,
    /// See [`Class::Unauthorized`].
    pub unauthorized: Rule,
    /// See [`Class::Fenced`].
    pub fenced: Rule,
    /// See [`Class::Crashed`].
    pub crashed: Rule,
    /// The delays.
    pub backoff: Backoff,
    /// The restart intensity.
    pub intensity: Intensity,
    /// Who restarts with the child.
    pub scope: Scope,
    /// How long the child may stand still while there is work: a step that does not end and whose pulse, if it has one, does not beat,
    /// or steps that change nothing. Then it has crashed. `None`: others watch it.
    #[serde(serialize_with = "text_if_any")]
    pub limit: Option<Duration>,
}

impl Strategy {
    /// The rule for `class`.
    pub fn rule(&self, class: Class) -> &Rule {
        match class {
            Class::Transient => &self.transient,
            Class::Throttled => &self.throttled,
            Class::Rejected => &self.rejected,
            Class::Unauthorized => &self.unauthorized,
            Class::Fenced => &self.fenced,
            Class::Crashed => &self.crashed,
        }
    }
}
