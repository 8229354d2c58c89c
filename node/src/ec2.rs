//! What EC2 tells a machine about its own end: a spot interruption (two minutes before), or the autoscaling group's wish.
//!
//! Asked of the instance metadata service by IMDSv2
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>,
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html>).

use std::time::Duration;

use reqwest::{Client, StatusCode};
use shardmill_connectors::Failure;

/// How often it is asked; AWS advises every five seconds.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take: the service is on the machine's own link.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a token holds, in seconds.
const TOKEN_HOLDS: u32 = 21_600;
/// After so many failures in a row before the first answer, this is no machine of EC2.
const NOT_HERE: u32 = 3;

/// The metadata service.
#[derive(Debug)]
pub struct Metadata {
    client: Client,
    base: String,
    every: Duration,
}

impl Metadata {
    /// The service as the SDKs find it: `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or its fixed address. `None` when
    /// `AWS_EC2_METADATA_DISABLED` says so.
    pub fn from_environment() -> Option<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let base = set("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        Self::at(base.as_deref().unwrap_or("http://169.254.169.254"), EVERY)
    }

    fn at(base: &str, every: Duration) -> Option<Self> {
        let client = Client::builder().timeout(ANSWER).no_proxy().build().ok()?;
        Some(Metadata { client, base: base.trim_end_matches('/').to_owned(), every })
    }

    /// Waits until the machine is about to be taken away, and says why. Where there is no such service it waits for ever.
    pub async fn termination(&self) -> String {
        let (mut token, mut heard, mut failures) = (None, false, 0);
        loop {
            match self.look(&mut token).await {
                Ok(Some(why)) => return why,
                Ok(None) => (heard, failures) = (true, 0),
                Err(failure) => {
                    (token, failures) = (None, failures + 1);
                    if !heard && failures >= NOT_HERE {
                        tracing::debug!(%failure, "no instance metadata: nobody will announce the machine's end");
                        return std::future::pending().await;
                    }
                }
            }
            tokio::time::sleep(self.every).await;
        }
    }

    async fn look(&self, token: &mut Option<String>) -> Result<Option<String>, Failure> {
        let held = match token {
            Some(token) => token,
            none => none.insert(self.token().await?),
        };
        if let Some(action) = self.get("spot/instance-action", held).await? {
            return Ok(Some(format!("a spot interruption: {action}")));
        }
        let state = self.get("autoscaling/target-lifecycle-state", held).await?;
        Ok(state
            .filter(|state| state.starts_with("Terminated"))
            .map(|_| "the autoscaling group ends it".to_owned()))
    }

    async fn token(&self) -> Result<String, Failure> {
        let request = self.client.put(format!("{}/latest/api/token", self.base));
        let request = request.header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_HOLDS);
        let answer =
            request.send().await.and_then(reqwest::Response::error_for_status).map_err(unanswered)?;
        answer.text().await.map_err(unanswered)
    }

    /// `None` when there is nothing of the kind.
    async fn get(&self, path: &str, token: &str) -> Result<Option<String>, Failure> {
        let request = self.client.get(format!("{}/latest/meta-data/{path}", self.base));
        let answer = request.header("X-aws-ec2-metadata-token", token).send().await.map_err(unanswered)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let text = answer.error_for_status().map_err(unanswered)?.text().await.map_err(unanswered)?;
        Ok(Some(text.trim().to_owned()))
    }
}

fn unanswered(error: reqwest::Error) -> Failure {
    Failure::transient(format!("instance metadata: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::http::HeaderMap;
    use axum::routing::{get, put};
    use axum::{Router, extract::State};

    use super::*;

    type Looks = Arc<AtomicU32>;

    /// A service that announces `at` after three looks, and whose tokens hold for two.
    async fn service(path: &'static str, body: &'static str) -> Metadata {
        let token = async |State(looks): State<Looks>, headers: HeaderMap| {
            assert!(headers.contains_key("X-aws-ec2-metadata-token-ttl-seconds"));
            format!("t{}", looks.load(Ordering::SeqCst) / 2)
        };
        let told = move |State(looks): State<Looks>, headers: HeaderMap| async move {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            match headers.get("X-aws-ec2-metadata-token") {
                Some(given) if *given == format!("t{}", look / 2).as_str() => {}
                _ => return (StatusCode::UNAUTHORIZED, ""),
            }
            if look < 3 { (StatusCode::NOT_FOUND, "") } else { (StatusCode::OK, body) }
        };
        let router = Router::new().route("/latest/api/token", put(token));
        let router =
            router.route(&format!("/latest/meta-data/{path}"), get(told)).with_state(Looks::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Metadata::at(&base, Duration::from_millis(5)).unwrap()
    }

    #[tokio::test]
    async fn both_notices_are_heard_even_when_a_token_has_ended() {
        let spot =
            service("spot/instance-action", r#"{"action": "terminate", "time": "2026-11-21T08:22:00Z"}"#)
                .await;
        assert!(spot.termination().await.starts_with("a spot interruption: {\"action\": \"terminate\""));
        let group = service("autoscaling/target-lifecycle-state", "Terminated\n").await;
        assert_eq!(group.termination().await, "the autoscaling group ends it");
    }

    #[tokio::test]
    async fn a_machine_in_service_goes_on_and_one_elsewhere_is_never_told() {
        let group = service("autoscaling/target-lifecycle-state", "InService").await;
        let nowhere = Metadata::at("http://127.0.0.1:1", Duration::from_millis(5)).unwrap();
        for metadata in [group, nowhere] {
            let told = tokio::time::timeout(Duration::from_millis(300), metadata.termination()).await;
            assert!(told.is_err(), "{told:?}");
        }
    }
}
