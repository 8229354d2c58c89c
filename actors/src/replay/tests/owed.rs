//! What a killed replay leaves to be told.

use super::*;

#[tokio::test]
async fn letters_that_a_killed_replay_owes_are_announced_once() {
    let site = Site::new();
    site.commit(&[bad(2, at()), bad(3, at())]).await;
    site.run(&whole(), false).await;
    assert_eq!(site.announced().await, 2);
    // As if it had been killed behind its manifest: nothing knows of the letters but that.
    let named = site.sources().await.remove(0).dead_letters.unwrap();
    let entry = layout::documents::dead_letters(&named.key);
    let document = site.ports.documents.read(&entry).await.unwrap().unwrap();
    site.ports.documents.delete(&entry, &document.tag).await.unwrap();
    let world = Reader::default().read(site.ports.documents.as_ref()).await.unwrap();
    for _ in 0..2 {
        announce_owed(&site.ports, &world).await.unwrap();
        assert_eq!(site.announced().await, 4, "each of the two once more, then never again");
    }
    assert_eq!(Selection::default().find(&site.ports).await.unwrap().len(), 2);
}
