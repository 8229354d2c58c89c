//! How messages are put together in batches.

use std::ops::Range;

/// The most messages in one call.
pub(super) const MOST: usize = 10;

/// Cuts messages of these sizes into batches, in order: at most [`MOST`] in one, and together at most `limit` bytes. One that
/// is larger than `limit` goes alone.
pub(super) fn batches(sizes: &[usize], limit: usize) -> Vec<Range<usize>> {
    let mut cut = Vec::new();
    let (mut start, mut bytes) = (0, 0usize);
    for (index, size) in sizes.iter().enumerate() {
        if index > start && (index - start == MOST || bytes.saturating_add(*size) > limit) {
            cut.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes = bytes.saturating_add(*size);
    }
    if start < sizes.len() {
        cut.push(start..sizes.len());
    }
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batches_are_as_full_as_they_may_be() {
        assert!(batches(&[], 100).is_empty());
        assert_eq!(batches(&[1; 25], 100), [0..10, 10..20, 20..25]);
        assert_eq!(batches(&[60, 40, 1, 100, 101, 5], 100), [0..2, 2..3, 3..4, 4..5, 5..6]);
    }

    proptest! {
        #[test]
        fn every_message_is_in_one_batch(sizes in proptest::collection::vec(0usize..150, 0..60)) {
            let cut = batches(&sizes, 100);
            let all: Vec<usize> = cut.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
            for batch in cut {
                let bytes: usize = sizes[batch.clone()].iter().sum();
                prop_assert!(batch.len() <= MOST && (bytes <= 100 || batch.len() == 1));
            }
        }
    }
}
