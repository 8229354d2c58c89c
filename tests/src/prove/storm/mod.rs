//! `storm`: six third parties of six kinds, of which one is down, one throttles, one refuses items inside batches, one does not
//! answer, one revokes its token and one is fine. The lake and the fine one reach the end meanwhile, no later than when all are
//! well; in the end every event is delivered to each in order per key, or a dead letter with its reason.

mod cast;
mod judge;
mod stage;

use serde_json::{Value, json};

use self::cast::Trouble;
use self::stage::Stage;
use super::deliveries::pairs::{self, Measured};
use super::{Options, Outcome};

/// How large a run is.
#[derive(Debug, Clone, Copy)]
struct Size {
    events: u64,
    keys: u64,
    shards: u64,
    /// Events sent in a second.
    per_second: u64,
}

/// Runs the proof.
pub async fn run(options: Options) -> Outcome {
    // HubSpot takes 11 requests a second, and an event of each key of a shard in one: few keys want few shards.
    let size = match options.short {
        true => Size { events: 6_000, keys: 48, shards: 2, per_second: 300 },
        false => Size { events: 200_000, keys: 500, shards: 4, per_second: 800 },
    };
    let compared = pairs::compare(options.seed, |seed, in_trouble| measure(size, seed, in_trouble)).await?;
    Ok(json!({"events": size.events, "keys": size.keys, "per_second": size.per_second, "pairs": compared}))
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
