//! Durations, byte sizes and rates as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A duration written as `250ms`, `60s`, `15m`, `1h`, `400d` or several of these in a row (`1h30m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Period(pub Duration);

/// A number of bytes written as `512B`, `64KiB`, `4MiB`, `1GiB` (powers of 1024) or `1KB`, `1MB`, `1GB` (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

/// So many in a period, written as `100/s`, `6000/m` or `10000/h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In how long.
    pub per: Duration,
}

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Period(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn of_millis(millis: u64) -> Self {
        Period(Duration::from_millis(millis))
    }

    /// The duration in milliseconds.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

const PERIODS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration");
        let mut rest = text.trim();
        let mut total = 0_u64;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, unit, after) = leading(rest).ok_or_else(wrong)?;
            let (_, scale) = PERIODS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            total = number.checked_mul(*scale).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
            rest = after;
        }
        Ok(Period(Duration::from_millis(total)))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a byte size");
        let (number, unit, after) = leading(text.trim()).ok_or_else(wrong)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let found = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        match found.and_then(|(_, scale)| number.checked_mul(*scale)) {
            Some(bytes) if after.is_empty() => Ok(Size(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate");
        let (count, unit) = text.trim().split_once('/').ok_or_else(wrong)?;
        let count: u64 = count.trim().parse().map_err(|_| wrong())?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        if count == 0 {
            return Err(format!("{}: it must be above zero", wrong()));
        }
        Ok(Rate { count, per: Duration::from_secs(per) })
    }
}

/// Digits, letters, and what follows them.
fn leading(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, &rest[..letters], rest[letters..].trim_start()))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let fits = PERIODS.iter().find(|(_, scale)| ms > 0 && ms.is_multiple_of(u128::from(*scale)));
        match fits {
            Some((unit, scale)) => write!(f, "{}{unit}", ms / u128::from(*scale)),
            None => f.write_str("0s"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZES.iter().filter(|(unit, _)| unit.contains('i'));
        match binary.into_iter().find(|(_, scale)| self.0 > 0 && self.0.is_multiple_of(*scale)) {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3_600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

macro_rules! serialize_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serialize_as_text!(Period, Size, Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("60s", 60_000), ("15m", 900_000), ("1h", 3_600_000), ("400d", 34_560_000_000), ("250ms", 250)]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.millis(), ms);
            assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
        assert_eq!("1h30m".parse::<Period>().unwrap().to_string(), "90m");
        for wrong in ["", "60", "s", "1 fortnight", "-1s", "1.5h", "99999999999999999999d", "1s x"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("512", 512), ("10 KB", 10_000), ("1b", 1)]
        {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes), "{text}");
        }
        assert_eq!(Size(4 << 20).to_string(), "4MiB");
        for wrong in ["", "MiB", "1XB", "1MiB2", "-1B", "99999999TiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates() {
        let rate: Rate = "100/s".parse().unwrap();
        assert_eq!((rate.count, rate.per, rate.to_string()), (100, Duration::from_secs(1), "100/s".into()));
        for wrong in ["100", "/s", "100/y", "0/s", "x/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
