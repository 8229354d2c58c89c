//! Our side's work, each piece in a process of its own, so that the account of the operating system is all of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use shardmill_connectors::embedded::EmbeddedObjects;
use shardmill_connectors::parquet::Input;
use shardmill_connectors::ports::Objects;
use shardmill_connectors::schema::TableSchema;
use shardmill_connectors::setsum::Tally;

use super::filled;
use super::stream::servers;
use crate::work;

/// What is recorded of the segments in a store's folder.
const RECORDED: &str = "inputs.json";

/// Our side of the comparison.
#[derive(Debug, clap::Subcommand)]
pub enum Peer {
    /// A file of events to Parquet files of the built-in table
    Convert {
        /// The events
        events: PathBuf,
        /// The store's folder
        folder: PathBuf,
        /// How many files
        files: usize,
    },
    /// A file of events to one Parquet file of another table
    ConvertAs {
        /// The table's schema
        schema: PathBuf,
        /// The events
        events: PathBuf,
        /// The store's folder
        folder: PathBuf,
    },
    /// Segments to one file
    Compact {
        /// The store's folder, with what was recorded of the segments
        folder: PathBuf,
        /// The folder of the new file
        into: String,
    },
    /// A file of events into the embedded stream of a new data directory
    Fill {
        /// The events
        events: PathBuf,
        /// The data directory
        data: PathBuf,
    },
    /// A whole Kinesis stream to Parquet files in S3, plainly; a peer, not our side
    Copy {
        /// The stream
        stream: String,
        /// The bucket
        bucket: String,
    },
    /// Kinesis and Athena for the comparison of streams; ends with its standard input
    Servers {
        /// Where S3 is
        storage: String,
    },
}

/// Does our side's work.
///
/// # Errors
/// Why it cannot be done; an event that breaks its schema is such a reason.
pub async fn peer(work: Peer) -> Result<(), String> {
    match work {
        Peer::Convert { events, folder, files } => {
            work::convert(&TableSchema::builtin(), &events, &folder, files).await
        }
        Peer::ConvertAs { schema, events, folder } => {
            work::convert(&Arc::new(load(&schema)?), &events, &folder, 1).await
        }
        Peer::Compact { folder, into } => compact(&folder, &into).await,
        Peer::Fill { events, data } => filled::fill(&events, &data).await,
        Peer::Copy { stream, bucket } => {
            shardmill_peer_plain::copy(TableSchema::builtin().arrow(), &stream, &bucket).await
        }
        Peer::Servers { storage } => servers::be(&storage).await,
    }
}

/// A schema from its file.
pub(super) fn load(file: &Path) -> Result<TableSchema, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    TableSchema::load(&text).map_err(|problems| format!("{shown}: {problems:?}"))
}

/// Writes down what each segment holds, as the documents of a node do.
pub(super) async fn record(folder: &Path, segments: usize) -> Result<(), String> {
    let keys: Vec<String> = (0..segments).map(work::segment).collect();
    let inputs = work::inputs(&store(folder)?, &keys).await.map_err(|failure| failure.to_string())?;
    let recorded: Vec<(String, Tally)> = inputs.into_iter().map(|input| (input.key, input.tally)).collect();
    std::fs::write(folder.join(RECORDED), json!(recorded).to_string()).map_err(|error| error.to_string())
}

async fn compact(folder: &Path, into: &str) -> Result<(), String> {
    let text = std::fs::read(folder.join(RECORDED)).map_err(|error| error.to_string())?;
    let recorded: Vec<(String, Tally)> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let inputs = recorded.into_iter().map(|(key, tally)| Input { key, tally }).collect();
    let done = work::compact(store(folder)?, into, inputs, work::snappy()).await;
    done.map(drop).map_err(|failure| failure.to_string())
}

fn store(folder: &Path) -> Result<Arc<dyn Objects>, String> {
    Ok(Arc::new(EmbeddedObjects::open(folder).map_err(|failure| failure.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_table_can_be_converted_and_what_breaks_its_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let schema = Arc::new(
            TableSchema::load(r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#).unwrap(),
        );
        let events = folder.path().join("events.ndjson");
        std::fs::write(&events, "{\"a\":1}\n{\"a\":2}\n").unwrap();
        work::convert(&schema, &events, folder.path(), 1).await.unwrap();
        let inputs = work::inputs(&store(folder.path()).unwrap(), &[work::segment(0)]).await.unwrap();
        assert_eq!(inputs[0].tally.rows, 2);
        std::fs::write(&events, "{\"a\":1}\n{\"a\":\"x\"}\n").unwrap();
        let other = tempfile::tempdir().unwrap();
        assert!(work::convert(&schema, &events, other.path(), 1).await.is_err());
    }
}
