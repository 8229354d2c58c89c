//! Choosing files by their partition: the filters evaluated on a table of partition values.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use super::provider::{PARTITION, partition_fields};
use crate::hour::Hour;
use crate::ports::LakeFile;

/// The files that rows passing all `filters` can be in.
pub(super) fn prune<'a>(
    state: &dyn Session,
    filters: &[Expr],
    files: &'a [LakeFile],
) -> Result<Vec<&'a LakeFile>> {
    let mut hours: Vec<Hour> =
        files.iter().map(|file| file.hour).collect::<BTreeSet<_>>().into_iter().collect();
    let schema = Arc::new(Schema::new(partition_fields()));
    let columns = DFSchema::try_from(schema.clone())?;
    for filter in filters.iter().filter(|filter| by_partition(filter)) {
        let values = RecordBatch::try_new(schema.clone(), values(&hours))?;
        // What fails here (a subquery, a cast) prunes nothing: it fails again, or does its work, on the rows.
        let Ok(Some(passes)) = evaluate(state, filter, &columns, &values) else { continue };
        hours = hours.into_iter().zip(passes).filter_map(|(hour, passes)| passes.then_some(hour)).collect();
    }
    Ok(files.iter().filter(|file| hours.binary_search(&file.hour).is_ok()).collect())
}

fn by_partition(filter: &Expr) -> bool {
    let columns = filter.column_refs();
    !columns.is_empty()
        && !filter.is_volatile()
        && columns.iter().all(|c| PARTITION.contains(&c.name.as_str()))
}

fn evaluate(
    state: &dyn Session,
    filter: &Expr,
    columns: &DFSchema,
    values: &RecordBatch,
) -> Result<Option<Vec<bool>>> {
    let outcome = state.create_physical_expr(filter.clone(), columns)?.evaluate(values)?;
    let outcome = outcome.into_array(values.num_rows())?;
    if *outcome.data_type() != DataType::Boolean {
        return Ok(None);
    }
    Ok(Some(outcome.as_boolean().iter().map(|passes| passes == Some(true)).collect()))
}

fn values(hours: &[Hour]) -> Vec<ArrayRef> {
    let values: Vec<[String; 4]> = hours.iter().map(|hour| hour.values()).collect();
    let column =
        |i: usize| Arc::new(StringArray::from_iter_values(values.iter().map(|v| v[i].as_str()))) as ArrayRef;
    (0..PARTITION.len()).map(column).collect()
}
