//! Every form in which an event may write a time, read in one place.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::schema::number::{Integer, integer};

/// Numbers of at least this magnitude count milliseconds, smaller ones seconds: it is March 1973 in the one and the year
/// 5138 in the other.
const MILLISECONDS_FROM: u64 = 100_000_000_000;
const DAY: i64 = 86_400;
/// 0000-01-01 and 9999-12-31T23:59:59 in seconds: what RFC 3339 can write, and what every engine can show.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// An RFC 3339 time as microseconds since the epoch. `T` may be a space, letters may be small, digits beyond microseconds
/// are cut off.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let days = i64::from(date(text.get(..10)?)?);
    if !matches!(bytes.get(10)?, b'T' | b't' | b' ') || bytes.get(13)? != &b':' || bytes.get(16)? != &b':' {
        return None;
    }
    let (hour, minute, second) = (two(bytes, 11)?, two(bytes, 14)?, two(bytes, 17)?);
    let (micros, rest) = fraction(bytes.get(19..)?)?;
    let offset = offset(rest)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let total = days * DAY + hour * 3600 + minute * 60 + second - offset;
    // A leap second is the last second of a UTC day; it is told as the first moment of the next.
    if second == 60 && total.rem_euclid(DAY) != 0 {
        return None;
    }
    in_range(total)?.checked_mul(1_000_000)?.checked_add(micros)
}

/// A full date as days since the epoch.
pub(crate) fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (two(bytes, 0)? * 100 + two(bytes, 2)?, two(bytes, 5)?, two(bytes, 8)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    i32::try_from(days(year, month, day)).ok()
}

/// Whole seconds or milliseconds since the epoch, written as a JSON number, as microseconds.
pub(crate) fn epoch(number: &str) -> Option<i64> {
    let Integer::Exact(number) = integer(number) else { return None };
    let millis = if number.unsigned_abs() >= MILLISECONDS_FROM { number } else { number * 1000 };
    in_range(millis.div_euclid(1000))?;
    millis.checked_mul(1000)
}

/// A time in a given strftime form as microseconds; without an offset it counts as UTC, without a time as midnight.
pub(crate) fn strftime(format: &str, text: &str) -> Option<i64> {
    let parts = BrokenDownTime::parse(format, text).ok()?;
    let moment = match parts.to_timestamp() {
        Ok(moment) => moment,
        Err(_) if parts.offset().is_some() => return None,
        Err(_) => parts.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    Some(moment.as_microsecond())
}

/// What is wrong with a strftime form: it must be able to read back what it writes.
pub(crate) fn format_problem(format: &str) -> Option<String> {
    let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match jiff::fmt::strtime::format(format, &sample) {
        Err(error) => Some(error.to_string()),
        Ok(text) if strftime(format, &text).is_none() => {
            Some("it does not say the whole time: a date at least, and only what can be parsed".to_owned())
        }
        Ok(_) => None,
    }
}

fn in_range(seconds: i64) -> Option<i64> {
    SECONDS.contains(&seconds).then_some(seconds)
}

fn two(bytes: &[u8], at: usize) -> Option<i64> {
    match bytes.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

/// The microseconds of `.ddd…`, if there, and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(length);
    let places = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    (length > 0).then(|| (places.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), rest))
}

/// The seconds of `Z` or `±HH:MM`.
fn offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(bytes, 1)?, two(bytes, 4)?);
            let seconds = hours * 3600 + minutes * 60;
            let signed = if *sign == b'-' { -seconds } else { seconds };
            (hours <= 23 && minutes <= 59).then_some(signed)
        }
        _ => None,
    }
}

/// Days since the epoch of a date of the Gregorian calendar (<https://howardhinnant.github.io/date_algorithms.html>).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc3339_in_all_its_forms() {
        let table = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01 00:00:01z", Some(1_000_000)),
            ("1970-01-01t00:00:00.5+00:00", Some(500_000)),
            ("1970-01-01T00:00:00.123456789Z", Some(123_456)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1969-12-31T23:00:00.1-01:00", Some(100_000)),
            ("1998-12-31T23:59:60Z", Some(915_148_800_000_000)),
            ("1998-12-31T15:59:60.1-08:00", Some(915_148_800_100_000)),
            ("1998-12-31T22:59:60Z", None),
            ("1970-01-01T24:00:00Z", None),
            ("1970-01-01T00:60:00Z", None),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T00:00:00+24:00", None),
            ("1970-01-01T00:00:00+0100", None),
            ("1970-1-01T00:00:00Z", None),
            ("1970-02-30T00:00:00Z", None),
            ("1970-01-01", None),
            ("1963-06-1৪T00:00:00Z", None),
            ("0000-01-01T00:00:00+01:00", None),
        ];
        for (text, wanted) in table {
            assert_eq!(rfc3339(text), wanted, "{text}");
        }
    }

    #[test]
    fn epochs_in_seconds_and_milliseconds() {
        let table = [
            ("1541105830", Some(1_541_105_830_000_000)),
            ("1541105830796", Some(1_541_105_830_796_000)),
            ("1540919166796.0", Some(1_540_919_166_796_000)),
            ("-1", Some(-1_000_000)),
            ("99999999999", Some(99_999_999_999_000_000)),
            ("100000000000", Some(100_000_000_000_000)),
            ("1541105830.5", None),
            ("1541105830796000000", None),
            ("1e30", None),
        ];
        for (text, wanted) in table {
            assert_eq!(epoch(text), wanted, "{text}");
        }
    }

    #[test]
    fn strftime_forms() {
        let table = [
            ("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:10:05:03 +0000", Some(1_431_857_103_000_000)),
            ("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:12:05:03 +0200", Some(1_431_857_103_000_000)),
            ("%d/%b/%Y:%H:%M:%S %z", "17/Mai/2015:12:05:03 +0200", None),
            ("%Y-%m-%d %H:%M:%S", "1970-01-01 00:00:01", Some(1_000_000)),
            ("%Y%m%d", "19700102", Some(86_400_000_000)),
            ("%s", "12", Some(12_000_000)),
        ];
        for (format, text, wanted) in table {
            assert_eq!(strftime(format, text), wanted, "{format} {text}");
            assert_eq!(format_problem(format), None, "{format}");
        }
        for wrong in ["%H:%M", "%Y-%m", "%!", "", "hello"] {
            assert!(format_problem(wrong).is_some(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(micros in -62_167_219_200_000_000i64..253_402_207_200_000_000) {
            let moment = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(rfc3339(&moment.to_string()), Some(micros));
        }

        #[test]
        fn never_panics(text in "[0-9:.TtZz +-]{0,40}|.*") {
            let _ = (rfc3339(&text), date(&text), strftime("%Y-%m-%d", &text));
        }
    }
}
