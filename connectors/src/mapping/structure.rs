//! Structure out of text: JSON that was written into a string, or packed into one.

use std::borrow::Cow;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde_json::value::RawValue;

use crate::raw::Unpack;
use crate::raw::split::LONGEST;
use crate::schema::text::decode;
use crate::schema::types::Kind;
use crate::standardise::Rejection;

/// How structure was written into a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Base64 of JSON, packed by gzip or zstd or not at all.
    Packed,
    /// JSON.
    Text,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// Base64 with or without its padding.
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// The same in the letters of URLs.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl Form {
    /// The JSON inside a value; `None`: it is no string, or an empty one, and stays as it is.
    ///
    /// # Errors
    /// What should have been there. The field is the caller's to fill in.
    pub(super) fn read(self, json: &str) -> Result<Option<String>, Rejection> {
        if Kind::of(json) != Kind::String || json == "\"\"" {
            return Ok(None);
        }
        let wrong = |rule: &str, found: &str| Rejection {
            field: String::new(),
            rule: rule.to_owned(),
            found: found.to_owned(),
        };
        let text = decode(json).ok_or_else(|| wrong("a string of Unicode", "half of a surrogate pair"))?;
        let (text, rule): (Cow<'_, str>, &str) = match self {
            Form::Text => (text, "JSON in a string"),
            Form::Packed => {
                let rule = "JSON in base64, packed by gzip or zstd or not at all";
                let bytes = unpacked(&text).map_err(|found| wrong(rule, &found))?;
                let text = String::from_utf8(bytes).map_err(|_| wrong(rule, "bytes that are no text"))?;
                (text.into(), rule)
            }
        };
        let raw: &RawValue = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| wrong(rule, &broken(&error)))?;
        Ok(Some(on_one_line(raw.get())))
    }
}

/// What is told of a text that is no JSON: where, and nothing of the text itself.
fn broken(error: &serde_json::Error) -> String {
    format!("text that is no JSON from line {}, column {} on", error.line(), error.column())
}

/// Receivers of events take one a line. JSON has no line breaks but between its values.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// The bytes in a base64 text, unpacked; [`LONGEST`] at most, however well they were packed.
fn unpacked(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let packed = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    let packed = packed.map_err(|_| "a string that is not base64".to_owned())?;
    let (mut unpack, mut input, mut output) = (Unpack::default(), packed.as_slice(), Vec::new());
    while unpack.step(&mut input, &mut output)? {
        if output.len() > LONGEST {
            break;
        }
    }
    if output.len() <= LONGEST {
        unpack.finish(&mut output)?;
    }
    match output.len() {
        0..=LONGEST => Ok(output),
        _ => Err(format!("more than {LONGEST} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::json::edit::quoted;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn structure_is_found_in_strings_and_nowhere_else() {
        let json = "{\"a\": 1.10,\n \"b\":[\"\\u00e9\"]}";
        let one_line = "{\"a\": 1.10,  \"b\":[\"\\u00e9\"]}";
        let packed = [
            STANDARD.encode(gzip(json.as_bytes())),
            URL_SAFE.encode(gzip(json.as_bytes())),
            STANDARD.encode(zstd::encode_all(json.as_bytes(), 1).unwrap()),
            STANDARD.encode(json).trim_end_matches('=').to_owned(),
        ];
        for text in packed {
            assert_eq!(Form::Packed.read(&quoted(&text)).unwrap().as_deref(), Some(one_line), "{text}");
        }
        assert_eq!(
            Form::Text.read(&quoted(&format!("\u{feff} {json} "))).unwrap().as_deref(),
            Some(one_line)
        );
        assert_eq!(Form::Text.read(r#""7""#).unwrap().as_deref(), Some("7"));
        for form in [Form::Packed, Form::Text] {
            for json in ["null", "7", "{}", "[\"a\"]", "true", "\"\""] {
                assert_eq!(form.read(json), Ok(None), "{json}");
            }
        }
    }

    #[test]
    fn what_cannot_be_opened_is_told_without_showing_it() {
        let bomb = STANDARD.encode(gzip(&vec![b' '; LONGEST + 1]));
        let cut = gzip(b"{\"secret\":1}");
        let cut = STANDARD.encode(&cut[..cut.len() - 4]);
        for (form, text, found) in [
            (Form::Text, "secret".to_owned(), "text that is no JSON from line 1, column 1 on"),
            (Form::Text, "{} secret".to_owned(), "text that is no JSON"),
            (Form::Packed, "{secret}".to_owned(), "a string that is not base64"),
            (Form::Packed, STANDARD.encode("secret"), "text that is no JSON"),
            (Form::Packed, STANDARD.encode([0xff, 0xfe]), "bytes that are no text"),
            (Form::Packed, cut, "gzip: cut off"),
            (Form::Packed, bomb, "more than 10485760 bytes"),
        ] {
            let told = form.read(&quoted(&text)).unwrap_err();
            assert!(told.found.contains(found) && !told.to_string().contains("secret"), "{found}: {told}");
        }
        assert!(Form::Text.read(r#""\ud800""#).unwrap_err().found.contains("surrogate"));
    }
}
