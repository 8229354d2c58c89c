//! Shows an hour in its live table: writes its manifest anew, and registers its partition.

use shardmill_cluster::Cell;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::hour::Hour;
use shardmill_connectors::layout;

use super::{Tools, passed_on};
use crate::lake;
use crate::live::{Live, anew};
use crate::shared::Ports;
use crate::state::HourState;
use crate::world::Inputs;

/// Writes the manifest, then shows the partition; an hour that is shown for the first time is written down as such, so that whoever owns
/// it next keeps its manifest.
pub(super) async fn show(ports: &Ports, tools: &Tools, table: &str, hour: Hour) -> Result<(), Failure> {
    let Some(live) = &ports.live else { return Err(Failure::rejected("no table is live here")) };
    let key = layout::documents::hour(table, hour);
    let mut cell: Cell<HourState> = Cell::load(ports.documents.clone(), key).await?;
    let state =
        cell.state().cloned().ok_or_else(|| Failure::rejected("the hour has no document any more"))?;
    if state.live {
        return again(ports, live, table, hour).await;
    }
    // Written down first: from now on no owner replaces what the manifest names without saying so there.
    let ownership = passed_on(tools, &state.ownership).await?;
    let opened = HourState { ownership, live: true, ..state };
    cell.replace(opened).await.map_err(|failure| match failure.class {
        Class::Fenced => Failure::rejected(format!("{table}/{hour} has moved on: verify again")),
        _ => failure,
    })?;
    again(ports, live, table, hour).await
}

/// The same of an hour whose document says that it is shown.
async fn again(ports: &Ports, live: &Live, table: &str, hour: Hour) -> Result<(), Failure> {
    let state = anew::anew(ports, live, table, hour).await?;
    let files = lake::files(&state, &Inputs::default());
    let columns = lake::columns(ports, (table, None), &files).await?;
    live.register(ports.catalog.as_ref(), (table, hour), &columns).await
}
