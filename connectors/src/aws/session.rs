//! How AWS is reached: credentials by the SDK's standard chain, time limits and connections set on purpose, no retries.

use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::calls::Calls;
use crate::destinations::hide::Secret;

/// Until a connection must stand.
const CONNECT: Duration = Duration::from_secs(3);
/// Until the first byte of an answer must be there. A long poll of SQS takes 20 s.
const READ: Duration = Duration::from_secs(30);
/// Until one call must be over, its body included.
pub(super) const CALL: Duration = Duration::from_secs(60);
/// What sessions of assumed roles are called: it stands in CloudTrail.
const ROLE_SESSION: &str = "shardmill";
/// Connections kept open to one host while nobody uses them.
const IDLE: usize = 64;
/// For how long: less than the servers keep them, so that none is used that is about to be closed.
const IDLE_FOR: Duration = Duration::from_secs(15);

/// Where AWS is to be found, beyond the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The region; `None`: by the SDK's chain (environment, profile, instance metadata).
    pub region: Option<String>,
    /// Where its services are; `None`: where the environment says, else at AWS.
    pub endpoint: Option<String>,
    /// Who signs; `None`: by the SDK's chain.
    pub keys: Option<Keys>,
    /// The role that they assume, which signs in their place.
    pub role: Option<Role>,
    /// How long one call may take in all; `None`: half a minute until an answer begins, a minute until it has ended.
    pub timeout: Option<Duration>,
}

/// Fixed credentials, for stores that have no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// The secret key.
    pub secret: Secret,
}

/// A role to assume, of another account for instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy asks for beside who we are, if it does.
    pub external_id: Option<String>,
}

/// The way to AWS that all clients share: credentials, region, connections. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    config: SdkConfig,
    /// Opens a connection for each call.
    apart: SharedHttpClient,
    path_style: bool,
    calls: Calls,
}

impl Session {
    /// Finds credentials and region by the SDK's standard chain: environment, profile (with `role_arn` to assume one), web
    /// identity, container, instance metadata; what `place` names goes before. Nothing is asked of AWS yet.
    pub async fn load(place: &Place) -> Session {
        let mut loader = chain(place);
        if let Some(role) = &place.role {
            // Roles are AWS's own, wherever the services are.
            let ours = loader.load().await;
            loader = chain(place).credentials_provider(assume(role, &ours).await);
            if let Some(region) = ours.region() {
                loader = loader.region(region.clone());
            }
        }
        if let Some(endpoint) = &place.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        // Servers other than AWS are reached by an address, which has no room for the bucket's name.
        let named =
            ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some());
        let path_style = named || config.endpoint_url().is_some();
        Session { config, apart: http(0), path_style, calls: Calls::default() }
    }

    /// A session whose every service is at `endpoint` (`http://127.0.0.1:4566`): a server other than AWS, for which fixed
    /// credentials will do. Limits are those of [`Session::load`].
    pub fn at(endpoint: &str) -> Session {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(fixed("test", "testtest")))
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(limits(None))
            .http_client(http(IDLE))
            .build();
        Session { config, apart: http(0), path_style: true, calls: Calls::default() }
    }

    /// The region, if there is one.
    pub fn region(&self) -> Option<&str> {
        self.config.region().map(Region::as_ref)
    }

    /// How often its clients have called AWS.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// A client of Kinesis Data Streams.
    pub fn kinesis(&self) -> aws_sdk_kinesis::Client {
        let config = aws_sdk_kinesis::config::Builder::from(&self.config).interceptor(self.calls.clone());
        aws_sdk_kinesis::Client::from_conf(config.build())
    }

    /// A client for what Kinesis pushes. Each subscription has a connection of its own: they live for minutes, a connection
    /// has room for so many of them only, and one that is not read would hold up the others and every call beside them. The
    /// SDK takes five seconds without a byte for an error, which is as often as Kinesis speaks on a quiet shard; whoever
    /// listens judges silence itself.
    pub(super) fn kinesis_pushing(&self) -> aws_sdk_kinesis::Client {
        let config = aws_sdk_kinesis::config::Builder::from(&self.config).interceptor(self.calls.clone());
        let config = config.http_client(self.apart.clone());
        let config = config.stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        aws_sdk_kinesis::Client::from_conf(config.build())
    }

    /// A client of S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config).interceptor(self.calls.clone());
        aws_sdk_s3::Client::from_conf(config.force_path_style(self.path_style).build())
    }

    /// A client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::config::Builder::from(&self.config).interceptor(self.calls.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// A client of Lambda. A function may think for minutes before it says a word, which is no stalled answer.
    pub fn lambda(&self) -> aws_sdk_lambda::Client {
        let config = aws_sdk_lambda::config::Builder::from(&self.config).interceptor(self.calls.clone());
        let config = config.stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        aws_sdk_lambda::Client::from_conf(config.build())
    }

    /// A client of Athena.
    pub fn athena(&self) -> aws_sdk_athena::Client {
        let config = aws_sdk_athena::config::Builder::from(&self.config).interceptor(self.calls.clone());
        aws_sdk_athena::Client::from_conf(config.build())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("region", &self.region()).finish_non_exhaustive()
    }
}

/// Where a session is looked for, but for the endpoint and the role.
fn chain(place: &Place) -> ConfigLoader {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(limits(place.timeout))
        .http_client(http(IDLE));
    if let Some(region) = &place.region {
        loader = loader.region(Region::new(region.clone()));
    }
    match &place.keys {
        Some(keys) => loader.credentials_provider(fixed(&keys.id, keys.secret.reveal())),
        None => loader,
    }
}

fn fixed(id: &str, secret: &str) -> Credentials {
    Credentials::new(id, secret, None, None, "fixed")
}

/// Who signs as `role`. STS is asked by the first call that needs it, and again before what it gave expires.
async fn assume(role: &Role, ours: &SdkConfig) -> AssumeRoleProvider {
    let provider = AssumeRoleProvider::builder(&role.arn).session_name(ROLE_SESSION).configure(ours);
    match &role.external_id {
        Some(id) => provider.external_id(id).build().await,
        None => provider.build().await,
    }
}

/// The time limits of every call.
fn limits(timeout: Option<Duration>) -> TimeoutConfig {
    let (read, call) = timeout.map_or((READ, CALL), |timeout| (timeout, timeout));
    TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(call))
        .read_timeout(read)
        .operation_attempt_timeout(call)
        .operation_timeout(call)
        .build()
}

/// One pool of connections, of which so many are kept to a host while nobody uses them. With none there is no sharing either.
fn http(idle: usize) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(idle)
        .build_https()
}
