//! What Segment may be told.

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("write_key", "the source's write key"),
    Known::new("region", "\"us\"", "\"eu\": the workspace is in the EU"),
    Known::new("endpoint", "the region's", "another address of Segment, or of what speaks as it does"),
];

/// A source's settings, checked.
#[derive(Debug)]
pub struct Segment {
    pub(super) endpoint: Endpoint,
    pub(super) write_key: Secret,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Segment, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let host = match settings.choice("region", &["us", "eu"]) {
        "eu" => "https://events.eu1.segmentapis.com",
        _ => "https://api.segment.io",
    };
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some(host));
    let write_key = settings.required("write_key", "${SEGMENT_WRITE_KEY}").map(Secret::new);
    let problems = settings.finish();
    match (endpoint, write_key) {
        (Some(endpoint), Some(write_key)) if problems.is_empty() => {
            Ok(Segment { endpoint: endpoint.at("/v1/batch"), write_key })
        }
        _ => Err(problems),
    }
}
