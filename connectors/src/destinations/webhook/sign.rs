//! The signature of Standard Webhooks: HMAC-SHA256 over id, time and body.

use std::fmt;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::destinations::Event;

/// What a secret starts with.
const PREFIX: &str = "whsec_";

/// Bytes of a key, decoded.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Base64 with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that requests are signed with.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::destinations::hide::HIDDEN)
    }
}

impl SigningKey {
    /// Reads a secret: `whsec_` and 24 to 64 bytes in base64. The error does not show it.
    pub fn parse(secret: &str) -> Result<Self, String> {
        let text =
            secret.trim().strip_prefix(PREFIX).ok_or_else(|| format!("does not start with `{PREFIX}`"))?;
        let key = LENIENT.decode(text).map_err(|_| format!("is not base64 after `{PREFIX}`"))?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(format!("holds {} bytes, not 24 to 64", key.len()));
        }
        Ok(SigningKey(key))
    }

    /// The signature of one request, `v1,…`.
    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature`: one signature for each key, so that a receiver may know either while keys change.
pub(super) fn signatures(keys: &[SigningKey], id: &str, seconds: i64, body: &[u8]) -> String {
    keys.iter().map(|key| key.sign(id, seconds, body)).collect::<Vec<_>>().join(" ")
}

/// What a request is recognised by: the event's id, or for several events a hash of their ids.
pub(super) fn request_id(events: &[Event]) -> String {
    if let [event] = events {
        return event.id.to_string();
    }
    let mut hash = Sha256::new();
    for event in events {
        hash.update(event.id.as_bytes());
        hash.update([0xff]); // never occurs in UTF-8
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::testing;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_vectors_of_the_standard() {
        let key = [SigningKey::parse(SECRET).unwrap()];
        let signed =
            signatures(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let id = "0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01";
        let body = br#"{"type":"track","messageId":"0197a3c2-7b1e-7c44-9a55-2f0e6d1b8a01"}"#;
        let signed = signatures(&key, id, 1_773_480_420, body);
        assert_eq!(signed, "v1,SDhdbLkic1XbAISvptM22jNPtRXTCWBYOflCwe1WoTI=");
    }

    #[test]
    fn while_keys_change_both_sign() {
        let other = format!("{PREFIX}{}", STANDARD.encode([7; 32]));
        let keys = [SigningKey::parse(SECRET).unwrap(), SigningKey::parse(&other).unwrap()];
        let signed = signatures(&keys, "id", 1, b"body");
        let (one, two) = signed.split_once(' ').unwrap();
        assert!(one.starts_with("v1,") && two.starts_with("v1,") && one != two, "{signed}");
        assert_eq!(one, signatures(&keys[..1], "id", 1, b"body"));
        assert_eq!(signatures(&[], "id", 1, b"body"), "");
    }

    #[test]
    fn secrets_are_checked_and_never_shown() {
        let coded = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![1; bytes]));
        for good in [coded(24), coded(64), coded(25), coded(25).trim_end_matches('=').to_owned()] {
            assert_eq!(format!("{:?}", SigningKey::parse(&good).unwrap()), "***");
        }
        for wrong in [
            coded(23),
            coded(65),
            String::new(),
            "whsec_".into(),
            "whsec_ä!".into(),
            STANDARD.encode([1; 32]),
        ] {
            let error = SigningKey::parse(&wrong).unwrap_err();
            assert!(wrong.len() < 8 || !error.contains(wrong.trim_start_matches(PREFIX)), "{error}");
        }
    }

    #[test]
    fn batches_have_ids_of_their_own() {
        let events = testing::events(3);
        let id = request_id(&events);
        assert_eq!((id.len(), id.clone()), (32, request_id(&events)));
        assert_ne!(id, request_id(&events[..2]));
        assert_eq!(request_id(&events[1..2]), "id-1");
        let joined = [testing::event("ab", "{}"), testing::event("c", "{}")];
        let apart = [testing::event("a", "{}"), testing::event("bc", "{}")];
        assert_ne!(request_id(&joined), request_id(&apart));
    }
}
