//! What a function may be told.

use std::time::Duration;

use aws_sdk_lambda::Client;

use super::FUNCTION;
use crate::aws::Session;
use crate::aws::arn::Arn;
use crate::destinations::aws::Aws;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// How long an invocation may take: longer than the quarter of an hour that Lambda lets a function run, so that none is given up that
/// still runs.
const TIMEOUT: Duration = Duration::from_secs(16 * 60);

/// How long it may take until an invocation is queued.
const QUEUED: Duration = Duration::from_secs(30);

/// Events of an invocation, unless configured: as many as event source mappings hand over.
const BATCH: usize = 100;

/// Events of an invocation, at most.
const MOST: usize = 10_000;

/// Bytes of a payload whose answer is waited for: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub(super) const LARGEST: usize = 6 << 20;

/// Bytes of a payload that is queued: 256 KB until October 2025, 1 MB since.
pub(super) const LARGEST_QUEUED: usize = 1 << 20;

/// See the [module](self).
pub const SETTINGS: &[Known] = &[
    Known::required(FUNCTION, "its name or ARN, with a version or an alias behind a colon if one is meant"),
    Known::new(
        "invocation",
        "\"request\"",
        "its answer is waited for; \"event\": Lambda queues the event, and what becomes of it then is Lambda's",
    ),
    Known::new(
        "payload",
        "\"event\"",
        "one event, as it is; \"events\": a list of events; \"kinesis\": the records that a stream would hand over",
    ),
    Known::new("timeout", "\"16m\", of \"event\" \"30s\"", "for one invocation in all"),
];

/// What a function is invoked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// One event.
    Event,
    /// A list of events.
    Events,
    /// Records as Kinesis hands them over.
    Kinesis,
}

/// A function's settings, checked.
#[derive(Debug)]
pub(super) struct Lambda {
    pub(super) function: String,
    /// Whether Lambda queues events, and answers before the function has run.
    pub(super) is_queued: bool,
    pub(super) payload: Payload,
    pub(super) batch: usize,
    pub(super) aws: Aws<Client>,
}

impl Lambda {
    /// Bytes of a payload, at most.
    pub(super) fn largest(&self) -> usize {
        if self.is_queued { LARGEST_QUEUED } else { LARGEST }
    }

    /// Bytes that stand around the events of a payload, at most.
    pub(super) fn beside(&self) -> usize {
        match self.payload {
            Payload::Event => 0,
            Payload::Events | Payload::Kinesis => 16 + self.batch,
        }
    }
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Lambda, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let function = settings.required(FUNCTION, "arn:aws:lambda:eu-central-1:123456789012:function:to-crm");
    let arn = function.as_deref().filter(|text| text.starts_with("arn:")).and_then(Arn::parse);
    if function.as_deref().is_some_and(|text| !is_function(text, arn)) {
        let fix = "write its name, or \"arn:aws:lambda:REGION:ACCOUNT:function:NAME\"";
        settings.report(FUNCTION, "is neither the name nor the ARN of a function", fix);
    }
    let is_queued = settings.choice("invocation", &["request", "event"]) == "event";
    let payload = match settings.choice("payload", &["event", "events", "kinesis"]) {
        "events" => Payload::Events,
        "kinesis" => Payload::Kinesis,
        _ => Payload::Event,
    };
    let timeout = if is_queued { QUEUED } else { TIMEOUT };
    let aws = Aws::read(&mut settings, arn, timeout, Session::lambda);
    let problems = settings.finish();
    match function {
        Some(function) if problems.is_empty() => {
            let batch = setup.batch.unwrap_or(BATCH).clamp(1, MOST);
            Ok(Lambda { function, is_queued, payload, batch, aws })
        }
        _ => Err(problems),
    }
}

/// An ARN, or a name with or without an account, a version or an alias: `123456789012:function:name:live`.
fn is_function(text: &str, arn: Option<Arn<'_>>) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'$');
    match arn {
        Some(arn) => arn.function().is_some(),
        None => !text.starts_with("arn:") && text.bytes().all(fits),
    }
}
