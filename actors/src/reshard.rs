//! Splitting and merging shards on an operator's command.

use serde_json::{Value, json};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Shard, Stream};

use crate::shared::Shared;

/// `{stream, split: SHARD}`, `{stream, merge: [LEFT, RIGHT]}`, or `{stream, shards: N}` for a target count.
pub async fn run(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    let stream = stream(shared, arguments)?;
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    if let Some(shard) = text("split") {
        let open = open_shards(stream).await?;
        split(stream, find(&open, shard)?).await?;
    } else if let Some([left, right]) = arguments.get("merge").and_then(Value::as_array).map(Vec::as_slice) {
        let open = open_shards(stream).await?;
        let (left, right) = (left.as_str().unwrap_or_default(), right.as_str().unwrap_or_default());
        stream.merge(&find(&open, left)?.id, &find(&open, right)?.id).await?;
    } else if let Some(target) = arguments.get("shards").and_then(Value::as_u64) {
        resize(stream, usize::try_from(target).unwrap_or(usize::MAX)).await?;
    } else {
        return Err(Failure::rejected(
            "reshard needs `shards` (a count), `split` (a shard) or `merge` (two shards)",
        ));
    }
    let open = open_shards(stream).await?;
    Ok(
        json!({"stream": stream.name(), "open": open.iter().map(|shard| shard.id.clone()).collect::<Vec<_>>()}),
    )
}

fn stream<'a>(shared: &'a Shared, arguments: &Value) -> Result<&'a dyn Stream, Failure> {
    let known: Vec<&str> = shared.streams.keys().map(String::as_str).collect();
    let named = arguments.get("stream").and_then(Value::as_str);
    let name = match (named, known.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only,
        (None, _) => return Err(Failure::rejected(format!("which stream? one of: {}", known.join(", ")))),
    };
    let settings = shared.streams.get(name);
    settings
        .map(|settings| settings.stream.as_ref())
        .ok_or_else(|| Failure::rejected(format!("no stream `{name}`; there are: {}", known.join(", "))))
}

/// The open shards in order of their ranges.
async fn open_shards(stream: &dyn Stream) -> Result<Vec<Shard>, Failure> {
    let mut open: Vec<Shard> = stream.shards().await?.into_iter().filter(|shard| !shard.closed).collect();
    open.sort_by_key(|shard| shard.range.start);
    Ok(open)
}

fn find<'a>(open: &'a [Shard], id: &str) -> Result<&'a Shard, Failure> {
    open.iter().find(|shard| &*shard.id == id).ok_or_else(|| {
        let known: Vec<&str> = open.iter().map(|shard| &*shard.id).collect();
        Failure::rejected(format!("no open shard `{id}`; open are: {}", known.join(", ")))
    })
}

async fn split(stream: &dyn Stream, shard: &Shard) -> Result<(), Failure> {
    let middle = shard.range.start + (shard.range.end - shard.range.start) / 2 + 1;
    stream.split(&shard.id, middle).await
}

/// Splits the widest or merges the two narrowest neighbours until there are `target` open shards.
async fn resize(stream: &dyn Stream, target: usize) -> Result<(), Failure> {
    if !(1..=1000).contains(&target) {
        return Err(Failure::rejected(format!("{target} shards: from 1 to 1000 are possible")));
    }
    loop {
        let open = open_shards(stream).await?;
        let width = |shard: &Shard| shard.range.end - shard.range.start;
        if open.len() < target {
            let Some(widest) = open.iter().max_by_key(|shard| width(shard)) else { return Ok(()) };
            split(stream, widest).await?;
        } else if open.len() > target {
            let narrowest =
                open.windows(2).min_by_key(|pair| width(&pair[0]).saturating_add(width(&pair[1])));
            let Some([left, right]) = narrowest else { return Ok(()) };
            stream.merge(&left.id, &right.id).await?;
        } else {
            return Ok(());
        }
    }
}
