//! The strings inside JSON text, and what can be read from a string that stands for a number, a boolean or null.

use std::borrow::Cow;

use super::number;
use crate::json::scan;

/// The string that this raw JSON string denotes; `None` when it holds half of a surrogate pair, which is no Unicode.
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let inside = raw.get(1..raw.len().checked_sub(1)?)?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    let mut text = String::with_capacity(inside.len());
    decode_to(raw, &mut text).then_some(Cow::Owned(text))
}

/// Appends the string that a raw JSON string denotes; `false` when it denotes none: `text` is as it was.
pub(crate) fn decode_to(raw: &str, text: &mut String) -> bool {
    let before = text.len();
    if raw.get(1..raw.len().saturating_sub(1)).and_then(|inside| unescape(inside, text)).is_some() {
        return true;
    }
    text.truncate(before);
    serde_json::from_str::<String>(raw).is_ok_and(|decoded| {
        text.push_str(&decoded);
        true
    })
}

/// Appends a string without its escapes; `None` when one of them is a code point, and `text` may have a part of it.
fn unescape(inside: &str, text: &mut String) -> Option<()> {
    let mut rest = inside;
    loop {
        // Between its quotes, a string holds nothing special but escapes.
        let at = scan::plain(rest.as_bytes());
        text.push_str(rest.get(..at)?);
        if at == rest.len() {
            return Some(());
        }
        let [b'\\', escape, ..] = rest.as_bytes().get(at..)? else { return None };
        text.push(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return None,
        });
        rest = rest.get(at + 2..)?;
    }
}

/// Whether a string is one of the customary ways to write "no value" where only strings can be written.
pub(crate) fn is_nullish(text: &str) -> bool {
    ["", "null", "none", "na", "n/a", "nan", "\\n"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// `true` and `false` in any mixture of cases.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The JSON number that a string shows. Leading zeros, a plus sign, and a point without digits on one side are understood.
pub(crate) fn number(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let cut = rest.find(['e', 'E']).unwrap_or(rest.len());
    let (mantissa, exponent) = rest.split_at(cut);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let power = exponent.get(1..).map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    if power.is_some_and(|power| power.is_empty() || !digits(power)) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}{exponent}"))
}

/// Whether a string is written exactly as JSON writes a number that a column can hold. `007` and `+1` are rather codes.
pub(crate) fn is_plain_number(text: &str) -> bool {
    number(text).is_some_and(|plain| plain == text && number::float(&plain).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_are_what_they_denote(parts in prop::collection::vec(
            prop_oneof!["[a-zé😀 /]{0,9}", r#"\\["\\/bfnrt]"#, r"\\u00[0-7][0-9a-f]", r"\\ud83d\\ude00", r"\\ud800"], 0..9,
        )) {
            let raw = format!("\"{}\"", parts.concat());
            prop_assert_eq!(decode(&raw).map(Cow::into_owned), serde_json::from_str::<String>(&raw).ok(), "{}", raw);
        }
    }

    #[test]
    fn strings_decode() {
        assert_eq!(decode(r#""a\/b\u00e9\ud83d\ude00""#).as_deref(), Some("a/bé😀"));
        assert_eq!(decode(r#""plain é""#).as_deref(), Some("plain é"));
        assert_eq!(decode(r#""\ud800""#), None);
        assert_eq!(decode(r#""\udc00x""#), None);
    }

    #[test]
    fn numbers_in_strings() {
        let table = [
            ("15", Some("15")),
            ("+15", Some("15")),
            ("-007", Some("-7")),
            ("0", Some("0")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("1e3", Some("1e3")),
            ("1E+3", Some("1E+3")),
            ("", None),
            (".", None),
            ("-", None),
            ("1e", None),
            ("0x1f", None),
            ("1 ", None),
            ("inf", None),
            ("١", None),
        ];
        for (text, wanted) in table {
            assert_eq!(number(text).as_deref(), wanted, "{text}");
        }
        for (text, plain) in
            [("15", true), ("-1.5e3", true), ("007", false), ("+1", false), ("1e400", false), ("-0", true)]
        {
            assert_eq!(is_plain_number(text), plain, "{text}");
        }
    }
}
