//! People who are erased while it runs.

use super::*;

#[tokio::test]
async fn what_comes_back_of_people_who_were_erased_meanwhile_becomes_no_letter() {
    let site = Site::new();
    crate::testing::tombstone(&site.ports.documents, "/n=4", Millis::now()).await;
    assert_eq!(announce_again(&site.ports, letters(3..6, "crm")).await.unwrap(), (2, 1));
    assert_eq!((site.pending().await.as_slice(), site.announced().await), (&["3".into(), "5".into()][..], 2));
    let files = site.ports.objects.list("dead/").await.unwrap();
    assert_eq!(announce_again(&site.ports, letters(4..5, "crm")).await.unwrap(), (0, 1));
    assert_eq!(site.ports.objects.list("dead/").await.unwrap(), files);
    let all = String::from_utf8(site.ports.objects.get(&files[0].key).await.unwrap().to_vec()).unwrap();
    assert!(files.len() == 1 && !all.contains("\"n\":4"), "{all}");
}

struct Given(std::vec::IntoIter<Letter>);

#[async_trait]
impl Events for Given {
    async fn next(&mut self) -> Result<Option<Letter>, Failure> {
        Ok(self.0.next())
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_people_who_were_erased_since_they_were_chosen_are_not_sent() {
    let site = Site::new();
    crate::testing::tombstone(&site.ports.documents, "/n=4", Millis::now()).await;
    let fake = Fake::each(|_, _| Ok(()));
    let redelivery = Redelivery { ports: &site.ports, rate: None, dry_run: false, progress: &|_| {} };
    let mut events = Given(letters(3..6, "crm").into_iter());
    let done = redelivery.send(to(&fake).0, &mut events).await.unwrap();
    assert_eq!((done.delivered, done.skipped), (2, 1), "{done:?}");
    assert_eq!(fake.sent(), BTreeMap::from([("k3".to_owned(), 1), ("k5".to_owned(), 1)]));
}
