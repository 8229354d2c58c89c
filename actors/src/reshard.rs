//! Splitting and merging shards on an operator's command.

use serde_json::{Value, json};
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Shard, Stream};

use crate::shared::Shared;

/// `{stream, split: SHARD, at: HASH}` (without `at`: in the middle), `{stream, merge: [LEFT, RIGHT]}`, or
/// `{stream, shards: N}` for a target count.
pub async fn run(shared: &Shared, arguments: &Value) -> Result<Value, Failure> {
    reshard(stream(shared, arguments)?, arguments).await
}

async fn reshard(stream: &dyn Stream, arguments: &Value) -> Result<Value, Failure> {
    let given = |key: &str| arguments.get(key).filter(|value| !value.is_null());
    match (given("split"), given("merge"), given("shards")) {
        (Some(shard), None, None) => {
            let open = open_shards(stream).await?;
            let shard = find(&open, shard)?;
            let at = given("at").map_or_else(|| Ok(middle(shard)), hash)?;
            stream.split(&shard.id, at).await?;
        }
        (None, Some(shards), None) => {
            let Some([left, right]) = shards.as_array().map(Vec::as_slice) else {
                return Err(Failure::rejected("`merge` names two shards: [LEFT, RIGHT]"));
            };
            let open = open_shards(stream).await?;
            stream.merge(&find(&open, left)?.id, &find(&open, right)?.id).await?;
        }
        (None, None, Some(target)) => {
            let target = target.as_u64().and_then(|target| usize::try_from(target).ok());
            resize(stream, target.ok_or_else(|| Failure::rejected("`shards` is a count"))?).await?;
        }
        _ => {
            return Err(Failure::rejected(
                "reshard needs one of `shards` (a count), `split` (a shard), `merge` (two shards)",
            ));
        }
    }
    let open = open_shards(stream).await?;
    Ok(
        json!({"stream": stream.name(), "open": open.iter().map(|shard| shard.id.clone()).collect::<Vec<_>>()}),
    )
}

/// A hash key: decimal text, because JSON numbers do not hold 128 bits.
fn hash(value: &Value) -> Result<u128, Failure> {
    let hash = value.as_str().and_then(|text| text.parse().ok());
    hash.ok_or_else(|| {
        Failure::rejected(format!("`at` is a hash key, a 128-bit number as decimal text, not {value}"))
    })
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

fn find<'a>(open: &'a [Shard], id: &Value) -> Result<&'a Shard, Failure> {
    let id = id.as_str().unwrap_or_default();
    open.iter().find(|shard| &*shard.id == id).ok_or_else(|| {
        let known: Vec<&str> = open.iter().map(|shard| &*shard.id).collect();
        Failure::rejected(format!("no open shard `{id}`; open are: {}", known.join(", ")))
    })
}

/// Where the second half of a shard starts.
fn middle(shard: &Shard) -> u128 {
    shard.range.start + (shard.range.end - shard.range.start) / 2 + 1
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
            stream.split(&widest.id, middle(widest)).await?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardmill_connectors::embedded::EmbeddedStream;

    use super::*;

    fn embedded(folder: &tempfile::TempDir, shards: u32) -> EmbeddedStream {
        EmbeddedStream::open(folder.path(), "s", shards, Duration::from_secs(3600)).unwrap()
    }

    async fn ranges(stream: &dyn Stream) -> Vec<(u128, u128)> {
        let open = open_shards(stream).await.unwrap();
        let ranges: Vec<_> = open.iter().map(|shard| (shard.range.start, shard.range.end)).collect();
        assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, u128::MAX));
        assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
        ranges
    }

    #[tokio::test]
    async fn any_count_and_back_covers_every_key_once() {
        let folder = tempfile::tempdir().unwrap();
        let stream = embedded(&folder, 2);
        for count in [7, 16, 3, 1, 2] {
            let answer = reshard(&stream, &json!({"shards": count})).await.unwrap();
            assert_eq!(answer["open"].as_array().unwrap().len(), count);
            assert_eq!(ranges(&stream).await.len(), count);
        }
        assert_eq!(ranges(&stream).await[1].0, 1 << 127, "halves again");
    }

    #[tokio::test]
    async fn a_split_is_where_it_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let stream = embedded(&folder, 1);
        let only = open_shards(&stream).await.unwrap()[0].id.clone();
        let at = u128::MAX / 3;
        reshard(&stream, &json!({"split": only, "at": at.to_string(), "merge": null})).await.unwrap();
        assert_eq!(ranges(&stream).await, [(0, at - 1), (at, u128::MAX)]);
        let open = open_shards(&stream).await.unwrap();
        reshard(&stream, &json!({"merge": [open[0].id, open[1].id]})).await.unwrap();
        assert_eq!(ranges(&stream).await, [(0, u128::MAX)]);
        let only = open_shards(&stream).await.unwrap()[0].id.clone();
        reshard(&stream, &json!({"split": only, "at": null})).await.unwrap();
        assert_eq!(ranges(&stream).await[1].0, 1 << 127);
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let stream = embedded(&folder, 2);
        let first = open_shards(&stream).await.unwrap()[0].id.clone();
        let before = ranges(&stream).await;
        for wrong in [
            json!({}),
            json!({"shards": 0}),
            json!({"shards": 1_001}),
            json!({"shards": "4"}),
            json!({"shards": 3, "split": first}),
            json!({"split": "nobody"}),
            json!({"split": first, "at": "middle"}),
            json!({"split": first, "at": 5}),
            json!({"split": first, "at": u128::MAX.to_string()}),
            json!({"merge": [first]}),
            json!({"merge": [first, "nobody"]}),
        ] {
            let failure = reshard(&stream, &wrong).await.unwrap_err();
            assert_eq!(failure.class, shardmill_connectors::failure::Class::Rejected, "{wrong}");
        }
        assert_eq!(ranges(&stream).await, before);
    }
}
