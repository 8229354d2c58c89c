//! Points the catalog at an hour's present generation.

use shardmill_connectors::failure::Failure;
use shardmill_connectors::hour::Hour;
use shardmill_connectors::parquet;

use super::super::catalog::{document, shown};
use crate::shared::Ports;

/// How often it is said again because the hour has moved meanwhile.
const TRIES: usize = 5;

/// Points the catalog where the hour's document says, and reads that back. An owner may switch at the same moment, and of two
/// words the later one holds: when the document has moved, the newer place is said again.
pub(super) async fn point(ports: &Ports, table: &str, hour: Hour) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let state = document(ports, table, hour).await?;
        let file = state.as_ref().and_then(|state| state.files.first());
        let place = file.and_then(|file| Some((file, file.key.rsplit_once('/')?.0)));
        let Some((file, location)) = place else {
            return Err(Failure::rejected(format!("{table}/{hour} has no generation any more")));
        };
        // A file that cannot be read tells no columns; the table is there all the same, unless it was its first.
        if let Ok(reader) = parquet::open(ports.objects.clone(), &file.key).await {
            ports.catalog.ensure_table(table, reader.schema()).await?;
        }
        ports.catalog.set_location(table, hour, location).await?;
        let after = document(ports, table, hour).await?;
        let stays = after.and_then(|after| after.location()).as_deref() == Some(location);
        if stays && shown(ports, table, hour).await?.as_deref() == Some(location) {
            return Ok(());
        }
    }
    Err(Failure::transient(format!("the catalog does not show the present generation of {table}/{hour} yet")))
}
