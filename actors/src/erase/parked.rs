//! What lanes hold apart, without the person: an object is written anew, and the shard's document names that one.
//!
//! It belongs to the shard's owner, and is changed as a take and a release in one, only while nobody who lives owns the shard. The
//! events that are gone were neither delivered nor given up: the lane counts them as never routed.

use shardmill_cluster::Cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::layout;
use uuid::Uuid;

use super::removals::{Removal, Removals};
use super::whom::Whom;
use super::{Erase, Report};
use crate::lane::parking::{self, ParkedEvent};
use crate::state::ShardState;
use crate::state::lane::Parked;
use crate::verify::repair::passed_on;
use crate::world::Reader;

/// Erases in what every lane holds apart. A shard that cannot be touched keeps no other from being tried.
pub(super) async fn erase(
    with: &Erase<'_>,
    whom: &Whom,
    removals: &Removals,
    report: &mut Report,
) -> Result<(), Failure> {
    let world = Reader::default().read(with.ports.documents.as_ref()).await?;
    for shard in world.shards.values() {
        for (lane, state) in &shard.lanes {
            let Some(parked) = &state.parked else { continue };
            match one(with, (whom, removals), (shard, lane, parked), report).await {
                Err(failure) if matches!(failure.class, Class::Rejected | Class::Fenced) => {
                    report.not_reached.push(format!(
                        "what the lane to {lane} of {} holds apart, in {}, belongs to a node: run the same command again later, or with the nodes stopped",
                        shard.name(),
                        parked.object
                    ));
                }
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

async fn one(
    with: &Erase<'_>,
    (whom, removals): (&Whom, &Removals),
    (shard, lane, parked): (&ShardState, &str, &Parked),
    report: &mut Report,
) -> Result<(), Failure> {
    let objects = with.ports.objects.as_ref();
    let (kept, out) = match split(with, whom, &parked.object).await {
        Err(failure) if is_damaged(with, &failure, &parked.object).await? => {
            report.cannot_read(&parked.object, &failure.detail);
            return Ok(());
        }
        split => split?,
    };
    if out == 0 || with.dry_run {
        report.parked += out;
        return Ok(());
    }
    let key = layout::documents::shard(&shard.stream, &shard.shard);
    let mut cell: Cell<ShardState> = Cell::load(with.ports.documents.clone(), key).await?;
    let Some(mut next) = cell.state().cloned() else { return Ok(()) };
    next.ownership = passed_on(with.tools, &next.ownership).await?;
    let Some(state) = next.lanes.get_mut(lane).filter(|state| state.parked.as_ref() == Some(parked)) else {
        return Err(Failure::rejected("the lane has moved on"));
    };
    state.counts.routed = state.counts.routed.saturating_sub(out);
    state.parked = None;
    let random = Uuid::new_v4().simple().to_string();
    let object = layout::parked(&shard.stream, &shard.shard, next.ownership.epoch, &random, lane);
    removals.announce(vec![Removal::one(&parked.object, &object)]).await?;
    if !kept.is_empty() {
        objects.put(&object, parking::to_bytes(&kept)?.into()).await?;
        state.parked = Some(Parked { object, keys: parking::keys(&kept), events: kept.len() as u64 });
        report.objects_rewritten += 1;
    }
    cell.replace(next).await?;
    report.parked += out;
    Ok(())
}

/// The events of an object without the person's, and how many those are.
async fn split(with: &Erase<'_>, whom: &Whom, object: &str) -> Result<(Vec<ParkedEvent>, u64), Failure> {
    let (mut kept, mut out) = (Vec::new(), 0);
    for event in parking::load(with.ports.objects.as_ref(), object).await? {
        match whom.is_event(&event.data()?, &event.partition_key, event.origin.arrived_at) {
            true => out += 1,
            false => kept.push(event),
        }
    }
    Ok((kept, out))
}

/// Whether an object that could not be read is damaged, and not only gone because its lane has moved on.
async fn is_damaged(with: &Erase<'_>, failure: &Failure, object: &str) -> Result<bool, Failure> {
    Ok(matches!(failure.class, Class::Rejected | Class::Crashed)
        && with.ports.objects.head(object).await?.is_some())
}
