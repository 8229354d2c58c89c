//! Sides that take turns at a piece of work, and what their accounts come to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::account::{Account, Meter};

/// One side's way to do a piece of work.
#[async_trait]
pub(super) trait Side: Send + Sync {
    /// Who it is.
    fn name(&self) -> &str;

    /// Does the work once, from nothing, in a process of its own.
    async fn run(&self) -> Result<Account, String>;
}

/// A side that is a program from its start to its end.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) meter: Meter,
    pub(super) words: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    /// The file it makes.
    pub(super) makes: PathBuf,
}

impl Program {
    /// A program without an environment of its own.
    pub(super) fn new(name: &'static str, meter: &Meter, words: Vec<String>, makes: PathBuf) -> Program {
        Program { name, meter: meter.clone(), words, env: BTreeMap::new(), makes }
    }
}

#[async_trait]
impl Side for Program {
    fn name(&self) -> &str {
        self.name
    }

    async fn run(&self) -> Result<Account, String> {
        let _ = std::fs::remove_file(&self.makes); // absent in the first round
        let account = self.meter.run(&self.words, &self.env).await?;
        let made = std::fs::metadata(&self.makes);
        let made = made.map_err(|error| format!("{} was not made: {error}", self.makes.display()))?;
        Ok(Account { bytes: made.len(), ..account })
    }
}

/// What a piece of work has cost each side; the first is the one that others are measured by.
#[derive(Debug)]
pub(super) struct Done {
    work: String,
    events: u64,
    sides: Vec<(String, Vec<Account>)>,
    /// What else is to be told.
    about: Map<String, Value>,
}

/// Has all sides do the work in turns. Who begins changes with the round.
pub(super) async fn take(
    work: &str,
    events: u64,
    sides: &[Box<dyn Side>],
    rounds: usize,
) -> Result<Done, String> {
    let mut accounts: Vec<Vec<Account>> = vec![Vec::new(); sides.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let side = &sides[place];
            let account = side.run().await.map_err(|error| format!("{work}, {}: {error}", side.name()))?;
            eprintln!(
                "  {work}, {}: {:.2} s CPU, {:.2} s, {} MB",
                side.name(),
                account.cpu(),
                account.wall,
                account.peak / 1_000_000
            );
            accounts[place].push(account);
        }
    }
    let names = sides.iter().map(|side| side.name().to_owned());
    Ok(Done { work: work.to_owned(), events, sides: names.zip(accounts).collect(), about: Map::new() })
}

impl Done {
    /// The same with something more to tell.
    pub(super) fn with(mut self, key: &str, value: Value) -> Done {
        self.about.insert(key.to_owned(), value);
        self
    }

    /// For programs: every run, medians, and each side's CPU by the first side's.
    pub(super) fn json(&self) -> Value {
        let of =
            |accounts: &[Account], figure: fn(&Account) -> f64| median(accounts.iter().map(figure).collect());
        let first = self.sides.first().map_or(f64::NAN, |(_, accounts)| of(accounts, Account::cpu));
        let side = |(name, accounts): &(String, Vec<Account>)| {
            let cpu = of(accounts, Account::cpu);
            let runs: Vec<Value> = accounts.iter().map(Account::json).collect();
            json!({"side": name, "cpu_s": cpu, "events_per_cpu_s": (count(self.events) / cpu).round(),
                "cpu_by_first": cpu / first, "wall_s": of(accounts, |account| account.wall),
                "peak_bytes": of(accounts, |account| count(account.peak)),
                "bytes": of(accounts, |account| count(account.bytes)),
                "servers_cpu_s": servers(accounts), "runs": runs})
        };
        let mut told = self.about.clone();
        told.insert("work".to_owned(), json!(self.work));
        told.insert("events".to_owned(), json!(self.events));
        told.insert("sides".to_owned(), self.sides.iter().map(side).collect());
        Value::Object(told)
    }
}

fn servers(accounts: &[Account]) -> BTreeMap<&'static str, f64> {
    let names = accounts.first().map(|account| account.beside.keys().copied()).into_iter().flatten();
    let of = |name: &str| accounts.iter().filter_map(|account| account.beside.get(name).copied()).collect();
    names.map(|name| (name, median(of(name)))).collect()
}

/// A count as a figure.
#[allow(clippy::cast_precision_loss)] // for people
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

/// The middle value; of an even number, the mean of both.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.get(middle.wrapping_sub(1))) {
        (Some(upper), Some(lower)) if values.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Costs what it is told, and writes down when.
    struct Told<'a>(&'static str, &'a Mutex<Vec<&'static str>>, f64);

    #[async_trait]
    impl Side for Told<'_> {
        fn name(&self) -> &str {
            self.0
        }

        async fn run(&self) -> Result<Account, String> {
            self.1.lock().unwrap().push(self.0);
            let beside = BTreeMap::from([("s3", 0.5)]);
            Ok(Account { user: self.2, peak: 7, beside, ..Account::default() })
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[tokio::test]
    async fn sides_take_turns_and_are_measured_by_the_first() {
        let log: &'static Mutex<Vec<&'static str>> = Box::leak(Box::default());
        let sides: [Box<dyn Side>; 2] = [Box::new(Told("a", log, 2.0)), Box::new(Told("b", log, 3.0))];
        let told = take("work", 10, &sides, 2).await.unwrap().with("more", json!(1)).json();
        assert_eq!(*log.lock().unwrap(), ["a", "b", "b", "a"]);
        assert_eq!(told["sides"][1]["cpu_by_first"], 1.5);
        assert_eq!(told["sides"][0]["events_per_cpu_s"], 5.0);
        assert_eq!(told["sides"][0]["servers_cpu_s"]["s3"], 0.5);
        assert_eq!((&told["more"], told["sides"][1]["runs"].as_array().unwrap().len()), (&json!(1), 2));
    }
}
