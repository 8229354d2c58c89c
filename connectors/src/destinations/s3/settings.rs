//! What a place in S3 may be told.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::StorageClass;

use crate::aws::Session;
use crate::destinations::aws::Aws;
use crate::destinations::registry::Setup;
use crate::destinations::settings::{Known, SettingProblem, Settings};

/// Events in an object, unless configured. Who sends them holds them in memory until then.
const BATCH: usize = 4_000;

/// How long putting an object may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of a prefix, so that S3's 1,024 bytes hold the whole key.
const PREFIX: usize = 512;

/// See the [module](self).
pub const SETTINGS: &[Known] = &[
    Known::required("bucket", "the bucket"),
    Known::new("prefix", "none", "what every key begins with, as \"events/web/\"; a `/` at its end is added"),
    Known::new("format", "\"ndjson\"", "or \"parquet\""),
    Known::new(
        "compression",
        "\"gzip\", of Parquet \"zstd\"",
        "lines: \"gzip\", \"zstd\" or \"none\"; Parquet: \"zstd\", \"snappy\" or \"none\"",
    ),
    Known::new(
        "partition_by",
        "\"event\"",
        "whose hour names the folder; \"arrival\": that of the event's arrival",
    ),
    Known::new("storage_class", "the bucket's", "such as \"STANDARD_IA\""),
    Known::new("timeout", "\"2m\"", "for one object in all"),
];

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Lines of JSON.
    Lines(Packing),
    /// Parquet.
    Parquet(Packing),
}

/// How it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
    Snappy,
}

impl Format {
    /// What keys end with.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Format::Lines(Packing::Gzip) => ".ndjson.gz",
            Format::Lines(Packing::Zstd) => ".ndjson.zst",
            Format::Lines(_) => ".ndjson",
            Format::Parquet(_) => ".parquet",
        }
    }

    /// What an object says that it is. It is not said to be encoded: readers would be given it unpacked under a name that says otherwise.
    pub(super) fn media(self) -> &'static str {
        match self {
            Format::Lines(Packing::Gzip) => "application/gzip",
            Format::Lines(Packing::Zstd) => "application/zstd",
            Format::Lines(_) => "application/x-ndjson",
            Format::Parquet(_) => "application/vnd.apache.parquet",
        }
    }
}

/// A place's settings, checked.
#[derive(Debug)]
pub(super) struct S3 {
    /// The destination's.
    pub(super) name: String,
    pub(super) bucket: String,
    /// Empty, or ending in `/`.
    pub(super) prefix: String,
    pub(super) format: Format,
    pub(super) by_arrival: bool,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) batch: usize,
    pub(super) aws: Aws<Client>,
}

/// Reads the settings, or tells everything that is wrong with them.
pub(super) fn read(setup: Setup) -> Result<S3, Vec<SettingProblem>> {
    let mut settings = Settings::new(setup.settings, SETTINGS);
    let bucket = bucket(&mut settings);
    let prefix = prefix(&mut settings);
    let format = format(&mut settings);
    let by_arrival = settings.choice("partition_by", &["event", "arrival"]) == "arrival";
    let storage_class = settings.has("storage_class").then(|| {
        let known = settings.choice("storage_class", StorageClass::values());
        StorageClass::from(known)
    });
    let aws = Aws::read(&mut settings, None, TIMEOUT, Session::s3);
    let problems = settings.finish();
    match bucket {
        Some(bucket) if problems.is_empty() => {
            let batch = setup.batch.unwrap_or(BATCH).max(1);
            Ok(S3 { name: setup.name, bucket, prefix, format, by_arrival, storage_class, batch, aws })
        }
        _ => Err(problems),
    }
}

/// A bucket's name, or the ARN of an access point. What S3 says of another name is worse to read.
fn bucket(settings: &mut Settings) -> Option<String> {
    let bucket = settings.required("bucket", "acme-exports")?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !bucket.starts_with("arn:") && !bucket.bytes().all(fits) {
        let fix = "write the name alone, without s3:// and without a prefix";
        settings.report("bucket", "is not the name of a bucket", fix);
    }
    Some(bucket)
}

fn prefix(settings: &mut Settings) -> String {
    let prefix = settings.text("prefix").unwrap_or_default();
    let trimmed = prefix.trim_end_matches('/');
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if !trimmed.is_empty() && trimmed.split('/').any(bad) || prefix.starts_with('/') {
        let fix = "write it as \"events/web/\"";
        settings.report("prefix", "begins with `/`, or has a part that is empty, `.` or `..`", fix);
    }
    if trimmed.len() > PREFIX || trimmed.chars().any(char::is_control) {
        settings.report("prefix", "is too long, or holds control characters", "at most 512 bytes");
    }
    if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") }
}

fn format(settings: &mut Settings) -> Format {
    let packing = |name: &str| match name {
        "gzip" => Packing::Gzip,
        "zstd" => Packing::Zstd,
        "snappy" => Packing::Snappy,
        _ => Packing::None,
    };
    match settings.choice("format", &["ndjson", "parquet"]) {
        "parquet" => Format::Parquet(packing(settings.choice("compression", &["zstd", "snappy", "none"]))),
        _ => Format::Lines(packing(settings.choice("compression", &["gzip", "zstd", "none"]))),
    }
}
