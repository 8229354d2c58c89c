//! S3: objects and documents on real servers, and through a proxy that breaks them.

use shardmill_tests::harness::servers::{Ministack, Moto, ministack};

#[tokio::test(flavor = "multi_thread")]
async fn servers_start() {
    let ministack = Ministack::start().await.unwrap();
    ministack::bucket(&ministack.session(), "b").await.unwrap();
    let url = ministack::queue(&ministack.session(), "q", &[]).await.unwrap();
    ministack::announce(&ministack.session(), "b", "in/", &url).await.unwrap();
    let moto = Moto::start().await.unwrap();
    ministack::bucket(&moto.session(), "b").await.unwrap();
}
