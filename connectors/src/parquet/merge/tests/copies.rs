//! What is copied stays as it was; what is small is gathered; what is large is cut.

use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, ParquetOffsetIndex,
};

use super::*;

/// An object's bytes and its footer with the page indexes.
pub(super) async fn dissected(objects: &Memory, key: &str) -> (bytes::Bytes, ParquetMetaData) {
    let bytes = objects.get(key).await.unwrap();
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let footer = reader.parse_and_finish(&bytes).unwrap();
    (bytes, footer)
}

/// A chunk's bytes in its file.
pub(super) fn chunk<'a>(bytes: &'a bytes::Bytes, chunk: &ColumnChunkMetaData) -> &'a [u8] {
    let (start, length) = chunk.byte_range();
    &bytes[start as usize..(start + length) as usize]
}

/// Where a chunk's pages begin, relative to the chunk, and their first rows.
fn pages(
    index: &ParquetOffsetIndex,
    (group, column): (usize, usize),
    chunk: &ColumnChunkMetaData,
) -> Vec<(i64, i64)> {
    let start = chunk.byte_range().0 as i64;
    let pages = index[group][column].page_locations().iter();
    pages.map(|page| (page.offset - start, page.first_row_index)).collect()
}

#[tokio::test]
async fn copied_row_groups_keep_their_bytes_statistics_and_page_indexes() {
    let objects = Memory::shared();
    let inputs = two_segments(&objects).await;
    let merged = merge(request(&objects, inputs, copying())).await.unwrap();
    assert_eq!((merged.files.len(), merged.files[0].encoded.len()), (1, 0));
    prove(&objects, &merged).await;

    let (new_bytes, new) = dissected(&objects, &merged.files[0].key).await;
    let mut at = 0;
    for key in ["one", "two"] {
        let (old_bytes, old) = dissected(&objects, key).await;
        for (group, rows) in old.row_groups().iter().enumerate() {
            assert_eq!(new.row_group(at).num_rows(), rows.num_rows());
            assert_eq!(new.row_group(at).total_byte_size(), rows.total_byte_size());
            for (column, was) in rows.columns().iter().enumerate() {
                let is = new.row_group(at).column(column);
                assert_eq!(chunk(&new_bytes, is), chunk(&old_bytes, was));
                assert!(was.statistics().is_some() && is.statistics() == was.statistics());
                assert_eq!(is.page_encoding_stats_mask(), was.page_encoding_stats_mask());
                assert_eq!(is.definition_level_histogram(), was.definition_level_histogram());
                let indexes =
                    |of: &ParquetMetaData, group: usize| of.column_index().unwrap()[group][column].clone();
                assert_eq!(indexes(&new, at), indexes(&old, group));
                let (news, olds) = (new.offset_index().unwrap(), old.offset_index().unwrap());
                assert_eq!(pages(news, (at, column), is), pages(olds, (group, column), was));
            }
            at += 1;
        }
    }
    assert_eq!((new.num_row_groups(), at), (4, 4));
}

#[tokio::test]
async fn small_row_groups_are_gathered_up_to_the_row_groups_size() {
    let objects = Memory::shared();
    let inputs = two_segments(&objects).await;
    let merged = merge(request(&objects, inputs, gathering())).await.unwrap();
    let new = open(objects.clone(), &merged.files[0].key).await.unwrap();
    assert_eq!((new.row_groups(), merged.files[0].encoded.as_slice()), (3, [0, 1, 2].as_slice()));
    assert_eq!(sequences(&objects, &merged).await, (0..25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_segment_is_fetched_whole_once() {
    let objects = Memory::shared();
    let inputs = two_segments(&objects).await;
    for options in [copying(), gathering()] {
        let before = objects.reads();
        let merged = merge(request(&objects, inputs.clone(), options)).await.unwrap();
        assert_eq!(objects.reads() - before, 2 * 2, "the footer, to plan; then all of it");
        objects.delete(&merged.files[0].key).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_written_is_copied_again() {
    let objects = Memory::shared();
    let inputs = two_segments(&objects).await;
    let mut merged = merge(request(&objects, inputs, gathering())).await.unwrap();
    for generation in 0..3 {
        let base =
            merged.files.iter().map(|f| Input { key: f.key.clone(), tally: f.summary.tally }).collect();
        let late = segment(&objects, &format!("late-{generation}"), &[100 + generation]).await;
        let folder = format!("next-{generation}");
        let inputs = [base, vec![], vec![late]];
        merged = merge(MergeRequest { folder, ..request(&objects, inputs, copying()) }).await.unwrap();
        assert!(merged.files[0].encoded.is_empty());
        prove(&objects, &merged).await;
    }
    assert_eq!(merged.tally().rows, 28);
}

#[tokio::test]
async fn a_large_result_is_cut_into_parts() {
    let objects = Memory::shared();
    let inputs = two_segments(&objects).await;
    for options in [copying(), gathering()] {
        let options = WriteOptions { part_bytes: 1, ..options };
        let merged = merge(request(&objects, inputs.clone(), options)).await.unwrap();
        let keys: Vec<&str> = merged.files.iter().map(|file| file.key.as_str()).collect();
        assert!(keys.len() > 2 && keys[1] == "new/part-0001.parquet", "{keys:?}");
        assert_eq!(sequences(&objects, &merged).await, (0..25).collect::<Vec<_>>());
        prove(&objects, &merged).await;
        for key in keys {
            objects.delete(key).await.unwrap();
        }
    }
}
