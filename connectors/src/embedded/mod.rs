//! The embedded backends: every port on SQLite databases and plain files below one data directory, nothing to set up.
//!
//! ```text
//! <data-dir>/streams/<name>.db   stream      records, shards
//! <data-dir>/state.db            documents   compare-and-set state
//! <data-dir>/queues.db           queue       dead letters, notices
//! <data-dir>/catalog.db          catalog     tables, partitions
//! <data-dir>/objects/            objects     the lake's files
//! <data-dir>/raw/<bucket>/       raw files   of others, announced by notices
//! <data-dir>/nodes/<id>.lock     liveness    held while the process lives
//! ```
//!
//! Several processes may share the directory: SQLite's locks and hard links decide who wins, never a guess about another
//! process. Whatever was answered is on disk, so that `kill -9` and a full disk lose nothing; after a full disk the next
//! attempt works as soon as there is space again.

mod buffers;
pub mod catalog;
pub mod catalog_store;
mod disk;
pub mod documents;
pub mod files;
pub mod lock;
pub mod queue;
pub mod raw;
pub mod sql;
mod sqlite;
pub mod stream;

pub use catalog::EmbeddedCatalog;
pub use catalog_store::CatalogStore;
pub use documents::EmbeddedDocuments;
pub use files::EmbeddedObjects;
pub use lock::NodeLock;
pub use queue::{EmbeddedQueue, EmbeddedQueues};
pub use raw::EmbeddedRaw;
pub use stream::EmbeddedStream;
