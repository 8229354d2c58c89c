//! The time in the name of a raw file, as Firehose writes it: `…-YYYY-MM-DD-HH-MM-SS-…`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clock::Millis;

/// `YYYY-MM-DD-HH-MM-SS`.
const LENGTH: usize = 19;

/// The last such time in the last part of a key, in UTC. Firehose's names are
/// `<delivery stream>-<version>-YYYY-MM-DD-HH-MM-SS-<random>`.
pub fn key_time(key: &str) -> Option<Millis> {
    let name = key.rsplit('/').next()?.as_bytes();
    (0..name.len().checked_sub(LENGTH - 1)?).rev().find_map(|at| {
        let begins = at == 0 || matches!(name[at - 1], b'-' | b'_' | b'.');
        let ends = matches!(name.get(at + LENGTH), None | Some(b'-' | b'_' | b'.'));
        if begins && ends { moment(&name[at..at + LENGTH]) } else { None }
    })
}

fn moment(text: &[u8]) -> Option<Millis> {
    let mut parts = [0_i16; 6];
    for (part, text) in parts.iter_mut().zip(text.splitn(6, |byte| *byte == b'-')) {
        if !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        *part = std::str::from_utf8(text).ok()?.parse().ok()?;
    }
    let small = |part: i16| i8::try_from(part).ok();
    let [year, month, day, hour, minute, second] = parts;
    let civil =
        DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0);
    let moment = civil.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    (year > 0).then_some(Millis(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_of_the_name_counts() {
        let told = |key: &str| key_time(key).map(|at| at.to_string());
        let wanted = Some("2026-11-20T23:59:01.000Z".to_owned());
        for key in [
            "web/2026/11/21/00/web-stream-1-2026-11-20-23-59-01-5c1b6a1e-3f5f.gz",
            "2026-11-20-23-59-01",
            "a-2020-01-01-00-00-00-b-2026-11-20-23-59-01.json",
        ] {
            assert_eq!(told(key), wanted, "{key}");
        }
        for key in [
            "",
            "web-2026-13-20-23-59-01-x",
            "web-2026-11-20-23-59-61-x",
            "12026-11-20-23-59-01",
            "web-2026-11-20-23-59-011",
            "2026-11-20-23-59-01/part.gz",
            "web-0000-01-01-00-00-00-x",
            "web-2026-11-2a-23-59-01-x",
        ] {
            assert_eq!(told(key), None, "{key}");
        }
    }
}
