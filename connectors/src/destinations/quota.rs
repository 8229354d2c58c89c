//! Quotas: how much a third party takes in a period, in its own terms.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::clock::Millis;

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Events.
    Events,
    /// Requests, however many events are in them.
    Requests,
}

/// What it counts them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Any period of this length.
    Period(Duration),
    /// Each day, from midnight to midnight there.
    Day(TimeZone),
}

/// A day somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Its date there, as `2026-03-14`.
    pub date: String,
    /// How long it still lasts.
    pub left: Duration,
}

impl Day {
    /// The day that it is in `zone` at a moment.
    fn at(zone: &TimeZone, now: Millis) -> Self {
        let zoned = Timestamp::from_millisecond(now.0).unwrap_or_default().to_zoned(zone.clone());
        let midnight = zoned.tomorrow().and_then(|tomorrow| tomorrow.start_of_day()).ok();
        let left = midnight.map(|midnight| Millis(midnight.timestamp().as_millisecond()).since(now));
        let left = left.and_then(|left| u64::try_from(left).ok()).unwrap_or_default();
        Day { date: zoned.date().to_string(), left: Duration::from_millis(left) }
    }
}

/// So many in a period, of all nodes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// How many; above zero.
    pub count: u64,
    /// Of what.
    pub of: Counted,
    /// In how long.
    pub per: Span,
}

impl Quota {
    /// So many events in so many seconds.
    pub const fn events(count: u64, seconds: u64) -> Self {
        Quota { count, of: Counted::Events, per: Span::Period(Duration::from_secs(seconds)) }
    }

    /// So many requests in so many seconds.
    pub const fn requests(count: u64, seconds: u64) -> Self {
        Quota { count, of: Counted::Requests, per: Span::Period(Duration::from_secs(seconds)) }
    }

    /// So many requests a day.
    pub const fn daily(count: u64, zone: TimeZone) -> Self {
        Quota { count, of: Counted::Requests, per: Span::Day(zone) }
    }

    /// How many a second, when it is one for any period.
    #[allow(clippy::cast_precision_loss)] // numbers that people write
    pub fn per_second(&self) -> Option<f64> {
        match &self.per {
            Span::Period(period) => Some(self.count as f64 / period.as_secs_f64().max(1e-3)),
            Span::Day(_) => None,
        }
    }
}

impl Quota {
    /// What tells its days from other quotas', when it is one for days: what it counts, and where.
    pub fn day_name(&self) -> Option<String> {
        let Span::Day(zone) = &self.per else { return None };
        let what = match self.of {
            Counted::Events => "events",
            Counted::Requests => "requests",
        };
        Some(format!("{what}-{}", zone.iana_name().unwrap_or("UTC").replace('/', "-")))
    }

    /// The day that it is for at a moment, when it is one for days.
    pub fn day(&self, now: Millis) -> Option<Day> {
        match &self.per {
            Span::Period(_) => None,
            Span::Day(zone) => Some(Day::at(zone, now)),
        }
    }
}

/// What is configured stands in place of what the connector knows, for whatever both count. Of several for the same day the smallest counts.
pub fn in_force(own: Vec<Quota>, configured: &[Quota]) -> Vec<Quota> {
    let kept = |quota: &Quota| configured.iter().all(|other| other.of != quota.of);
    let mut quotas: Vec<Quota> = Vec::new();
    for quota in own.into_iter().filter(kept).chain(configured.iter().cloned()) {
        let same = quotas
            .iter_mut()
            .find(|known| known.day_name().is_some() && known.day_name() == quota.day_name());
        match same {
            Some(known) => known.count = known.count.min(quota.count),
            None => quotas.push(quota),
        }
    }
    quotas
}

impl FromStr for Quota {
    type Err = String;

    /// `100/s`, `100 requests/10s`, `250000 requests/day Europe/Berlin`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate");
        let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
        let (count, of) = match amount.trim().split_once(' ') {
            None => (amount.trim(), Counted::Events),
            Some((count, word)) => match word.trim() {
                "events" => (count, Counted::Events),
                "requests" => (count, Counted::Requests),
                _ => return Err(format!("{}: it counts `events` or `requests`", wrong())),
            },
        };
        let count: u64 = count.parse().map_err(|_| wrong())?;
        if count == 0 {
            return Err(format!("{}: it must be above zero", wrong()));
        }
        Ok(Quota { count, of, per: span(period.trim()).ok_or_else(wrong)? })
    }
}

/// `s`, `10s`, `m`, `h`, `d`; or `day`, which begins at midnight in UTC or in the zone named after it.
fn span(text: &str) -> Option<Span> {
    if let Some(zone) = text.strip_prefix("day") {
        let zone = match zone.trim() {
            "" | "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).ok()?,
        };
        return Some(Span::Day(zone));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = if digits == 0 { 1 } else { text[..digits].parse().ok()? };
    let unit = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Span::Period(Duration::from_secs(number.checked_mul(unit).filter(|seconds| *seconds > 0)?)))
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if self.of == Counted::Requests {
            f.write_str(" requests")?;
        }
        match &self.per {
            Span::Day(zone) => match zone.iana_name().filter(|name| *name != "UTC") {
                Some(name) => write!(f, "/day {name}"),
                None => f.write_str("/day"),
            },
            Span::Period(period) => match period.as_secs() {
                1 => f.write_str("/s"),
                60 => f.write_str("/m"),
                3_600 => f.write_str("/h"),
                86_400 => f.write_str("/d"),
                seconds => write!(f, "/{seconds}s"),
            },
        }
    }
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(text: &str) -> Quota {
        text.parse().unwrap()
    }

    #[test]
    fn quotas_are_written_as_their_vendors_say_them() {
        assert_eq!(quota("100/s"), Quota::events(100, 1));
        assert_eq!(quota("100 requests/10s"), Quota::requests(100, 10));
        assert_eq!(quota("5 events / 2m"), Quota::events(5, 120));
        assert_eq!(quota("250000 requests/day"), Quota::daily(250_000, TimeZone::UTC));
        assert_ne!(quota("9 requests/day Europe/Berlin"), quota("9 requests/day"));
        for text in [
            "100/s",
            "100 requests/10s",
            "7/m",
            "7 requests/h",
            "7/d",
            "9 requests/day",
            "9/day Europe/Berlin",
        ] {
            assert_eq!(quota(text).to_string(), text);
        }
        for wrong in
            ["", "100", "0/s", "x/s", "100/", "100/0s", "100/w", "5 calls/s", "-1/s", "9/day Europe/Nowhere"]
        {
            assert!(wrong.parse::<Quota>().is_err(), "{wrong}");
        }
        assert_eq!(quota("100 requests/10s").per_second(), Some(10.0));
        assert_eq!(quota("100 requests/day").per_second(), None);
    }

    #[test]
    fn a_day_begins_at_midnight_of_its_zone() {
        let night: Timestamp = "2026-03-28T23:30:00Z".parse().unwrap();
        let at = |quota: &str| self::quota(quota).day(Millis(night.as_millisecond()));
        let day = |date: &str, minutes: u64| {
            Some(Day { date: date.into(), left: Duration::from_secs(60 * minutes) })
        };
        assert_eq!(at("9/day Europe/Berlin"), day("2026-03-29", 22 * 60 + 30), "an hour is missing");
        assert_eq!((at("9/day"), at("9/s")), (day("2026-03-28", 30), None));
    }

    #[test]
    fn what_is_configured_replaces_what_counts_the_same() {
        let own = || vec![Quota::requests(100, 10), Quota::daily(9, TimeZone::UTC), Quota::events(5, 1)];
        assert_eq!(in_force(own(), &[]), own());
        let raised = Quota::requests(190, 10);
        assert_eq!(in_force(own(), std::slice::from_ref(&raised)), [Quota::events(5, 1), raised]);
        let days =
            [quota("9 requests/day"), quota("7 requests/day UTC"), quota("8 requests/day Europe/Berlin")];
        assert_eq!(in_force(own(), &days), [Quota::events(5, 1), days[1].clone(), days[2].clone()]);
        assert_eq!(days[2].day_name().as_deref(), Some("requests-Europe-Berlin"));
    }
}
