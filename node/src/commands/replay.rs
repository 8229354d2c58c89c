//! `replay`: records as they were received, through today's schema and mappings once more.

use std::sync::Arc;

use serde_json::{Value, json};
use shardmill_actors::admin::audit;
use shardmill_actors::dead_letters::targets::Configured;
use shardmill_actors::replay::{Behind, Goal, Replay, Replayed, Request};
use shardmill_connectors::Millis;

use super::Error;
use super::ops_client::operator;
use super::progress::Progress;
use super::reach::Reached;
use crate::cli::ReplayArgs;
use crate::{output, schemas, wire};

/// Replays; succeeds only if nothing was left out.
pub async fn replay(args: ReplayArgs, json: bool) -> Result<(), Error> {
    let reached = Reached::open(&args.reach).await?;
    let request = request(&args, &reached)?;
    let ports = &reached.stores.ports;
    if !args.dry_run {
        admit(&args, &request, &reached).await?;
        audit::note(ports.objects.as_ref(), None, "replay", &told(&args)).await?;
    }
    let progress = Progress::new(json, "records");
    #[allow(clippy::cast_precision_loss)] // a rate
    let rate = args.rate.map(|rate| rate.count as f64 / rate.per.as_secs_f64());
    let replay = Replay {
        ports,
        streams: &reached.stores.streams,
        write: &wire::write_options(&reached.config),
        targets: &Configured::new(
            reached.stores.destinations.clone(),
            Arc::new(reached.stores.streams.clone()),
        ),
        rate,
        dry_run: args.dry_run,
        progress: &|done, all| progress.advance(done, all),
        begin: &|behind| reaches(behind).iter().for_each(|line| eprintln!("{line}")),
    };
    let result = replay.run(&request).await;
    progress.finish();
    let result = result?;
    let mut value = serde_json::to_value(&result).unwrap_or(Value::Null);
    value["dry_run"] = json!(args.dry_run);
    output::show(json, &value, &[])?;
    hints(&args, &result);
    if result.failed.is_empty() { Ok(()) } else { Err(Error::Told) }
}

/// What is to be replayed, checked against the configuration.
fn request(args: &ReplayArgs, reached: &Reached) -> Result<Request, Error> {
    let (from, to) = (Millis(args.from.as_millisecond()), Millis(args.to.as_millisecond()));
    if from >= to {
        return Err(Error::Usage("--to is not after --from: nothing arrived between them".to_owned()));
    }
    let streams = &reached.stores.streams;
    if let Some(name) = args.stream.as_ref().filter(|name| !streams.contains_key(*name)) {
        let known: Vec<&str> = streams.keys().map(String::as_str).collect();
        return Err(Error::Usage(format!("there is no stream `{name}`; there are: {}", known.join(", "))));
    }
    Ok(Request {
        from,
        to,
        stream: args.stream.clone(),
        filters: args.filter.clone(),
        goal: goal(args, reached)?,
        attempt: args.attempt,
    })
}

fn goal(args: &ReplayArgs, reached: &Reached) -> Result<Goal, Error> {
    if let Some(name) = &args.destination {
        let mut known = reached.stores.destinations.iter().map(|settings| settings.name.as_str());
        return match known.any(|known| known == name) {
            true => Ok(Goal::Destination(name.clone())),
            false => Err(Error::Usage(format!("the destination `{name}` is not configured"))),
        };
    }
    let Some(table) = &args.into else { return Ok(Goal::Lake) };
    let schema = match &args.schema {
        Some(file) => {
            // Of a flag: from where it is called, not from where the configuration is.
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            reached.config.schema(Some(&file.display().to_string()))?
        }
        None => reached.stores.schemas().remove(table).ok_or_else(|| {
            Error::Usage(format!("no stream feeds the table `{table}`: say what it holds with --schema FILE"))
        })?,
    };
    Ok(Goal::Table { table: table.clone(), schema })
}

/// Registers the schemas that rows are about to be made with: no node may have started with them yet.
async fn admit(args: &ReplayArgs, request: &Request, reached: &Reached) -> Result<(), Error> {
    match &request.goal {
        Goal::Lake => schemas::register(&reached.config, &reached.stores).await,
        Goal::Table { table, schema } => {
            let file = args.schema.as_ref().map(|file| file.display().to_string());
            let (config, ports) = (&reached.config, &reached.stores.ports);
            schemas::register_one(config, ports, (table, file), schema).await
        }
        Goal::Destination(_) => Ok(()),
    }
}

/// Who asks for what, for the audit log.
fn told(args: &ReplayArgs) -> Value {
    let filters: Vec<String> = args.filter.iter().map(ToString::to_string).collect();
    let mut told = json!({
        "by": operator(), "from": args.from.to_string(), "to": args.to.to_string(), "stream": args.stream,
        "filters": (!filters.is_empty()).then_some(filters), "into": args.into,
        "destination": args.destination, "attempt": (args.attempt > 1).then_some(args.attempt),
    });
    told.as_object_mut().into_iter().for_each(|all| all.retain(|_, value| !value.is_null()));
    told
}

/// Shards that are named when what is kept of them does not reach far enough.
const NAMED: usize = 20;

/// What is not kept yet, in words.
fn reaches(behind: &[Behind]) -> Vec<String> {
    let mut lines: Vec<String> = behind.iter().take(NAMED).map(Behind::to_string).collect();
    let more = behind.len().saturating_sub(NAMED);
    lines.extend((more > 0).then(|| format!("and {more} shards more, all named by --json")));
    lines
}

/// What a person should know besides, on stderr.
fn hints(args: &ReplayArgs, result: &Replayed) {
    let is_nothing = result.read == 0 && result.sources == 0 && result.failed.is_empty();
    if is_nothing && result.behind.is_empty() {
        eprintln!(
            "nothing is kept of that time: `raw = true` for a stream, or in [lake], keeps what comes from now on"
        );
    }
    reaches(&result.behind).iter().for_each(|line| eprintln!("{line}"));
    if result.adopted > 0 {
        let again = args.attempt.saturating_add(1);
        eprintln!(
            "{} of {} parts had been done before; --attempt {again} does them anew",
            result.adopted, result.sources
        );
    }
}
