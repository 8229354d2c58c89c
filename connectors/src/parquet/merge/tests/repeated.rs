//! Late rows that are there already: whatever is held of their identities at a time, the result is the same.

use super::*;

/// A merge that holds so many identities; without a bound when none is said. Two of the late rows were dropped before.
async fn merged(
    objects: &Arc<Memory>,
    (inputs, listed): (&[Vec<Input>; 3], &[Input]),
    (options, identities): (&WriteOptions, Option<u64>),
) -> Merged {
    let bounds = Bounds { identities: identities.unwrap_or(u64::MAX), ..pieces(1 << 20) };
    let plain = request(objects, inputs.clone(), options.clone());
    let folder = format!("new-{identities:?}");
    merge_within(MergeRequest { folder, listed: listed.to_vec(), ..plain }, bounds).await.unwrap()
}

async fn a_bound_changes_nothing(files: [Vec<Vec<u32>>; 3], listed: Vec<u32>, options: WriteOptions) {
    let objects = Memory::shared();
    let [base, segments, late] = files;
    let inputs = [
        write(&objects, "base", &base).await,
        write(&objects, "segment", &segments).await,
        write(&objects, "late", &late).await,
    ];
    let listed = write(&objects, "list", &[listed]).await;
    let all = merged(&objects, (&inputs, &listed), (&options, None)).await;
    prove(&objects, &all).await;
    for most in [1, 2, 7, 30] {
        let some = merged(&objects, (&inputs, &listed), (&options, Some(most))).await;
        assert_eq!(sequences(&objects, &some).await, sequences(&objects, &all).await, "{most}");
        assert_eq!((some.dropped, some.inputs, &some.by_shard), (all.dropped, all.inputs, &all.by_shard));
        let files = some.files.iter().zip(&all.files);
        for (one, other) in files {
            assert_eq!((one.summary.tally, &one.encoded), (other.summary.tally, &other.encoded));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_merge_that_holds_few_identities_at_a_time_has_the_result_of_one_that_holds_all(
        base in files(0), segments in files(100), late in late_files(),
        listed in proptest::collection::vec(0u32..200, 0..9), copy_rows in 1usize..9,
    ) {
        prop_assume!(base.len() + segments.len() + late.len() > 0);
        let options = WriteOptions { row_group_rows: 10, copy_rows, ..WriteOptions::default() };
        run(a_bound_changes_nothing([base, segments, late], listed, options));
    }
}

#[tokio::test]
async fn an_hour_that_is_replayed_over_itself_is_the_hour_in_however_many_passes() {
    let objects = Memory::shared();
    let all: Vec<u32> = (0..90).collect();
    let base = write(&objects, "base", std::slice::from_ref(&all)).await;
    let again: Vec<Vec<u32>> = all.chunks(20).map(<[u32]>::to_vec).collect();
    let inputs = [base, vec![], write(&objects, "late", &again).await];
    let merged = merged(&objects, (&inputs, &[]), (&copying(), Some(8))).await;
    assert_eq!(sequences(&objects, &merged).await, all);
    assert_eq!((merged.dropped, merged.files[0].encoded.len()), (tally(all), 0), "nothing is encoded anew");
}

#[test]
fn what_is_held_of_late_rows_fits_into_the_room_of_the_row_groups_that_come_later() {
    for megabytes in [4_u64, 16, 64] {
        let options = WriteOptions { row_group_bytes: (megabytes << 20) as usize, ..WriteOptions::default() };
        let Bounds { identities, .. } = Bounds::of(&options);
        // Sixteen bytes and one for each bucket, of which seven eighths are used.
        assert!(identities / 7 * 8 * 17 <= 3 * (megabytes << 20));
        assert!(identities >= 100_000 * megabytes, "as few passes as that allows");
    }
    assert!(late_bytes(50_000_000) < 32 << 20);
}
