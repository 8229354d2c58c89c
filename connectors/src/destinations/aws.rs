//! What destinations on AWS have in common: the way there, and what errors of AWS mean for events.
//!
//! Nothing is looked for before the first delivery. Each destination has connections of its own, so that one that is slow holds up
//! no other, and asks for credentials by itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::sync::OnceCell;

use super::endpoint::Endpoint;
use super::hide::Secret;
use super::http::Response;
use super::settings::{Known, Settings};
use super::status::{self, Policy};
use super::{Answer, Batch, Refusal, address};
use crate::aws::arn::Arn;
use crate::aws::fault;
use crate::aws::session::{Keys, Place, Role, Session};
use crate::clock::Millis;
use crate::failure::{Class, Failure};

/// The settings that all of them have, beside `timeout`.
pub(super) const SETTINGS: &[Known] = &[
    Known::new("region", "the ARN's, else the environment's", "the region that it is in"),
    Known::new(
        "endpoint",
        "AWS, or AWS_ENDPOINT_URL",
        "the URL of a VPC endpoint, or of what speaks as AWS does",
    ),
    Known::new("allow_http", "false", "whether plain HTTP may go to an `endpoint` on a public host"),
    Known::new("access_key_id", "the SDK's chain", "a fixed access key, for stores that know no roles"),
    Known::new("secret_access_key", "the SDK's chain", "the secret that belongs to it"),
    Known::new("role_arn", "none", "a role to assume, of another account for instance"),
    Known::new("external_id", "none", "what the role's trust policy asks for, if it does"),
];

/// A client of one service, made by the first who needs it.
pub(super) struct Aws<C> {
    place: Place,
    make: fn(&Session) -> C,
    client: OnceCell<C>,
}

impl<C> Aws<C> {
    /// Reads where it is. Where the destination is named by an ARN, that says the region. Problems are reported to `settings`.
    pub(super) fn read(
        settings: &mut Settings,
        arn: Option<Arn<'_>>,
        timeout: Duration,
        make: fn(&Session) -> C,
    ) -> Self {
        let place = Place {
            region: region(settings, arn),
            endpoint: endpoint(settings),
            keys: keys(settings),
            role: role(settings),
            timeout: Some(settings.period("timeout", timeout)),
        };
        Aws { place, make, client: OnceCell::new() }
    }

    /// The region, when it is configured.
    pub(super) fn region(&self) -> Option<&str> {
        self.place.region.as_deref()
    }

    /// The client.
    ///
    /// # Errors
    /// `Unauthorized` when nobody says which region is meant.
    pub(super) async fn client(&self) -> Result<&C, Failure> {
        let make = || async {
            let session = Session::load(&self.place).await;
            match session.region() {
                Some(_) => Ok((self.make)(&session)),
                None => Err(Failure::unauthorized(
                    "no region is set; set `region` of the destination, or AWS_REGION, then resume",
                )),
            }
        };
        self.client.get_or_try_init(make).await
    }
}

impl<C> fmt::Debug for Aws<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("place", &self.place).finish_non_exhaustive()
    }
}

fn region(settings: &mut Settings, arn: Option<Arn<'_>>) -> Option<String> {
    let named = arn.map(|arn| arn.region).filter(|region| !region.is_empty());
    let region = settings.text("region").filter(|region| !region.is_empty());
    if region.is_some() && named.is_some() && region.as_deref() != named {
        settings.report("region", "is another one than that of the ARN", "leave it out");
    }
    named.map(str::to_owned).or(region)
}

fn endpoint(settings: &mut Settings) -> Option<String> {
    let allow_http = settings.flag("allow_http");
    let text = settings.text("endpoint").filter(|text| !text.is_empty())?;
    match Endpoint::anywhere(&text) {
        Ok(endpoint) => {
            if endpoint.url.scheme() == "http" && !address::names_private(&endpoint.url) && !allow_http {
                settings.report(
                    "endpoint",
                    "plain HTTP to a public host can be read and changed on the way",
                    "write https://, or allow it with allow_http = true",
                );
            }
            if !endpoint.url.username().is_empty() || endpoint.url.password().is_some() {
                settings.report("endpoint", "holds credentials", "write access_key_id and secret_access_key");
            }
            Some(text)
        }
        Err(message) => {
            settings.report("endpoint", message, "write it as \"https://host\"");
            None
        }
    }
}

fn keys(settings: &mut Settings) -> Option<Keys> {
    let (id, secret) = (settings.text("access_key_id"), settings.text("secret_access_key"));
    match (id, secret) {
        (Some(id), Some(secret)) => Some(Keys { id, secret: Secret::new(secret) }),
        (Some(_), None) => {
            settings.report("access_key_id", "is of no use alone", "add secret_access_key = \"${…}\"");
            None
        }
        (None, Some(_)) => {
            settings.report("secret_access_key", "is of no use alone", "add access_key_id = \"…\"");
            None
        }
        (None, None) => None,
    }
}

fn role(settings: &mut Settings) -> Option<Role> {
    let (arn, external_id) = (settings.text("role_arn"), settings.text("external_id"));
    match &arn {
        Some(arn) if Arn::parse(arn).is_none_or(|arn| arn.service != "iam") => {
            let example = "write it as \"arn:aws:iam::123456789012:role/name\"";
            settings.report("role_arn", "is not the ARN of a role", example);
        }
        None if external_id.is_some() => {
            settings.report("external_id", "is of no use without `role_arn`", "add role_arn = \"…\"");
        }
        _ => {}
    }
    arn.map(|arn| Role { arn, external_id })
}

/// What a call that failed means for each of its events. `doing` says what was being done, and to what.
pub(super) fn refusal<E>(doing: &str, error: &SdkError<E, HttpResponse>, at: Millis) -> Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let told =
                (service.err().code().unwrap_or_default(), service.err().message().unwrap_or_default());
            refused(doing, &response(service.raw()), told, at)
        }
        SdkError::ResponseError(_) => {
            let detail = format!("{doing}: the answer cannot be understood: {}", fault::chain(error));
            Refusal { unknown: true, ..Failure::transient(detail).into() }
        }
        _ => unanswered(fault::failure(doing, error)),
    }
}

/// The same, where a service means something of its own by some codes: `refine` gets what AWS means in general, with the HTTP status (0
/// when there was no answer) and the code.
pub(super) fn refusal_of<E>(
    doing: &str,
    error: &SdkError<E, HttpResponse>,
    at: Millis,
    refine: fn(Failure, u16, &str) -> Failure,
) -> Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let refusal = refusal(doing, error, at);
    let status = answered(error).map_or(0, |answer| answer.status);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    Refusal { failure: refine(refusal.failure, status, code), ..refusal }
}

/// A call that was refused as a whole. When its events are to blame, nobody says which: fewer may do better.
pub(super) fn whole(batch: Batch<'_>, refusal: Refusal) -> Answer {
    match refusal.failure.class {
        Class::Rejected if batch.events.len() > 1 => Answer::Split(refusal),
        _ => Answer::refused(batch.events.len(), &refusal),
    }
}

/// The answer to a call that failed, as other destinations know it.
pub(super) fn answered<E>(error: &SdkError<E, HttpResponse>) -> Option<Response> {
    error.raw_response().map(response)
}

/// An answer that refuses, with its code and its message. One without a code is not AWS's own: something on the way has answered, and what
/// it says may hold what was sent.
pub(super) fn refused(
    doing: &str,
    response: &Response,
    (code, message): (&str, &str),
    at: Millis,
) -> Refusal {
    let wait = status::wait(response, at);
    let mut failure = match status::policy(response.status, wait.is_some()) {
        _ if !code.is_empty() => fault::classify(doing, response.status, code, message),
        Policy::Refused(class) => Failure::new(class, format!("{doing}: {}", status::told(response.status))),
        Policy::Split => Failure::rejected(format!("{doing}: {}", status::told(response.status))),
        Policy::Taken => Failure::transient(format!("{doing}: {}", status::told(response.status))),
    };
    failure.retry_after = wait;
    let told = failure.detail.strip_prefix(doing).map(|told| told.trim_start_matches(": "));
    let told = told.and_then(|told| status::excerpt(&Response::new(response.status, told.to_owned())));
    Refusal { failure, response: told, unknown: false }
}

fn response(raw: &HttpResponse) -> Response {
    let headers: BTreeMap<String, String> =
        raw.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let body = raw.body().bytes().unwrap_or_default().to_vec();
    Response { status: raw.status().as_u16(), headers, body: body.into(), cut: false }
}

/// A call without an answer. Only what failed before a connection stood, or before it was signed, is known not to have arrived.
fn unanswered(failure: Failure) -> Refusal {
    let unsent = failure.detail.contains("(Connect)");
    if unsent && failure.detail.to_lowercase().contains("certificate") {
        let fix =
            "correct `endpoint`, or install the CA certificate it is signed by on this machine, then resume";
        return Failure::unauthorized(format!("{}; {fix}", failure.detail)).into();
    }
    let unknown = failure.class == Class::Transient && !unsent;
    Refusal { unknown, ..failure.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, arn: Option<&str>) -> Result<Place, Vec<String>> {
        let mut settings = Settings::new(serde_json::from_str(json).unwrap(), SETTINGS);
        let aws = Aws::read(&mut settings, arn.and_then(Arn::parse), Duration::from_secs(9), Session::s3);
        let problems = settings.finish();
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
        match problems.is_empty() {
            true => Ok(aws.place),
            false => Err(problems.into_iter().map(|problem| problem.key).collect()),
        }
    }

    #[test]
    fn where_it_is_and_who_signs() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:f";
        assert_eq!(
            read("{}", None).unwrap(),
            Place { timeout: Some(Duration::from_secs(9)), ..Place::default() }
        );
        assert_eq!(read("{}", Some(arn)).unwrap().region.as_deref(), Some("eu-west-1"));
        assert_eq!(
            read(r#"{"region":"eu-west-1"}"#, Some(arn)).unwrap().region.as_deref(),
            Some("eu-west-1")
        );
        let whole = r#"{"region":"us-east-1","endpoint":"http://127.0.0.1:9","access_key_id":"a","timeout":"2s",
            "secret_access_key":"s3cr3t","role_arn":"arn:aws:iam::1:role/r","external_id":"x"}"#;
        let place = read(whole, None).unwrap();
        assert_eq!(place.timeout, Some(Duration::from_secs(2)));
        assert!(place.keys.is_some_and(|keys| keys.secret.is("s3cr3t")));
        assert_eq!(place.role.unwrap().external_id.as_deref(), Some("x"));
    }

    #[test]
    fn what_does_not_fit_together_is_told_and_not_shown() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:f";
        for (json, key) in [
            (r#"{"region":"us-east-1"}"#, "region"),
            (r#"{"endpoint":"s3cr3t"}"#, "endpoint"),
            (r#"{"endpoint":"http://s3.example.net"}"#, "endpoint"),
            (r#"{"endpoint":"https://me:s3cr3t@s3.example.net"}"#, "endpoint"),
            (r#"{"access_key_id":"a"}"#, "access_key_id"),
            (r#"{"secret_access_key":"s3cr3t"}"#, "secret_access_key"),
            (r#"{"role_arn":"role/s3cr3t"}"#, "role_arn"),
            (r#"{"external_id":"s3cr3t"}"#, "external_id"),
            (r#"{"timeout":"soon"}"#, "timeout"),
        ] {
            assert_eq!(read(json, Some(arn)).unwrap_err(), [key], "{json}");
        }
        assert!(read(r#"{"endpoint":"http://s3.example.net","allow_http":true}"#, None).is_ok());
    }

    #[tokio::test]
    async fn a_client_is_made_once_and_signs_as_configured() {
        let json = r#"{"region":"us-east-1","access_key_id":"a","secret_access_key":"s3cr3t"}"#;
        let mut settings = Settings::new(serde_json::from_str(json).unwrap(), SETTINGS);
        let aws = Aws::read(&mut settings, None, Duration::from_secs(9), Session::s3);
        let (one, other) = (aws.client().await.unwrap(), aws.client().await.unwrap());
        assert!(std::ptr::eq(one, other));
        assert_eq!(one.config().region().map(ToString::to_string).as_deref(), Some("us-east-1"));
    }

    #[test]
    fn codes_decide_and_without_one_the_status() {
        use Class::{Rejected, Throttled, Transient, Unauthorized};
        for (status, code, class) in [
            (403, "AccessDenied", Unauthorized),
            (400, "ExpiredTokenException", Unauthorized),
            (400, "ProvisionedThroughputExceededException", Throttled),
            (429, "TooManyRequestsException", Throttled),
            (503, "SlowDown", Throttled),
            (500, "InternalFailure", Transient),
            (400, "ValidationException", Rejected),
            (301, "", Unauthorized),
            (404, "", Transient),
            (413, "", Rejected),
            (429, "", Throttled),
            (502, "", Transient),
        ] {
            let answer = Response::new(status, "s3cr3t").with("retry-after", "7");
            let refusal = refused("putting", &answer, (code, "why"), Millis(0));
            let wanted = if status == 502 { Throttled } else { class };
            assert_eq!((refusal.failure.class, refusal.unknown), (wanted, false), "{status} {code}");
            assert_eq!(refusal.failure.retry_after, Some(Duration::from_secs(7)));
            let told = refusal.response.clone().unwrap();
            assert!(told.contains(if code.is_empty() { "answered" } else { code }), "{told}");
            assert!(!format!("{refusal:?}").contains("s3cr3t"), "{refusal:?}");
        }
    }

    #[test]
    fn what_never_left_is_not_unknown() {
        for (failure, class, unknown) in [
            (
                Failure::transient("io error: client error (Connect): tcp connect error"),
                Class::Transient,
                false,
            ),
            (
                Failure::transient("timeout: client error (Connect): HTTP connect timeout"),
                Class::Transient,
                false,
            ),
            (
                Failure::transient("client error (Connect): invalid peer certificate"),
                Class::Unauthorized,
                false,
            ),
            (Failure::transient("client error (SendRequest): connection closed"), Class::Transient, true),
            (Failure::transient("HTTP read timeout occurred after 300ms"), Class::Transient, true),
            (Failure::unauthorized("no credentials"), Class::Unauthorized, false),
            (Failure::crashed("no such header"), Class::Crashed, false),
        ] {
            let refusal = unanswered(failure);
            assert_eq!((refusal.failure.class, refusal.unknown), (class, unknown), "{refusal:?}");
        }
    }
}
