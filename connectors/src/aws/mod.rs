//! The ports on AWS: Kinesis Data Streams, S3, SQS and Athena.
//!
//! One attempt and a class, as everywhere at the boundary: the SDK's own retries are off, so that supervision's are the only
//! ones. Pacing to a service's limits and long polls are the only waits. Every endpoint can be overridden by
//! `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`.

pub mod arn;
pub mod athena;
pub mod calls;
mod denied;
pub mod fault;
pub mod kinesis;
pub mod s3;
pub mod session;
pub mod sqs;

pub use session::Session;
