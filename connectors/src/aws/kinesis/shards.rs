//! The shards: listing, splitting and merging them.

use std::time::Duration;

use aws_sdk_kinesis::types::{Shard as Listed, StreamDescriptionSummary, StreamStatus};
use tokio::time::Instant;

use super::Inner;
use super::fault::{self, Missing};
use crate::failure::Failure;
use crate::ports::{HashRange, Shard};
use crate::record::ShardId;

/// Between two looks whether a change is done: DescribeStreamSummary may be called 20 times a second by a whole account.
const LOOK: Duration = Duration::from_millis(300);
/// How long a change may take. Kinesis takes about half a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// Every shard that still holds records or takes some.
pub(super) async fn list(stream: &Inner) -> Result<Vec<Shard>, Failure> {
    let mut shards: Vec<Shard> = Vec::new();
    loop {
        // By the last shard's name, not by the token: a token is good for five minutes only.
        let after = shards.last().map(|shard| shard.id.to_string());
        let call = stream.client.list_shards().stream_name(&*stream.name).set_exclusive_start_shard_id(after);
        let call = call.max_results(stream.options.list_shards);
        let page = call.send().await.map_err(|error| {
            let doing = format!("listing the shards of `{}` (kinesis:ListShards)", stream.name);
            fault::failure(&doing, &error, Missing::Stream)
        })?;
        let more = page.next_token.is_some();
        let before = shards.len();
        for listed in page.shards.unwrap_or_default() {
            shards.push(shard(listed)?);
        }
        if !more {
            return Ok(shards);
        }
        if shards.len() == before {
            return Err(Failure::transient(format!("a page of the shards of `{}` is empty", stream.name)));
        }
    }
}

fn shard(listed: Listed) -> Result<Shard, Failure> {
    let wrong = |what: &str| Failure::crashed(format!("{} is listed without {what}", listed.shard_id));
    let range = listed.hash_key_range.as_ref().ok_or_else(|| wrong("a range"))?;
    let number = |text: &str| text.parse::<u128>().map_err(|_| wrong("a range of numbers"));
    let range = HashRange { start: number(&range.starting_hash_key)?, end: number(&range.ending_hash_key)? };
    let sequences = listed.sequence_number_range.as_ref().ok_or_else(|| wrong("sequence numbers"))?;
    let closed = sequences.ending_sequence_number.is_some();
    let parents = [listed.parent_shard_id, listed.adjacent_parent_shard_id];
    let parents =
        parents.into_iter().flatten().filter(|parent| !parent.is_empty()).map(ShardId::from).collect();
    Ok(Shard { id: listed.shard_id.into(), parents, range, closed })
}

/// What the stream says about itself.
pub(super) async fn describe(
    client: &aws_sdk_kinesis::Client,
    name: &str,
) -> Result<StreamDescriptionSummary, Failure> {
    let region = client.config().region().map(|region| format!(" in {region}")).unwrap_or_default();
    let doing = format!("describing the stream `{name}`{region} (kinesis:DescribeStreamSummary)");
    let told = client.describe_stream_summary().stream_name(name).send().await;
    let told = told.map_err(|error| fault::failure(&doing, &error, Missing::Stream))?;
    told.stream_description_summary.ok_or_else(|| Failure::transient(format!("{doing}: the answer is empty")))
}

/// Splits a shard; done when its children are there.
pub(super) async fn split(stream: &Inner, shard: &ShardId, at: u128) -> Result<(), Failure> {
    may_split(&list(stream).await?, shard, at)?;
    let call = stream.client.split_shard().stream_name(&*stream.name).shard_to_split(&**shard);
    call.new_starting_hash_key(at.to_string()).send().await.map_err(|error| {
        let doing = format!("splitting {shard} of `{}` (kinesis:SplitShard)", stream.name);
        fault::failure(&doing, &error, Missing::Shard)
    })?;
    active(stream).await
}

/// Merges two shards, given in either order; done when their child is there.
pub(super) async fn merge(stream: &Inner, left: &ShardId, right: &ShardId) -> Result<(), Failure> {
    may_merge(&list(stream).await?, left, right)?;
    let call = stream.client.merge_shards().stream_name(&*stream.name);
    call.shard_to_merge(&**left).adjacent_shard_to_merge(&**right).send().await.map_err(|error| {
        let doing = format!("merging {left} with {right} of `{}` (kinesis:MergeShards)", stream.name);
        fault::failure(&doing, &error, Missing::Shard)
    })?;
    active(stream).await
}

/// Refuses what can't be split. Kinesis refuses it too, but in part with the error that it has for a stream that is busy.
fn may_split(shards: &[Shard], id: &ShardId, at: u128) -> Result<(), Failure> {
    let HashRange { start, end } = open(shards, id)?.range;
    if at <= start || at > end {
        return Err(Failure::rejected(format!(
            "cannot split {id} at {at}: it must lie within {start} to {end} and leave keys on both sides"
        )));
    }
    Ok(())
}

/// Refuses what can't be merged.
fn may_merge(shards: &[Shard], left: &ShardId, right: &ShardId) -> Result<(), Failure> {
    let (one, two) = (open(shards, left)?.range, open(shards, right)?.range);
    let (low, high) = if one.start <= two.start { (one, two) } else { (two, one) };
    if low.end.checked_add(1) != Some(high.start) {
        return Err(Failure::rejected(format!(
            "cannot merge {left} with {right}: their ranges are not adjacent"
        )));
    }
    Ok(())
}

fn open<'a>(shards: &'a [Shard], id: &ShardId) -> Result<&'a Shard, Failure> {
    match shards.iter().find(|shard| shard.id == *id) {
        Some(shard) if shard.closed => Err(Failure::rejected(format!("{id} is closed already"))),
        Some(shard) => Ok(shard),
        None => Err(Failure::rejected(format!("there is no shard {id}"))),
    }
}

/// Waits until the stream has changed its shards as it was told to.
async fn active(stream: &Inner) -> Result<(), Failure> {
    let since = Instant::now();
    while describe(&stream.client, &stream.name).await?.stream_status != StreamStatus::Active {
        if since.elapsed() > PATIENCE {
            return Err(Failure::transient(format!(
                "the stream `{}` has not finished changing its shards after {} s; it goes on by itself",
                stream.name,
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::types::{HashKeyRange, SequenceNumberRange};

    use super::*;

    fn listed(end: &str) -> Listed {
        let range = HashKeyRange::builder().starting_hash_key("5").ending_hash_key(end).build().unwrap();
        let sequences = SequenceNumberRange::builder().starting_sequence_number("1");
        let sequences = sequences.ending_sequence_number("2").build().unwrap();
        let shard =
            Listed::builder().shard_id("shardId-000000000002").parent_shard_id("shardId-000000000000");
        let shard = shard.adjacent_parent_shard_id("shardId-000000000001").hash_key_range(range);
        shard.sequence_number_range(sequences).build().unwrap()
    }

    #[test]
    fn a_listed_shard_is_understood() {
        let expected = Shard {
            id: "shardId-000000000002".into(),
            parents: vec!["shardId-000000000000".into(), "shardId-000000000001".into()],
            range: HashRange { start: 5, end: u128::MAX },
            closed: true,
        };
        assert_eq!(shard(listed(&u128::MAX.to_string())).unwrap(), expected);
        assert!(shard(listed("340282366920938463463374607431768211456")).is_err());
    }

    #[test]
    fn changes_that_cannot_be_made_are_refused() {
        let shard = |id: &str, start, end, closed| Shard {
            id: id.into(),
            parents: Vec::new(),
            range: HashRange { start, end },
            closed,
        };
        let shards = [
            shard("old", 0, 99, true),
            shard("a", 0, 9, false),
            shard("b", 10, 10, false),
            shard("c", 11, u128::MAX, false),
        ];
        for (id, at, fine) in [
            ("a", 0, false),
            ("a", 1, true),
            ("a", 9, true),
            ("a", 10, false),
            ("b", 10, false),
            ("old", 5, false),
            ("x", 5, false),
        ] {
            assert_eq!(may_split(&shards, &id.into(), at).is_ok(), fine, "{id} at {at}");
        }
        for (left, right, fine) in [
            ("a", "b", true),
            ("b", "a", true),
            ("a", "c", false),
            ("c", "c", false),
            ("old", "a", false),
            ("a", "x", false),
        ] {
            assert_eq!(may_merge(&shards, &left.into(), &right.into()).is_ok(), fine, "{left} {right}");
        }
    }
}
