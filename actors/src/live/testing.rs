//! What tests of live tables share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shardmill_connectors::embedded::EmbeddedDocuments;

use super::Live;

/// Every table is live; manifests are documents of their own beside the stores in `dir`.
pub(crate) fn live(dir: &Path) -> Live {
    Live {
        texts: Arc::new(EmbeddedDocuments::open(&dir.join("manifests")).unwrap()),
        root: "s3://acme/lake".into(),
        by_default: true,
        by_table: BTreeMap::new(),
        every: Duration::ZERO,
    }
}
