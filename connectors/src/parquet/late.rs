//! De-duplication of late rows by identity: what is there first wins.

use std::collections::HashSet;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;

use super::origin::{IDENTITY, Origins};
use super::read::FileReader;
use super::verify::scan;
use crate::failure::Failure;
use crate::setsum::Tally;

/// The identities of late rows that have no row in the result yet.
#[derive(Debug, Default)]
pub(super) struct Absent(HashSet<u128>);

impl Absent {
    /// Takes in the identities of a late file.
    pub(super) async fn collect(&mut self, late: &FileReader) -> Result<(), Failure> {
        scan(late, Some(&IDENTITY), |origins| self.0.extend(origins.identities())).await
    }

    /// Strikes out what `present`, a file of the result, holds already.
    pub(super) async fn strike(&mut self, present: &FileReader) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let strike = |origins: &Origins| {
            for identity in origins.identities() {
                self.0.remove(&identity);
            }
        };
        scan(present, Some(&IDENTITY), strike).await
    }

    /// The rows of a late batch that are in no file and in no earlier late batch, and the tally of the others.
    pub(super) fn admit(
        &mut self,
        batch: &RecordBatch,
        origins: &Origins,
    ) -> Result<(RecordBatch, Tally), Failure> {
        let mut dropped = Tally::default();
        let mut keep = Vec::with_capacity(batch.num_rows());
        for identity in origins.identities() {
            let first = self.0.remove(&identity);
            if !first {
                dropped.insert(identity);
            }
            keep.push(first);
        }
        let kept = filter_record_batch(batch, &BooleanArray::from(keep));
        Ok((kept.map_err(|e| Failure::crashed(format!("filtering late rows: {e}")))?, dropped))
    }
}
