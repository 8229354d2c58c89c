//! What is claimed of the comparison, and whether this run bears it out. Claims are made for a million events.

use serde_json::{Value, json};

use super::stream::PLAIN;

/// Bytes of a megabyte.
const MB: f64 = 1e6;

/// A claim about one figure.
#[derive(Debug, Clone)]
struct Claim {
    what: String,
    found: f64,
    /// What it must at least, or at most, be.
    bound: Bound,
    /// What it should be.
    aim: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Claim {
    fn new(what: impl Into<String>, found: f64, bound: Bound) -> Claim {
        Claim { what: what.into(), found, bound, aim: None }
    }

    fn aiming(self, aim: f64) -> Claim {
        Claim { aim: Some(aim), ..self }
    }

    fn json(&self) -> Value {
        let (holds, wanted) = match self.bound {
            Bound::AtLeast(least) => (self.found >= least, json!({"at_least": least})),
            Bound::AtMost(most) => (self.found <= most, json!({"at_most": most})),
        };
        json!({"what": self.what, "found": self.found, "wanted": wanted, "aim": self.aim, "holds": holds})
    }
}

/// Judges the works that were done.
pub(super) fn judge(works: &[Value]) -> Vec<Value> {
    works.iter().flat_map(of).map(|claim| claim.json()).collect()
}

fn of(work: &Value) -> Vec<Claim> {
    match work["work"].as_str().unwrap_or_default() {
        "convert" | "data" => standardising(work),
        "compact" => compacting(work),
        "path" => {
            let whole = figure(work, "shardmill, whole path", "cpu_by_first");
            vec![
                Claim::new("whole path: CPU by that of standardising alone", whole, Bound::AtMost(2.0))
                    .aiming(1.4),
            ]
        }
        "stream" => {
            let million =
                figure(work, "shardmill", "cpu_s") * 1e6 / work["events"].as_f64().unwrap_or(f64::NAN);
            let what = "Kinesis to S3: CPU seconds of a million events";
            let plain = figure(work, PLAIN.0, "cpu_by_first");
            vec![
                Claim::new(what, million, Bound::AtMost(3.5)).aiming(3.0),
                Claim::new("Kinesis to S3: a plain program's CPU by ours", plain, Bound::AtLeast(1.25)),
            ]
        }
        "hour" => finished(work),
        _ => Vec::new(),
    }
}

fn standardising(work: &Value) -> Vec<Claim> {
    let table = work["table"].as_str().unwrap_or_default();
    let by = |peer: &str| {
        let what = format!("standardising {table}: events per CPU-second by {peer}'s");
        Claim::new(what, figure(work, peer, "cpu_by_first"), Bound::AtLeast(1.6)).aiming(2.0)
    };
    let peak = figure(work, "shardmill", "peak_bytes") / MB;
    let peak = Claim::new(format!("standardising {table}: peak memory, MB"), peak, Bound::AtMost(128.0));
    vec![by("duckdb"), by("polars"), peak]
}

fn compacting(work: &Value) -> Vec<Claim> {
    let by = figure(work, "duckdb", "cpu_by_first");
    let peak = figure(work, "shardmill", "peak_bytes") / MB;
    vec![
        Claim::new("compacting: DuckDB's CPU by ours", by, Bound::AtLeast(15.0)).aiming(20.0),
        Claim::new("compacting: peak memory, MB", peak, Bound::AtMost(64.0)),
    ]
}

fn finished(work: &Value) -> Vec<Claim> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let bytes = &work["bytes"];
    let size = number(&bytes["shardmill"]) / number(&bytes["duckdb"]);
    let mut claims = vec![Claim::new("finished hour: bytes by DuckDB's", size, Bound::AtMost(1.1))];
    for (question, times) in work["queries"].as_object().into_iter().flatten() {
        let found = number(&times["shardmill"]["cpu_ms"]) / number(&times["duckdb"]["cpu_ms"]);
        let what = format!("finished hour: time of the query `{question}` by that on DuckDB's file");
        // Medians of the same file differ by as much.
        claims.push(Claim::new(what, found, Bound::AtMost(1.05)).aiming(1.0));
    }
    claims
}

/// A median of a side; not a number when there is none, which no claim survives.
fn figure(work: &Value, side: &str, name: &str) -> f64 {
    let sides = work["sides"].as_array().into_iter().flatten();
    let found = sides.filter(|told| told["side"] == side).find_map(|told| told[name].as_f64());
    found.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_judged_by_medians() {
        let side = |name: &str, by: f64, peak: f64| json!({"side": name, "cpu_by_first": by, "cpu_s": by, "peak_bytes": peak});
        let sides = [side("shardmill", 1.0, 100e6), side("duckdb", 1.7, 0.0), side("polars", 1.5, 0.0)];
        let works = [
            json!({"work": "convert", "table": "events", "sides": sides}),
            json!({"work": "stream", "events": 500_000, "sides": sides}),
            json!({"work": "hour", "bytes": {"shardmill": 105, "duckdb": 100},
                "queries": {"point": {"shardmill": {"cpu_ms": 9.0}, "duckdb": {"cpu_ms": 10.0}}}}),
        ];
        let judged = judge(&works);
        let holds: Vec<bool> = judged.iter().map(|claim| claim["holds"] == true).collect();
        assert_eq!(holds, [true, false, true, true, false, true, true], "{judged:?}");
    }

    #[test]
    fn what_was_not_measured_holds_nothing() {
        let judged = judge(&[json!({"work": "compact", "sides": []}), json!({"work": "unknown"})]);
        assert!(judged.len() == 2 && judged.iter().all(|claim| claim["holds"] == false));
    }
}
