//! What many requests are made of: forms, credentials, arrays of events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use crate::destinations::Batch;

/// Pairs as the body of a form (`application/x-www-form-urlencoded`).
pub fn form(pairs: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("form:", pairs).ok();
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

/// A user and a password as the value of `Authorization`.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The events of a batch as a JSON array, each as it was shaped.
pub fn json_array(batch: Batch<'_>) -> Vec<u8> {
    let length = batch.events.iter().map(|event| event.data.len() + 1).sum::<usize>();
    let mut array = Vec::with_capacity(length + 2);
    array.push(b'[');
    for (index, event) in batch.events.iter().enumerate() {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(&event.data);
    }
    array.push(b']');
    array
}

/// An object with the events of a batch as the array `name`.
pub fn json_object(name: &str, batch: Batch<'_>) -> Vec<u8> {
    [format!("{{\"{name}\":").as_bytes(), &json_array(batch), b"}"].concat()
}
