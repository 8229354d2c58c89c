//! How AWS is reached: credentials by the SDK's standard chain, time limits and connections set on purpose, no retries.

use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// Until a connection must stand.
const CONNECT: Duration = Duration::from_secs(3);
/// Until the first byte of an answer must be there. A long poll of SQS takes 20 s.
const READ: Duration = Duration::from_secs(30);
/// Until one call must be over, its body included.
const CALL: Duration = Duration::from_secs(60);
/// Connections kept open to one host while nobody uses them.
const IDLE: usize = 64;
/// For how long: less than the servers keep them, so that none is used that is about to be closed.
const IDLE_FOR: Duration = Duration::from_secs(15);

/// Where AWS is to be found, beyond the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The region; `None`: by the SDK's chain (environment, profile, instance metadata).
    pub region: Option<String>,
}

/// The way to AWS that all clients share: credentials, region, connections. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    config: SdkConfig,
    path_style: bool,
}

impl Session {
    /// Finds credentials and region by the SDK's standard chain: environment, profile (with `role_arn` to assume one), web
    /// identity, container, instance metadata. Nothing is asked of AWS yet.
    pub async fn load(place: &Place) -> Session {
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .operation_attempt_timeout(CALL)
            .operation_timeout(CALL)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(limits)
            .http_client(http());
        if let Some(region) = &place.region {
            loader = loader.region(Region::new(region.clone()));
        }
        // Servers other than AWS are reached by an address, which has no room for the bucket's name.
        let path_style =
            ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some());
        Session { config: loader.load().await, path_style }
    }

    /// A session as `config` says, for servers other than AWS.
    pub fn of(config: SdkConfig) -> Session {
        let config = config.into_builder().retry_config(RetryConfig::disabled()).build();
        Session { config, path_style: true }
    }

    /// The region, if there is one.
    pub fn region(&self) -> Option<&str> {
        self.config.region().map(Region::as_ref)
    }

    /// A client of Kinesis Data Streams.
    pub fn kinesis(&self) -> aws_sdk_kinesis::Client {
        aws_sdk_kinesis::Client::new(&self.config)
    }

    /// A client of S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config =
            aws_sdk_s3::config::Builder::from(&self.config).force_path_style(self.path_style).build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// A client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// A client of Athena.
    pub fn athena(&self) -> aws_sdk_athena::Client {
        aws_sdk_athena::Client::new(&self.config)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("region", &self.region()).finish_non_exhaustive()
    }
}

/// One pool of connections for all services.
fn http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE)
        .build_https()
}
