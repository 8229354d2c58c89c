//! `planted-faults`: each fault alone in a copy of a good lake: verification finds it and nothing else, says truly whether it can
//! be repaired, and a repair does what it says. A lake that is being written has no finding.

mod cloud;
mod faults;
mod lake;
mod live;

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use self::faults::{Expected, FAULTS, Fault, plant};
use self::lake::{Good, Lake};
use super::{Options, Outcome, tell};
use crate::harness::Cli;

/// What came of the faults.
#[derive(Debug, Default)]
struct Figures {
    planted: u64,
    found: u64,
    repaired: u64,
    not_repairable: u64,
}

impl Figures {
    fn add(&mut self, expected: &Expected) {
        self.planted += 1;
        self.found += 1;
        *(if expected.repairable { &mut self.repaired } else { &mut self.not_repairable }) += 1;
    }

    fn json(&self) -> Value {
        let Figures { planted, found, repaired, not_repairable } = self;
        json!({"planted": planted, "found": found, "repaired": repaired, "not_repairable": not_repairable})
    }
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    let (events, rounds) = if options.short { (800, 1) } else { (8_000, 5) };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    tell("making a good lake");
    let good = Good::new(folder.path(), (events, options.seed)).await?;
    let mut figures = Figures::default();
    for round in 0..rounds {
        tell(format!("round {} of {rounds}: {} faults, each in a copy of its own", round + 1, FAULTS.len()));
        for fault in FAULTS {
            let seed = options.seed.wrapping_add(round);
            let expected =
                in_a_copy(&good, fault, seed).await.map_err(|error| format!("{fault:?}: {error}"))?;
            figures.add(&expected);
        }
    }
    tell("verifying a lake that is being written");
    let live = live::run(folder.path(), &options).await?;
    let mut told = json!({"events": events, "kinds_of_faults": FAULTS.len(), "embedded": figures.json(), "while_writing": live});
    if !options.short {
        tell("on servers that speak AWS's protocols");
        told["aws"] = cloud::run(folder.path(), options.seed).await?.json();
    }
    Ok(told)
}

/// Plants a fault in a copy of the lake and judges what is said and done about it.
async fn in_a_copy(good: &Good, fault: Fault, seed: u64) -> Result<Expected, String> {
    let mut chance = StdRng::seed_from_u64(seed);
    let name = format!("{fault:?}-{seed}").replace(['(', ')'], "-");
    let (setup, expected) = match fault {
        Fault::Unregistered => {
            let hours = good.hours();
            let hour = hours.choose(&mut chance).copied().ok_or("the catalog knows no partition")?;
            (good.copy_without(&name, hour).await?, Some(Expected::unregistered(hour)))
        }
        _ => (good.copy(&name)?, None),
    };
    let lake = Lake::embedded(&setup)?;
    let expected = match expected {
        Some(expected) => expected,
        None => plant(fault, &lake, good.old(), &mut chance).await?,
    };
    judge(&lake, &expected).await?;
    if expected.repairable {
        let answer = Lake::answer(&setup).await?;
        if answer != good.answer {
            return Err(format!(
                "repaired, the lake answers {answer}; before the fault it was {}",
                good.answer
            ));
        }
    }
    drop(lake);
    remove(&setup.data_dir)?;
    Ok(expected)
}

fn remove(folder: &Path) -> Result<(), String> {
    std::fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// The fault is found, a dry run changes nothing, and a repair mends it, or leaves everything as it is.
async fn judge(lake: &Lake, expected: &Expected) -> Result<(), String> {
    let cli = Cli::new(&lake.setup)?;
    matches(expected, &verify(&cli, expected, &[]).await?)?;
    let before = lake.fingerprint().await?;
    let planned = verify(&cli, expected, &["--repair", "--dry-run"]).await?;
    matches(expected, &planned)?;
    made(&planned, "planned", expected.repairable)?;
    if lake.fingerprint().await? != before {
        return Err("a dry run has changed something".into());
    }
    let repaired = verify(&cli, expected, &["--repair"]).await?;
    made(&repaired, "done", expected.repairable)?;
    if !expected.repairable {
        matches(expected, &repaired)?;
        let same = lake.fingerprint().await? == before;
        return if same { Ok(()) } else { Err("nothing can be repaired, and something was changed".into()) };
    }
    // What a repair has taken out of use is an orphan, which the next one deletes.
    let last = match orphans_only(&repaired) {
        true => verify(&cli, expected, &["--repair"]).await?,
        false => repaired,
    };
    match last["ok"] == true && last["findings"] == json!([]) {
        true => Ok(()),
        false => Err(format!("after the repair: {last}")),
    }
}

/// Runs `lake verify`; the report, whose verdict the exit code must agree with.
async fn verify(cli: &Cli, expected: &Expected, more: &[&str]) -> Result<Value, String> {
    let mut words = vec!["lake", "verify", "--json"];
    words.extend(expected.deep.then_some("--deep"));
    words.extend(more);
    let done = cli.run(&words).await?;
    let report: Value = serde_json::from_str(&done.stdout)
        .map_err(|error| format!("no report ({error}): {}{}", done.stderr, done.stdout))?;
    match (&report["ok"], done.code) {
        (Value::Bool(true), 0) | (Value::Bool(false), 1) => Ok(report),
        (ok, code) => Err(format!("exit code {code} with ok = {ok}: {report}")),
    }
}

/// What is found is the fault, once, and nothing that does not follow from it.
fn matches(expected: &Expected, report: &Value) -> Result<(), String> {
    let all = report["findings"].as_array().cloned().unwrap_or_default();
    let is_it = |finding: &&Value| finding["kind"] == expected.kind && finding["at"] == expected.at;
    let (it, rest): (Vec<&Value>, Vec<&Value>) = all.iter().partition(is_it);
    let known = |finding: &Value| expected.others.iter().any(|kind| finding["kind"] == *kind);
    let wanted = it.len() == 1 && it.iter().all(|finding| finding["repairable"] == expected.repairable);
    let harmless = expected.kind == "orphan";
    if wanted && rest.iter().all(|finding| known(finding)) && report["ok"] == harmless {
        return Ok(());
    }
    Err(format!("{expected:?} was to be found, once; found were {}", report["findings"]))
}

/// There are repairs with this outcome, and no others; none when nothing can be repaired.
fn made(report: &Value, outcome: &str, some: bool) -> Result<(), String> {
    let repairs = report["repairs"].as_array().cloned().unwrap_or_default();
    let all = repairs.iter().all(|repair| repair["outcome"] == outcome);
    match all && repairs.is_empty() != some {
        true => Ok(()),
        false => Err(format!("repairs that were to be {outcome}: {}", report["repairs"])),
    }
}

fn orphans_only(report: &Value) -> bool {
    let findings = report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    !findings.is_empty() && findings.iter().all(|finding| finding["kind"] == "orphan")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected { kind: "missing", at: "a".into(), repairable: false, others: &["orphan"], deep: false }
    }

    #[test]
    fn exactly_the_fault_must_be_found() {
        let finding = |kind: &str, at: &str| json!({"kind": kind, "at": at, "repairable": false});
        let report = |findings: Value| json!({"ok": false, "findings": findings});
        for (findings, right) in [
            (json!([finding("missing", "a")]), true),
            (json!([finding("missing", "a"), finding("orphan", "b")]), true),
            (json!([]), false),
            (json!([finding("corrupt", "a")]), false),
            (json!([finding("missing", "b")]), false),
            (json!([finding("missing", "a"), finding("missing", "a")]), false),
            (json!([finding("missing", "a"), finding("corrupt", "b")]), false),
        ] {
            assert_eq!(matches(&expected(), &report(findings.clone())).is_ok(), right, "{findings}");
        }
    }

    #[test]
    fn repairs_must_be_what_was_promised() {
        let report = |outcomes: &[&str]| json!({"repairs": outcomes.iter().map(|outcome| json!({"outcome": outcome})).collect::<Vec<_>>()});
        assert!(made(&report(&["done"]), "done", true).is_ok() && made(&report(&[]), "done", false).is_ok());
        assert!(made(&report(&["done", "failed"]), "done", true).is_err());
        assert!(
            made(&report(&[]), "done", true).is_err() && made(&report(&["done"]), "done", false).is_err()
        );
    }
}
