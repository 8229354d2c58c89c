//! `storm`: six third parties of six kinds, of which one is down, one throttles, one refuses items inside batches, one does not
//! answer, one revokes its token and one is fine. The lake and the fine one reach the end meanwhile, no later than when all are
//! well; in the end every event is delivered to each in order per key, or a dead letter with its reason.

mod cast;
mod judge;
mod stage;

use serde_json::{Value, json};

use self::cast::Trouble;
use self::stage::Stage;
use super::deliveries::lag::{Lags, Pairs};
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
    let (mut pairs, mut seed, mut peaks) = (Pairs::default(), options.seed, [0, 0]);
    let (well, storm) = loop {
        tell("all are well");
        let well = measure(size, seed, false).await.map_err(|error| format!("all well: {error}"))?;
        tell("the storm");
        let storm = measure(size, seed, true).await?;
        remembered(&well, &storm)?;
        peaks = [peaks[0].max(well.peak), peaks[1].max(storm.peak)];
        let again = pairs.add(&well.lags, &storm.lags);
        tell(format!("lag: {}", pairs.figures()));
        if !again {
            break (well, storm);
        }
        seed = seed.wrapping_add(1);
    };
    pairs.alike("five in trouble")?;
    Ok(
        json!({"events": size.events, "keys": size.keys, "per_second": size.per_second, "lag": pairs.figures(),
        "resident_bytes": {"all_well": peaks[0], "storm": peaks[1]}, "limit_bytes": LIMIT, "constant_bytes": CONSTANT,
        "all_well": well.figures, "storm": storm.figures}),
    )
}

/// Memory stays within the limit and its constant, and trouble costs no more than all lanes together may hold.
fn remembered(well: &Measured, storm: &Measured) -> Result<(), String> {
    let [alone, most, allowed] = [well.peak, storm.peak, LIMIT + CONSTANT].map(|bytes| bytes >> 20);
    tell(format!("{alone} MiB resident at most when all are well, {most} MiB in the storm"));
    if well.peak.max(storm.peak) > LIMIT + CONSTANT {
        return Err(format!(
            "{alone} MiB resident when all are well, {most} in the storm, {allowed} allowed"
        ));
    }
    if storm.peak > well.peak + LIMIT / 4 {
        return Err(format!(
            "{most} MiB resident in the storm, {alone} when all are well: something is kept that should not be"
        ));
    }
    Ok(())
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
