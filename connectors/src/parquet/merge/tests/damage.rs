//! Whatever is wrong with an input is found, and told by its name.

use super::*;

#[tokio::test]
async fn parts_of_a_merge_that_failed_are_removed() {
    let objects = Memory::shared();
    let mut inputs = two_segments(&objects).await;
    let sound = objects.names();
    inputs[1][1].tally = inputs[1][0].tally;
    let options = WriteOptions { part_bytes: 1, ..copying() };
    let error = merge(request(&objects, inputs, options)).await.unwrap_err();
    assert!(matches!(&error, MergeError::Corrupt { key, .. } if key == "two"), "{error:?}");
    assert_eq!(objects.names(), sound);
}

#[tokio::test]
async fn an_input_that_is_not_what_was_recorded_is_named_and_nothing_is_written() {
    for (role, options) in (0..3).flat_map(|role| [copying(), gathering(), decoding()].map(|o| (role, o))) {
        let objects = Memory::shared();
        let sound = segment(&objects, "sound", &[1]).await;
        let mut wrong = segment(&objects, "wrong", &[2]).await;
        wrong.tally = sound.tally;
        let mut inputs = [vec![sound], vec![], vec![]];
        inputs[role].push(wrong);
        let error = merge(request(&objects, inputs, options)).await.unwrap_err();
        assert!(matches!(&error, MergeError::Corrupt { key, .. } if key == "wrong"), "{error:?}");
        assert_eq!(Failure::from(error).class, Class::Rejected);
        assert_eq!(objects.names(), ["sound", "wrong"]);
    }
}

#[tokio::test]
async fn damaged_and_missing_inputs_are_named() {
    let objects = Memory::shared();
    let sound = file(&objects, "sound", &rows(&[("s", "a", 1)])).await;
    let lost = Input { key: "lost".into(), tally: sound.tally };
    let inputs = [vec![sound.clone()], vec![lost], vec![]];
    let error = merge(request(&objects, inputs, copying())).await.unwrap_err();
    assert!(matches!(error, MergeError::Corrupt { key, .. } if key == "lost"));
    objects.tamper("sound", |bytes| bytes.truncate(40));
    let error = merge(request(&objects, [vec![sound], vec![], vec![]], copying())).await.unwrap_err();
    assert!(matches!(error, MergeError::Corrupt { key, .. } if key == "sound"));
}

/// Merges a sound file with one of which every `step`-th byte has a bit flipped, one after the other.
async fn flip(role: usize, numbers: &[u32], options: WriteOptions, step: usize) {
    let objects = Memory::shared();
    let mut inputs = [vec![segment(&objects, "sound", &(0..10).collect::<Vec<_>>()).await], vec![], vec![]];
    inputs[role].push(segment(&objects, "damaged", numbers).await);
    let length = objects.get("damaged").await.unwrap().len();
    for place in (0..length).step_by(step) {
        let flip = |bytes: &mut Vec<u8>| bytes[place] ^= 1 << (place % 8);
        objects.tamper("damaged", flip);
        let merged = merge(request(&objects, inputs.clone(), options.clone())).await;
        let named = matches!(&merged, Err(MergeError::Corrupt { key, .. }) if key == "damaged");
        assert!(named, "byte {place} of {length}: {merged:?}");
        assert_eq!(objects.names(), ["damaged", "sound"], "byte {place}");
        objects.tamper("damaged", flip);
    }
    merge(request(&objects, inputs, options)).await.unwrap();
}

#[tokio::test]
async fn every_flipped_bit_of_a_copied_file_is_found() {
    flip(1, &[10, 11, 12, 13, 14, 15, 16, 17], copying(), 1).await;
}

#[tokio::test]
async fn flipped_bits_of_decoded_files_are_found() {
    flip(1, &[10, 11, 12], gathering(), 3).await;
    flip(1, &[10, 11, 12], decoding(), 3).await;
    flip(2, &[8, 9, 10], copying(), 3).await;
}
