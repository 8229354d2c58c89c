//! When something runs: a cron expression of five fields, in UTC.
//!
//! `minute hour day month weekday`, each a `*`, a number, a range `a-b`, a step `*/n`, `a-b/n` or `a/n`, or a list of these;
//! months and weekdays also by name (`JAN`, `MON`), Sunday is 0 and 7. As in cron, a day counts when either the day of the month
//! or the weekday fits, if neither field begins with a `*`; otherwise both must. `@hourly`, `@daily`, `@weekly`, `@monthly` and
//! `@yearly` are known, too.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::clock::Millis;

/// Days that are looked through: between two 29ths of February there may be eight years.
const HORIZON: usize = 366 * 9;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SHORT: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// See the [module](self). It fires at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
}

/// The numbers of a field, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set {
    bits: u64,
    /// It was written with a `*`.
    open: bool,
}

impl Set {
    fn has(self, number: u32) -> bool {
        self.bits >> number & 1 == 1
    }
}

/// What a field may hold.
struct Field {
    name: &'static str,
    range: RangeInclusive<u32>,
    /// Names, and the number of the first.
    names: (&'static [&'static str], u32),
}

impl Field {
    const fn new(name: &'static str, range: RangeInclusive<u32>) -> Self {
        Field { name, range, names: (&[], 0) }
    }

    fn read(&self, text: &str) -> Result<Set, String> {
        let mut bits = 0;
        for item in text.split(',') {
            bits |= self.item(item)?;
        }
        Ok(Set { bits, open: text.starts_with('*') })
    }

    fn item(&self, item: &str) -> Result<u64, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (*self.range.start(), *self.range.end()),
            (_, Some((first, last))) => (self.number(first)?, self.number(last)?),
            // A number with a step begins a row that ends where the field does.
            (one, None) if step.is_some() => (self.number(one)?, *self.range.end()),
            (one, None) => (self.number(one)?, self.number(one)?),
        };
        if last < first {
            return Err(format!("the range `{range}` of the {} runs backwards", self.name));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok((first..=last).step_by(step).map(|number| 1_u64 << number).sum())
    }

    fn step(&self, text: &str) -> Result<u32, String> {
        let step = text.parse().ok().filter(|step| *step > 0);
        step.ok_or_else(|| format!("`/{text}` of the {} is no step: write a number from 1 on", self.name))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let (names, first) = self.names;
        let lower = text.to_lowercase();
        let named = names.iter().zip(first..).find(|(name, _)| **name == lower).map(|(_, number)| number);
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = named.or_else(|| text.parse().ok().filter(|_| digits));
        number.filter(|number| self.range.contains(number)).ok_or_else(|| {
            let (from, to) = (self.range.start(), self.range.end());
            let names = if names.is_empty() { String::new() } else { format!(" or {}", names.join(", ")) };
            format!("`{text}` is no {}: {from} to {to}{names}", self.name)
        })
    }
}

impl Cron {
    /// The first moment after `at` that it fires at; `None` beyond the calendar.
    pub fn next_after(&self, at: Millis) -> Option<Millis> {
        let from = at.0.div_euclid(60_000).checked_add(1)?.checked_mul(60_000)?;
        let begin = jiff::Timestamp::from_millisecond(from).ok()?.to_zoned(TimeZone::UTC).datetime();
        let mut earliest = (begin.hour(), begin.minute());
        let mut day = begin.date();
        for _ in 0..HORIZON {
            if self.fits(day)
                && let Some((hour, minute)) = self.time_from(earliest)
            {
                let moment = day.at(hour, minute, 0, 0).to_zoned(TimeZone::UTC).ok()?;
                return Some(Millis(moment.timestamp().as_millisecond()));
            }
            earliest = (0, 0);
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn fits(&self, day: Date) -> bool {
        let number = |number: i8| u32::try_from(number).unwrap_or_default();
        let of_month = self.days.has(number(day.day()));
        let of_week = self.weekdays.has(number(day.weekday().to_sunday_zero_offset()));
        let both = self.days.open || self.weekdays.open;
        let counts = if both { of_month && of_week } else { of_month || of_week };
        self.months.has(number(day.month())) && counts
    }

    /// The first time of a day from `(hour, minute)` on.
    fn time_from(&self, (hour, minute): (i8, i8)) -> Option<(i8, i8)> {
        let has = |set: Set, number: i8| u32::try_from(number).is_ok_and(|number| set.has(number));
        let first = |from: i8| (from..60).find(|minute| has(self.minutes, *minute));
        let mut hours = (hour..24).filter(|hour| has(self.hours, *hour));
        hours.find_map(|found| Some((found, first(if found == hour { minute } else { 0 })?)))
    }
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let short = SHORT.iter().find(|(name, _)| *name == text.trim()).map(|(_, long)| *long);
        let fields: Vec<&str> = short.unwrap_or(text).split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!(
                "`{text}` has {} fields, five are needed: minute hour day month weekday",
                fields.len()
            ));
        };
        let weekdays = Field { names: (&WEEKDAYS, 0), ..Field::new("weekday", 0..=7) }.read(weekday)?;
        let months = Field { names: (&MONTHS, 1), ..Field::new("month", 1..=12) }.read(month)?;
        let cron = Cron {
            text: text.to_owned(),
            minutes: Field::new("minute", 0..=59).read(minute)?,
            hours: Field::new("hour", 0..=23).read(hour)?,
            days: Field::new("day", 1..=31).read(day)?,
            months,
            // Sunday is 7 as well.
            weekdays: Set { bits: (weekdays.bits | weekdays.bits >> 7) & 0x7f, ..weekdays },
        };
        match cron.next_after(Millis(0)) {
            Some(_) => Ok(cron),
            None => Err(format!("`{text}` never fires: no month of these has such a day")),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(cron: &str, at: &str) -> String {
        let cron: Cron = cron.parse().unwrap();
        let at: Millis = at.parse().unwrap();
        cron.next_after(at).unwrap().to_string()[..16].to_owned()
    }

    #[test]
    fn the_next_moment_is_the_first_that_fits() {
        for (cron, at, wanted) in [
            ("0 * * * *", "2026-11-22T13:00:00Z", "2026-11-22T14:00"),
            ("0 * * * *", "2026-11-22T13:59:59Z", "2026-11-22T14:00"),
            ("*/15 * * * *", "2026-11-22T13:46:00Z", "2026-11-22T14:00"),
            ("5/20 * * * *", "2026-11-22T13:25:00Z", "2026-11-22T13:45"),
            ("0 9 * * MON-FRI", "2026-11-20T09:00:00Z", "2026-11-23T09:00"),
            ("30 6 1,15 * *", "2026-11-15T06:30:00Z", "2026-12-01T06:30"),
            ("0 0 31 * *", "2026-11-01T00:00:00Z", "2026-12-31T00:00"),
            ("0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00"),
            ("0 0 29 FEB *", "2096-03-01T00:00:00Z", "2104-02-29T00:00"),
            ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59"),
            ("0 12 * * 7", "2026-11-22T13:00:00Z", "2026-11-29T12:00"),
            ("0 12 * * 5-7", "2026-11-21T13:00:00Z", "2026-11-22T12:00"),
            // Either of the two, because neither is open.
            ("0 0 13 * FRI", "2026-11-22T00:00:00Z", "2026-11-27T00:00"),
            // Both, because one begins with a star.
            ("0 0 */2 * MON", "2026-11-22T00:00:00Z", "2026-11-23T00:00"),
            ("@daily", "2026-12-31T00:00:00Z", "2027-01-01T00:00"),
            ("10-20/5,50 3 * jan-mar/2 *", "2026-03-31T03:20:00Z", "2026-03-31T03:50"),
        ] {
            assert_eq!(next(cron, at), wanted, "{cron} after {at}");
        }
    }

    #[test]
    fn what_is_no_expression_or_never_fires_is_told() {
        for (cron, told) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("0 0 0 * * *", "6 fields"),
            ("60 * * * *", "`60` is no minute: 0 to 59"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "no day"),
            ("* * * FOO *", "`FOO` is no month: 1 to 12 or jan"),
            ("* * * * 8", "no weekday"),
            ("*/0 * * * *", "no step"),
            ("*/x * * * *", "no step"),
            ("30-10 * * * *", "backwards"),
            ("1,,2 * * * *", "`` is no minute"),
            ("+1 * * * *", "`+1` is no minute"),
            ("0 0 30 2 *", "never fires"),
            ("0 0 31 4,6,9,11 *", "never fires"),
        ] {
            let wrong = cron.parse::<Cron>().unwrap_err();
            assert!(wrong.contains(told), "{cron}: {wrong}");
        }
    }

    /// Whether a field's text names a number, read in another way than [`Field::read`].
    fn names(text: &str, number: i64, (from, to): (i64, i64)) -> bool {
        text.split(',').any(|item| {
            let (range, step) =
                item.split_once('/').map_or((item, 1), |(range, step)| (range, step.parse().unwrap()));
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
                None if range == "*" => (from, to),
                None if item.contains('/') => (range.parse().unwrap(), to),
                None => (range.parse().unwrap(), range.parse().unwrap()),
            };
            number >= first && number <= last && (number - first) % step == 0
        })
    }

    fn field(from: u32, to: u32) -> impl proptest::strategy::Strategy<Value = String> {
        let item = prop_oneof![
            3 => Just("*".to_owned()),
            2 => (from..=to).prop_map(|number| number.to_string()),
            1 => (1_u32..9).prop_map(|step| format!("*/{step}")),
            1 => (from..=to, 1_u32..9).prop_map(|(first, step)| format!("{first}/{step}")),
            1 => (from..=to, from..=to, 1_u32..4)
                .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        ];
        proptest::collection::vec(item, 1..3).prop_map(|items| items.join(","))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Going through minute after minute finds the same moment.
        #[test]
        fn the_next_moment_is_what_going_minute_by_minute_finds(
            (minute, hour, day, month, weekday) in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)),
            at in 1_700_000_000_000_i64..1_900_000_000_000,
        ) {
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let Ok(cron) = text.parse::<Cron>() else { return Ok(()) };
            let found = cron.next_after(Millis(at)).unwrap().0;
            prop_assert!(found > at && found % 60_000 == 0);
            let fits = |minutes: i64| {
                let moment = jiff::Timestamp::from_millisecond(minutes * 60_000).unwrap().to_zoned(TimeZone::UTC);
                let of_month = names(&day, moment.day().into(), (1, 31));
                let sunday = i64::from(moment.weekday().to_sunday_zero_offset());
                let of_week = names(&weekday, sunday, (0, 7)) || (sunday == 0 && names(&weekday, 7, (0, 7)));
                let both = day.starts_with('*') || weekday.starts_with('*');
                names(&minute, moment.minute().into(), (0, 59))
                    && names(&hour, moment.hour().into(), (0, 23))
                    && names(&month, moment.month().into(), (1, 12))
                    && if both { of_month && of_week } else { of_month || of_week }
            };
            prop_assert!(fits(found / 60_000), "{text}");
            // Two weeks of minutes before it, or all since then.
            let first = (at / 60_000 + 1).max(found / 60_000 - 20_000);
            prop_assert!((first..found / 60_000).all(|minutes| !fits(minutes)), "{text}");
        }
    }
}
