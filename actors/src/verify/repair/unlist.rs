//! Takes an entry that is counted twice from a shard's list.

use shardmill_cluster::Cell;
use shardmill_connectors::failure::Failure;

use super::super::books::{self, Verdict};
use super::{Tools, passed_on};
use crate::shared::Ports;
use crate::state::ShardState;
use crate::world::Reader;

/// Takes the last entry with this number and object away, if the books say, with the document as it is now, that it is counted
/// twice.
pub(super) async fn unlist(
    ports: &Ports,
    tools: &Tools,
    shard: &str,
    (number, key): (u64, &str),
) -> Result<(), Failure> {
    let mut cell: Cell<ShardState> = Cell::load(ports.documents.clone(), format!("shards/{shard}")).await?;
    let Some(state) = cell.state().cloned() else {
        return Err(Failure::rejected(format!("{shard} has no document any more")));
    };
    let ownership = passed_on(tools, &state.ownership).await?;
    // The hours after the shard: the order in which books can be judged.
    let world = Reader::default().read(ports.documents.as_ref()).await?;
    let in_hours = books::in_hours(&world).remove(shard).unwrap_or_default();
    let doubled = match books::judge(&state, &world, &in_hours) {
        Verdict::Doubled(segment) => segment.number == number && segment.key == key,
        _ => false,
    };
    let place = state.segments.iter().rposition(|segment| segment.number == number && segment.key == key);
    let Some(place) = place.filter(|_| doubled) else {
        return Err(Failure::rejected(format!("{shard} has moved on: verify again")));
    };
    let mut next = ShardState { ownership, ..state };
    next.segments.remove(place);
    cell.replace(next).await
}
