//! One hour of one table: the unit of partitioning, compaction and proof.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Millis;

const HOUR_MS: i64 = 3_600_000;

/// An hour in UTC, counted from the Unix epoch. Shown and parsed as `2026-11-21T07`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// The hour that `moment` lies in.
    pub fn of(moment: Millis) -> Self {
        Hour(moment.0.div_euclid(HOUR_MS))
    }

    /// Its first millisecond.
    pub fn start(self) -> Millis {
        Millis(self.0.saturating_mul(HOUR_MS))
    }

    /// The first millisecond after it.
    pub fn end(self) -> Millis {
        self.start().plus(HOUR_MS)
    }

    /// The four partition values, zero-padded: year, month, day, hour.
    pub fn values(self) -> [String; 4] {
        let moment = Timestamp::from_millisecond(self.start().0).unwrap_or(Timestamp::UNIX_EPOCH);
        let civil = moment.to_zoned(TimeZone::UTC).datetime();
        [
            format!("{:04}", civil.year()),
            format!("{:02}", civil.month()),
            format!("{:02}", civil.day()),
            format!("{:02}", civil.hour()),
        ]
    }

    /// The partition's folder: `year=YYYY/month=MM/day=DD/hour=HH`.
    pub fn path(self) -> String {
        let [year, month, day, hour] = self.values();
        format!("year={year}/month={month}/day={day}/hour={hour}")
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, day, hour] = self.values();
        write!(f, "{year}-{month}-{day}T{hour}")
    }
}

impl FromStr for Hour {
    type Err = String;

    /// Accepts `2026-11-21T07`, with `-` or a space in place of the `T`, and any longer RFC 3339 time within the hour.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an hour: write it as 2026-11-21T07");
        let head = text.get(..13).ok_or_else(wrong)?;
        let (day, hour) = (head.get(..10).ok_or_else(wrong)?, head.get(11..).ok_or_else(wrong)?);
        let moment: Timestamp = format!("{day}T{hour}:00:00Z").parse().map_err(|_| wrong())?;
        Ok(Hour::of(Millis(moment.as_millisecond())))
    }
}

impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_parses_itself() {
        let hour: Hour = "2026-11-21T07".parse().unwrap();
        assert_eq!(hour.path(), "year=2026/month=11/day=21/hour=07");
        assert_eq!(hour.to_string().parse::<Hour>().unwrap(), hour);
        assert_eq!(Hour::of(hour.end()).start(), hour.end());
        assert_eq!("2026-11-21 07:59".parse::<Hour>().unwrap(), hour);
        assert!("2026-11-21".parse::<Hour>().is_err());
        assert_eq!(Hour::of(Millis(-1)).end(), Millis(0));
    }
}
