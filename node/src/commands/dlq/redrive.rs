//! `dlq redrive`: letters of the lake go into the lake, letters of a destination to that destination.

use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_actors::dead_letters::redrive::Redrive;
use shardmill_actors::dead_letters::targets::Configured;

use super::{audited, pending};
use crate::cli::DlqRedrive;
use crate::commands::Error;
use crate::commands::progress::Progress;
use crate::commands::reach::Reached;
use crate::{output, schemas, wire};

/// Redrives the letters selected; succeeds only if nothing kept one from being redriven.
pub(super) async fn redrive(args: DlqRedrive, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.which.reach).await?;
    if !args.dry_run {
        // What was mended may be a schema that no node has started with yet.
        schemas::register(&reached.config, &reached.stores).await?;
        audited(&reached.stores.ports, "dlq redrive", &args.which.filter).await?;
    }
    let progress = Progress::new(json, "letters");
    #[allow(clippy::cast_precision_loss)] // a rate
    let rate = args.rate.map(|rate| rate.count as f64 / rate.per.as_secs_f64());
    let redrive = Redrive {
        ports: &reached.stores.ports,
        streams: &reached.stores.sources(),
        write: &wire::write_options(&reached.config),
        targets: &Configured::new(
            reached.stores.destinations.clone(),
            Arc::new(reached.stores.streams.clone()),
        ),
        rate,
        dry_run: args.dry_run,
        withdraw: true,
        progress: &|done, all| progress.advance(done, all),
    };
    let result = redrive.run(&pending(&args.which.filter)).await;
    progress.finish();
    let result = result?;
    let mut value = serde_json::to_value(&result).unwrap_or(Value::Null);
    value["dry_run"] = json!(args.dry_run);
    output::show(json, &value, &[])?;
    if result.failed.is_empty() { Ok(()) } else { Err(Error::Told) }
}
