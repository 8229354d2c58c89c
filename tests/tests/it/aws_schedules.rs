//! What real servers list is what a pattern means, part by part, and is known by what it is known by when it is read.

use std::sync::Arc;

use futures::StreamExt;
use shardmill_connectors::Class;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::s3;
use shardmill_connectors::batches::Pattern;
use shardmill_connectors::ports::{Listed, RawFiles};
use shardmill_tests::harness::servers::{Ministack, Moto, ministack};

const BUCKET: &str = "acme-batches";
/// More than one answer of S3 holds.
const MANY: usize = 1_003;

async fn put(session: &Session, key: String, text: &'static str) {
    let put = session.s3().put_object().bucket(BUCKET).key(key).body(text.as_bytes().to_vec().into());
    put.send().await.unwrap();
}

async fn list(files: &dyn RawFiles, pattern: &str) -> Vec<Listed> {
    let pattern: Pattern = format!("s3://{BUCKET}/{pattern}").parse().unwrap();
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let part = files.list(&pattern, from.as_deref()).await.unwrap();
        found.extend(part.files);
        from = part.next;
        if from.is_none() {
            return found;
        }
    }
}

async fn follow(session: &Session) {
    ministack::bucket(session, BUCKET).await.unwrap();
    let keys = ["in/grüße an+alle%1.csv", "in/x/y.csv", "in/.begun.csv", "in/z.json", "other/a.csv"];
    for key in keys {
        put(session, key.to_owned(), "a\n1\n").await;
    }
    let files: Arc<dyn RawFiles> = Arc::new(s3::RawFiles::new(session));
    let names = async |pattern: &str| -> Vec<String> {
        list(files.as_ref(), pattern).await.into_iter().map(|file| file.place.key).collect()
    };
    assert_eq!(names("in/*.csv").await, ["in/grüße an+alle%1.csv"]);
    assert_eq!(names("in/**/*.csv").await, ["in/grüße an+alle%1.csv", "in/x/y.csv"]);
    let before = list(files.as_ref(), "in/x/*").await.remove(0);
    let opened = files.open(&before.place).await.unwrap();
    assert_eq!((&opened.listed, opened.size), (&before.version, before.size));
    put(session, "in/x/y.csv".into(), "a\n2\n").await;
    let after = list(files.as_ref(), "in/x/*").await.remove(0);
    assert_ne!(after.version, before.version, "another content is another version");
    let many = (0..MANY).map(|n| put(session, format!("many/{n:04}.csv"), "a\n"));
    futures::stream::iter(many).buffer_unordered(16).collect::<Vec<()>>().await;
    let mut wanted: Vec<String> = (0..MANY).map(|n| format!("many/{n:04}.csv")).collect();
    assert_eq!(names("many/*").await, wanted);
    wanted.retain(|name| name.ends_with("7.csv"));
    assert_eq!(names("many/*7.csv").await, wanted);
    let nowhere: Pattern = "s3://no-such-bucket/*.csv".parse().unwrap();
    let failure = files.list(&nowhere, None).await.unwrap_err();
    assert!(matches!(failure.class, Class::Unauthorized | Class::Rejected), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_are_listed_by_ministack() {
    let server = Ministack::start().await.unwrap();
    follow(&server.session()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_are_listed_by_moto() {
    let server = Moto::start().await.unwrap();
    follow(&server.session()).await;
}
