//! The one HTTP client of all destinations: sends a request once and tells what became of it.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use super::Refusal;
use super::address::{PrivateAddress, PublicOnly};
use super::hide;
use super::http::{Request, Response};
use crate::failure::Failure;

/// The longest a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Connections unused for so long are closed: shorter than what common servers and load balancers keep them, because a request
/// on a connection that the other side just closes has an unknown outcome.
const IDLE: Duration = Duration::from_secs(20);

/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 1 << 20;

/// Sends requests, each once. Cheap to clone; clones share their connections.
///
/// Redirects are never followed: a body would go where nobody configured it to go. Proxies of the environment are not used: they
/// would resolve names where we cannot see the addresses. The client itself sends again only what provably never left: on a
/// connection that was closed before the first byte, or where HTTP/2 says that the request was not looked at.
#[derive(Debug, Clone)]
pub struct Sender {
    guarded: Client,
    anywhere: Client,
}

impl Sender {
    /// A sender of its own connections. Fails only when the TLS library cannot be set up.
    pub fn new() -> Result<Self, Failure> {
        let guarded = client(|builder| builder.dns_resolver(PublicOnly))?;
        Ok(Sender { guarded, anywhere: client(|builder| builder)? })
    }

    /// Makes one attempt. Every status is a response; a refusal means that none came.
    pub async fn send(&self, request: Request) -> Result<Response, Refusal> {
        let secrets = request.secrets();
        let client = if request.private { &self.anywhere } else { &self.guarded };
        let timeout = request.timeout;
        let sent = client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(request.body)
            .timeout(timeout)
            .send();
        let mut response = sent.await.map_err(|error| refusal(error, timeout, &secrets))?;
        let mut answer = Response { status: response.status().as_u16(), ..Response::default() };
        for (name, value) in response.headers() {
            let value = scrubbed(&String::from_utf8_lossy(value.as_bytes()), &secrets);
            let known = answer.headers.entry(name.as_str().to_owned());
            known.and_modify(|values| *values = format!("{values}, {value}")).or_insert(value);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| refusal(error, timeout, &secrets))? {
            let room = LONGEST_ANSWER - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                answer.cut = true;
                break;
            }
        }
        answer.body = hide::scrub(body.freeze(), &secrets);
        Ok(answer)
    }
}

/// A client with the settings both have in common. Where the system has no CA certificates it trusts nobody: plain HTTP works
/// then, and HTTPS says what is missing.
fn client(guard: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, Failure> {
    let builder = || {
        let common = Client::builder()
            .user_agent(concat!("shardmill/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE);
        guard(common)
    };
    let built = builder().build().or_else(|_| builder().tls_certs_only([]).build());
    built.map_err(|error| Failure::unauthorized(format!("the HTTP client cannot be set up: {error}")))
}

/// What it means that no response came. Only what failed before a connection stood is known not to have arrived.
fn refusal(error: reqwest::Error, timeout: Duration, secrets: &[String]) -> Refusal {
    let (unbuilt, unsent, timed_out) = (error.is_builder(), error.is_connect(), error.is_timeout());
    let error = error.without_url();
    if let Some(private) = causes(&error).find_map(|cause| cause.downcast_ref::<PrivateAddress>()) {
        let detail = format!("{private}; set allow_private = true if that is meant");
        return Failure::unauthorized(detail).into();
    }
    let text = scrubbed(&causes(&error).map(ToString::to_string).collect::<Vec<_>>().join(": "), secrets);
    if unbuilt {
        return Failure::rejected(format!("no request can be made of it: {text}")).into();
    }
    if unsent {
        return Refusal::from(no_connection(&text));
    }
    let detail = match timed_out {
        true => format!("no complete answer within {timeout:?}"),
        false => format!("the answer was lost: {text}"),
    };
    Refusal { unknown: true, ..Failure::transient(detail).into() }
}

fn no_connection(text: &str) -> Failure {
    let lower = text.to_lowercase();
    if lower.contains("certificate") || lower.contains("unknownissuer") {
        return Failure::unauthorized(format!(
            "the TLS certificate is not accepted: {text}; renew the certificate of the host, correct the host name in the \
             URL, or install the CA certificate it is signed by on this machine"
        ));
    }
    Failure::transient(format!("no connection: {text}"))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn scrubbed(text: &str, secrets: &[String]) -> String {
    let clean = hide::scrub(Bytes::copy_from_slice(text.as_bytes()), secrets);
    String::from_utf8_lossy(&clean).into_owned()
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::super::endpoint::Endpoint;
    use super::super::testing::receiver::Closed;
    use super::*;
    use crate::failure::Class;

    #[tokio::test]
    async fn what_never_left_is_not_unknown() {
        let sender = Sender::new().unwrap();
        let closed = Closed::port();
        for url in [format!("{}/in", closed.url()), "http://no-such-host.invalid/in".to_owned()] {
            let request = Request::new(Method::POST, &Endpoint::anywhere(&url).unwrap());
            let refusal = sender.send(request).await.unwrap_err();
            assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, false), "{refusal:?}");
            assert!(refusal.failure.detail.starts_with("no connection: "), "{refusal:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_request_is_the_events_fault() {
        let mut request = Request::new(Method::POST, &Endpoint::anywhere("http://127.0.0.1:9/in").unwrap());
        request.url = "data:,x".parse().unwrap();
        let refusal = Sender::new().unwrap().send(request).await.unwrap_err();
        assert_eq!((refusal.failure.class, refusal.unknown), (Class::Rejected, false), "{refusal:?}");
    }

    #[tokio::test]
    async fn names_that_lead_into_the_house_are_refused() {
        let endpoint = Endpoint { private: false, ..Endpoint::anywhere("http://localhost:1/in").unwrap() };
        let refusal = Sender::new().unwrap().send(Request::new(Method::POST, &endpoint)).await.unwrap_err();
        assert_eq!((refusal.failure.class, refusal.unknown), (Class::Unauthorized, false), "{refusal:?}");
        assert!(refusal.failure.detail.contains("allow_private = true"), "{refusal:?}");
    }

    #[tokio::test]
    async fn a_request_that_hangs_may_have_been_taken() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:s3cr3t-password@{}/s3cr3t", listener.local_addr().unwrap());
        let endpoint = Endpoint { timeout: Duration::from_millis(50), ..Endpoint::anywhere(&url).unwrap() };
        let sender = Sender::new().unwrap();
        let refusal = sender.send(Request::new(Method::POST, &endpoint)).await.unwrap_err();
        assert_eq!((refusal.failure.class, refusal.unknown), (Class::Transient, true), "{refusal:?}");
        assert!(!format!("{refusal:?} {sender:?}").contains("s3cr3t"), "{refusal:?}");
    }

    #[test]
    fn certificates_are_a_matter_of_configuration() {
        for (text, class) in [
            ("error trying to connect: invalid peer certificate: UnknownIssuer", Class::Unauthorized),
            ("invalid peer certificate: certificate expired", Class::Unauthorized),
            ("received fatal alert: CertificateRequired", Class::Unauthorized),
            ("tcp connect error: Connection refused", Class::Transient),
            ("error resolving DNS: no such host", Class::Transient),
            ("received fatal alert: InternalError", Class::Transient),
        ] {
            assert_eq!(no_connection(text).class, class, "{text}");
        }
    }
}
