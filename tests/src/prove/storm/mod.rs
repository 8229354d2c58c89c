//! `storm`: six third parties of six kinds, of which one is down, one throttles, one refuses items inside batches, one does not
//! answer, one revokes its token and one is fine. The lake and the fine one reach the end meanwhile, no later than when all are
//! well; in the end every event is delivered to each in order per key, or a dead letter with its reason.

mod cast;
mod judge;
mod stage;

use serde_json::{Value, json};

use self::cast::Trouble;
use self::stage::Stage;
use super::deliveries::lag::{self, Lags};
use super::memory::CONSTANT;
use super::{Options, Outcome, tell};

/// What the configuration allows.
const LIMIT: u64 = 128 << 20;

/// How large a run is.
#[derive(Debug, Clone, Copy)]
struct Size {
    events: u64,
    keys: u64,
    shards: u64,
    /// Events sent in a second.
    per_second: u64,
}

/// What was measured in one run.
#[derive(Debug)]
struct Measured {
    lags: Lags,
    /// The most memory the node held, in bytes.
    peak: u64,
    figures: Value,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    // HubSpot takes 11 requests a second, and an event of each key of a shard in one: few keys want few shards.
    let size = match options.short {
        true => Size { events: 6_000, keys: 48, shards: 2, per_second: 300 },
        false => Size { events: 200_000, keys: 500, shards: 4, per_second: 800 },
    };
    tell("all are well");
    let pair = measure(size, options.seed, false).await.map_err(|error| format!("all well: {error}"))?;
    tell("the storm");
    let run = measure(size, options.seed, true).await?;
    let p95 = lag::p95(&pair.lags, &run.lags);
    let (well, beside) = (pair.peak >> 20, run.peak >> 20);
    tell(format!("p95 lag {p95}; {well} MiB resident at most when all are well, {beside} MiB in the storm"));
    lag::alike(&p95, "five in trouble")?;
    for (when, most) in [("when all are well", pair.peak), ("in the storm", run.peak)] {
        if most > LIMIT + CONSTANT {
            let (most, allowed) = (most >> 20, (LIMIT + CONSTANT) >> 20);
            return Err(format!("{most} MiB resident {when}, {allowed} allowed"));
        }
    }
    if run.peak > pair.peak + LIMIT / 4 {
        return Err(format!(
            "{beside} MiB resident in the storm, {well} when all are well: something is kept that should not be"
        ));
    }
    Ok(json!({"events": size.events, "keys": size.keys, "per_second": size.per_second, "p95_lag_ms": p95,
        "floor_ms": lag::floors(), "resident_bytes": {"all_well": pair.peak, "storm": run.peak},
        "limit_bytes": LIMIT, "constant_bytes": CONSTANT, "all_well": pair.figures, "storm": run.figures}))
}

/// One run: lags of the fine third party and of the lake, the most memory, and what became of everything.
async fn measure(size: Size, seed: u64, in_trouble: bool) -> Result<Measured, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut stage = Stage::start(size, seed, in_trouble, folder.path()).await?;
    let book = stage.feed().await?;
    stage.undisturbed(&book).await?;
    let mut meanwhile = Value::Null;
    if in_trouble {
        let sights = stage.sights().await?;
        meanwhile = judge::meanwhile(&sights, size.events)?;
        stage.finished(&[Trouble::Refusing, Trouble::Silent, Trouble::Revoked], &book).await?;
        judge::still_down(&stage.sights().await?)?;
        stage.calm();
    }
    let others = [Trouble::Down, Trouble::Throttled, Trouble::Refusing, Trouble::Silent, Trouble::Revoked];
    stage.finished(&others, &book).await?;
    let mut measured = stage.end(&book).await?;
    measured.figures["meanwhile"] = meanwhile;
    Ok(measured)
}
