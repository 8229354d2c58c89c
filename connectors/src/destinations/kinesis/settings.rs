//! What a stream of Kinesis may be told.

use std::time::Duration;

use aws_sdk_kinesis::Client;

use crate::aws::Session;
use crate::aws::arn::Arn;
use crate::destinations::aws::Aws;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest name of a stream.
const NAME: usize = 128;

/// See the [module](self).
pub const SETTINGS: &[Known] = &[
    Known::required("stream", "the stream's name or ARN"),
    Known::new("timeout", "\"30s\"", "for one call in all"),
];

/// A stream's settings, checked.
#[derive(Debug)]
pub(super) struct Kinesis {
    /// Its name, or its ARN.
    pub(super) stream: String,
    pub(super) is_arn: bool,
    pub(super) aws: Aws<Client>,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Kinesis, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let stream = settings.required("stream", "clicks");
    let arn = stream.as_deref().and_then(Arn::parse);
    let name = stream.as_deref().filter(|_| arn.is_none());
    let wrong = arn.is_some_and(|arn| arn.stream().is_none()) || name.is_some_and(|name| !is_name(name));
    if wrong {
        let fix = "write its name, or \"arn:aws:kinesis:REGION:ACCOUNT:stream/NAME\"";
        settings.report("stream", "is neither the name nor the ARN of a stream", fix);
    }
    let aws = Aws::read(&mut settings, arn, TIMEOUT, Session::kinesis);
    let is_arn = arn.is_some();
    let problems = settings.finish();
    match stream {
        Some(stream) if problems.is_empty() => Ok(Kinesis { stream, is_arn, aws }),
        _ => Err(problems),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    name.len() <= NAME && name.bytes().all(fits)
}
