//! What Customer.io may be told.

use crate::destinations::endpoint::Endpoint;
use crate::destinations::hide::Secret;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// See the [module](self).
pub(super) const SETTINGS: &[Known] = &[
    Known::required("site_id", "the workspace's site id"),
    Known::required("api_key", "its Track API key"),
    Known::new("region", "\"us\"", "\"eu\": the workspace is in the EU"),
    Known::new("endpoint", "the region's", "another address of the Track API"),
    Known::new("object_type_id", "\"1\"", "the type of object that groups become"),
    Known::new(
        "alias",
        "\"ignore\"",
        "\"merge\": alias calls merge two people; of use only where profiles have anonymous ids",
    ),
];

/// A workspace's settings, checked.
#[derive(Debug)]
pub struct Customerio {
    pub(super) endpoint: Endpoint,
    pub(super) site_id: String,
    pub(super) api_key: Secret,
    pub(super) object_type_id: String,
    pub(super) merges: bool,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<Customerio, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let host = match settings.choice("region", &["us", "eu"]) {
        "eu" => "https://track-eu.customer.io",
        _ => "https://track.customer.io",
    };
    let endpoint = Endpoint::read(&mut settings, "endpoint", Some(host));
    let site_id = settings.required("site_id", "0123456789abcdef");
    let api_key = settings.required("api_key", "${CUSTOMERIO_KEY}").map(Secret::new);
    let object_type_id = settings.text("object_type_id").unwrap_or_else(|| "1".to_owned());
    let merges = settings.choice("alias", &["ignore", "merge"]) == "merge";
    let problems = settings.finish();
    match (endpoint, site_id, api_key) {
        (Some(endpoint), Some(site_id), Some(api_key)) if problems.is_empty() => {
            Ok(Customerio { endpoint, site_id, api_key, object_type_id, merges })
        }
        _ => Err(problems),
    }
}
