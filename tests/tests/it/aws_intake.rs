//! What real servers write into a queue about an object leads to that very object.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardmill_connectors::Class;
use shardmill_connectors::aws::Session;
use shardmill_connectors::aws::s3;
use shardmill_connectors::aws::sqs::SqsQueue;
use shardmill_connectors::embedded::EmbeddedObjects;
use shardmill_connectors::ports::{Queue, RawFiles};
use shardmill_connectors::raw::notice::{self, Announced};
use shardmill_tests::harness::servers::{Ministack, Moto, ministack};

const BUCKET: &str = "acme-raw";
/// What a key may hold that a form encodes.
const KEY: &str = "in/2026/11/21/grüße an alle+1%41&=.json.gz";

/// Files announced until there are `wanted`; every notice must be understood.
async fn announced(queue: &dyn Queue, wanted: usize) -> Vec<Announced> {
    let mut found = Vec::new();
    for _ in 0..20 {
        let poll = queue.receive(10, Duration::from_secs(30), Duration::from_secs(2)).await.unwrap();
        for message in poll {
            let read = notice::read(&message.body, message.sent_at);
            assert!(read.problems.is_empty(), "{read:?} of {}", message.body);
            found.extend(read.files);
            assert!(queue.settle(&message.receipt).await.unwrap());
        }
        if found.len() >= wanted {
            break;
        }
    }
    assert_eq!(found.len(), wanted, "{found:?}");
    found
}

async fn follow(session: &Session) {
    ministack::bucket(session, BUCKET).await.unwrap();
    let url = ministack::queue(session, "raw-files", &[]).await.unwrap();
    ministack::announce(session, BUCKET, "in/", &url).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let queue = SqsQueue::new(session, url, Arc::new(EmbeddedObjects::open(dir.path()).unwrap()));
    let content = Bytes::from(vec![b'x'; 300_000]);
    let put = session.s3().put_object().bucket(BUCKET).key(KEY).body(content.clone().into());
    put.send().await.unwrap();
    let files: Arc<dyn RawFiles> = Arc::new(s3::RawFiles::new(session));
    let file = announced(&queue, 1).await.remove(0);
    assert_eq!((file.place.bucket.as_str(), file.place.key.as_str()), (BUCKET, KEY));
    let mut opened = files.open(&file.place).await.unwrap();
    // Of a bucket without versions, a file is known by its ETag, as in its notice.
    assert_eq!((opened.size, Some(&opened.version)), (content.len() as u64, file.etag.as_ref()));
    let mut read = Vec::new();
    while let Some(piece) = opened.body.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, content);
    session.s3().delete_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    assert_eq!(files.open(&file.place).await.unwrap_err().class, Class::Rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_of_ministack_lead_to_their_files() {
    let server = Ministack::start().await.unwrap();
    follow(&server.session()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_of_moto_lead_to_their_files() {
    let server = Moto::start().await.unwrap();
    follow(&server.session()).await;
}
