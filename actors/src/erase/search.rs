//! The proof of an erasure: every object there is, decoded, and nothing of the person in it.

use std::collections::BTreeSet;

use futures::StreamExt;
use shardmill_connectors::backup::Unpacker;
use shardmill_connectors::erasure::Sieves;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use shardmill_connectors::parquet::{self, sift};
use shardmill_connectors::uuids;

use super::whom::Whom;
use super::{Left, Report};
use crate::dead_letters::lines::Lines;
use crate::shared::Ports;
use crate::sweeper;

/// Objects read at once.
const TOGETHER: usize = 4;

/// What was found in an object.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    /// Events of the person.
    events: u64,
    /// Texts that hold the value in an event of somebody else.
    mentions: u64,
}

/// Reads every object and reports where something is left. What nobody names any more is deleted first, as nodes would do.
pub(super) async fn search(
    ports: &Ports,
    with: (&Whom, &Sieves),
    report: &mut Report,
) -> Result<(), Failure> {
    let survey = sweeper::survey(ports).await?;
    for key in &survey.abandoned {
        ports.objects.delete(key).await?;
    }
    report.objects_deleted += survey.abandoned.len() as u64;
    let waiting: BTreeSet<&String> = survey.world.hours.values().flat_map(|hour| &hour.garbage).collect();
    let objects = ports.objects.list("").await?.into_iter().map(|object| object.key);
    let looks = objects.filter(|key| !waiting.contains(key)).map(|key| async move {
        let found = look(ports, with, &key).await;
        (key, found)
    });
    let mut looks = futures::stream::iter(looks).buffered(TOGETHER);
    while let Some((object, found)) = looks.next().await {
        let found = match found {
            // It is damaged: nobody can say what is in it.
            Err(failure) if failure.class == Class::Rejected => {
                report.cannot_read(&object, &failure.detail);
                continue;
            }
            found => found?,
        };
        report.mentions += u64::from(found.mentions > 0);
        if found.events > 0 {
            report.found_after += found.events;
            report.left.push(Left { object, events: found.events });
        }
    }
    Ok(())
}

async fn look(ports: &Ports, (whom, sieves): (&Whom, &Sieves), key: &str) -> Result<Found, Failure> {
    let found = match key.rsplit_once('.') {
        Some((_, "parquet")) => rows(ports, (whom, sieves), key).await,
        Some((_, "zst")) if key.starts_with(layout::RAW) => raw(ports, whom, key).await,
        Some((_, "ndjson")) => lines(ports, whom, key).await,
        _ => plain(ports, whom, key).await,
    };
    match found {
        // Deleted since it was listed.
        Err(failure) if failure.class == Class::Rejected && ports.objects.head(key).await?.is_none() => {
            Ok(Found::default())
        }
        found => found,
    }
}

async fn rows(ports: &Ports, (whom, sieves): (&Whom, &Sieves), key: &str) -> Result<Found, Failure> {
    let sieve = sieves.of(layout::table_of(key).unwrap_or_default());
    let events = sift::count(&ports.objects, key, &sieve).await?;
    let file = parquet::open(ports.objects.clone(), key).await?;
    let (mut batches, mut mentions) = (file.batches(None)?, 0);
    while let Some(batch) = batches.next().await? {
        let mentioned = |column: &arrow::array::ArrayRef| {
            let texts = uuids::readable_column(column);
            let texts = texts.as_any().downcast_ref::<arrow::array::StringArray>();
            texts.is_some_and(|texts| texts.iter().flatten().any(|text| whom.is_mentioned(text.as_bytes())))
        };
        mentions += u64::from(batch.columns().iter().any(mentioned));
    }
    Ok(Found { events, mentions })
}

/// A raw backup, whatever any document says of it.
async fn raw(ports: &Ports, whom: &Whom, key: &str) -> Result<Found, Failure> {
    let damaged = |what: String| Failure::rejected(format!("the raw backup {key} cannot be read: {what}"));
    let mut unpacker = Unpacker::default();
    unpacker.feed(ports.objects.get(key).await?);
    let mut found = Found::default();
    while let Some(kept) = unpacker.record().map_err(damaged)? {
        match whom.is_event(&kept.data, &kept.key, kept.origin.arrived_at) {
            true => found.events += 1,
            false => found.mentions += u64::from(whom.is_mentioned(&kept.data)),
        }
    }
    unpacker.finish().map_err(damaged)?;
    Ok(found)
}

async fn lines(ports: &Ports, whom: &Whom, key: &str) -> Result<Found, Failure> {
    let mut lines = Lines::open(ports.objects.clone(), key).await?;
    let mut found = Found::default();
    while let Some(line) = lines.line().await? {
        match whom.is_line(&line) {
            true => found.events += 1,
            false => found.mentions += u64::from(whom.is_mentioned_in_line(&line)),
        }
    }
    Ok(found)
}

async fn plain(ports: &Ports, whom: &Whom, key: &str) -> Result<Found, Failure> {
    let bytes = ports.objects.get(key).await?;
    Ok(Found { events: 0, mentions: u64::from(whom.is_mentioned(&bytes)) })
}
