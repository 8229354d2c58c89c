//! Hashes that stand for values: plain ones, as advertising and mail services expect them, or made with a key.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::destinations::hide::Secret;
use crate::json::edit::quoted;
use crate::schema::text::decode;
use crate::schema::types::Kind;

/// The hash that stands for a value, in hexadecimal digits: SHA-256 of its trimmed lower-cased text, or HMAC-SHA-256 of it under
/// the key. Nothing stands for null.
pub(super) fn hashed(key: Option<&Secret>, json: &str) -> Option<String> {
    let text = match Kind::of(json) {
        Kind::Null => return None,
        // Half of a surrogate pair has no text: its JSON is hashed, so that it does not pass as it is.
        Kind::String => decode(json).map_or_else(|| json.to_owned(), |text| text.trim().to_lowercase()),
        Kind::Boolean | Kind::Number | Kind::Array | Kind::Object => json.to_owned(),
    };
    let digest = key.and_then(|key| keyed(key, &text)).unwrap_or_else(|| Sha256::digest(&text).to_vec());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(quoted(&digits))
}

/// Always there: HMAC takes keys of any length.
fn keyed(key: &Secret, text: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.reveal().as_bytes()).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}
