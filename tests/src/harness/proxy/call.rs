//! Which call of which service a request is.

use std::fmt;

use super::http::Head;

/// A call as the proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `s3`, `sqs`, `kinesis`, `lambda`, `athena`, `glue`, `sts`.
    pub service: String,
    /// The operation: `PutObject`.
    pub operation: String,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.operation)
    }
}

impl Call {
    pub(super) fn of(head: &Head) -> Self {
        let (method, target) = head.request();
        let (service, operation) = match head.value("x-amz-target").and_then(|target| target.split_once('.'))
        {
            Some((service, operation)) => (json_service(service), operation.to_owned()),
            None if head.value("content-type").is_some_and(|kind| kind.contains("x-www-form-urlencoded")) => {
                ("sts".to_owned(), "Query".to_owned())
            }
            None if is_invocation(&target) => ("lambda".to_owned(), "Invoke".to_owned()),
            None => {
                ("s3".to_owned(), s3(&method, &target, head.value("x-amz-copy-source").is_some()).to_owned())
            }
        };
        Call { service, operation, method, target }
    }

    /// Whether the service answers in JSON.
    pub(super) fn is_json(&self) -> bool {
        !matches!(self.service.as_str(), "s3" | "sts")
    }
}

/// Functions are invoked under a date, which begins no bucket's key in tests.
fn is_invocation(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or(target);
    path.starts_with("/2015-03-31/functions/") && path.ends_with("/invocations")
}

/// `AmazonSQS` → `sqs`, `Kinesis_20131202` → `kinesis`.
fn json_service(name: &str) -> String {
    let name = name.split('_').next().unwrap_or(name);
    name.trim_start_matches("Amazon").trim_start_matches("AWS").to_ascii_lowercase()
}

/// The operation of S3, by method, path and query (addresses by path: `/bucket/key`).
fn s3(method: &str, target: &str, copies: bool) -> &'static str {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let key = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    match (method, key) {
        ("PUT", true) if has("partNumber") => "UploadPart",
        ("PUT", true) if copies => "CopyObject",
        ("PUT", true) => "PutObject",
        ("POST", true) if has("uploads") => "CreateMultipartUpload",
        ("POST", true) => "CompleteMultipartUpload",
        ("DELETE", true) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) => "DeleteObject",
        ("GET", true) => "GetObject",
        ("HEAD", true) => "HeadObject",
        ("GET", false) if has("list-type") => "ListObjectsV2",
        ("GET", false) if has("uploads") => "ListMultipartUploads",
        ("POST", false) => "DeleteObjects",
        ("PUT", false) if query.is_empty() => "CreateBucket",
        _ => "Bucket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_what_they_ask() {
        let cases = [
            ("PUT", "/b/k?x-id=PutObject", "PutObject"),
            ("PUT", "/b/a/k?partNumber=1&uploadId=2", "UploadPart"),
            ("POST", "/b/k?uploads", "CreateMultipartUpload"),
            ("POST", "/b/k?uploadId=2", "CompleteMultipartUpload"),
            ("DELETE", "/b/k?uploadId=2", "AbortMultipartUpload"),
            ("DELETE", "/b/k", "DeleteObject"),
            ("GET", "/b?list-type=2&prefix=x%2F", "ListObjectsV2"),
            ("GET", "/b/?list-type=2", "ListObjectsV2"),
            ("HEAD", "/b/k", "HeadObject"),
            ("PUT", "/b", "CreateBucket"),
            ("PUT", "/b?notification", "Bucket"),
        ];
        for (method, target, operation) in cases {
            assert_eq!(s3(method, target, false), operation, "{method} {target}");
        }
        assert!(is_invocation("/2015-03-31/functions/f%3Alive/invocations?x=y"));
        assert!(!is_invocation("/2015-03-31/functions") && !is_invocation("/b/functions/f/invocations"));
        for (name, service) in [
            ("AmazonSQS", "sqs"),
            ("Kinesis_20131202", "kinesis"),
            ("AmazonAthena", "athena"),
            ("AWSGlue", "glue"),
        ] {
            assert_eq!(json_service(name), service);
        }
    }
}
