//! `lake promote`: old hours rewritten with today's schema.

use serde_json::{Value, json};
use shardmill_actors::admin::audit;
use shardmill_actors::promote::{self, Outcome, Promoted};
use shardmill_actors::verify::Scope;

use super::Error;
use super::ops_client::operator;
use super::reach::Reached;
use crate::cli::LakePromote;
use crate::output;

/// What is shown of each hour.
const COLUMNS: [&str; 10] =
    ["table", "hour", "outcome", "rows", "moved", "kept", "widened", "filtered", "fresh", "reason"];

/// Promotes hour by hour, or tells what would be done; fails when an hour could not be.
pub(super) async fn promote(args: LakePromote, json: bool) -> Result<(), Error> {
    let LakePromote { table, since, until, dry_run, reach } = args;
    let reached = Reached::open(&reach).await?;
    let ports = &reached.stores.ports;
    if !dry_run {
        let said = json!({"by": operator(), "table": table, "since": since, "until": until});
        audit::note(ports.objects.as_ref(), None, "lake promote", &said).await?;
    }
    let scope = Scope { table, since, until, ..Scope::default() };
    let tools = reached.tools();
    let all = promote::promote(ports, &tools, &scope, &reached.stores.schemas(), dry_run).await?;
    tell(&all, json)?;
    match all.iter().any(|one| one.outcome == Outcome::Failed) {
        true => Err(Error::Told),
        false => Ok(()),
    }
}

/// Every hour about which there is something to say.
fn tell(all: &[Promoted], json: bool) -> Result<(), Error> {
    let idle = |one: &Promoted| one.outcome == Outcome::Nothing && one.kept.is_empty();
    let told: Vec<&Promoted> = all.iter().filter(|one| !idle(one)).collect();
    if told.is_empty() && !json {
        return Ok(output::print("no hour has anything to move\n")?);
    }
    let value = serde_json::to_value(&told).unwrap_or(Value::Null);
    Ok(output::show(json, &value, &COLUMNS)?)
}
