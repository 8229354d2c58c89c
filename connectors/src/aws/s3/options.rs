//! How objects are written: in parts or whole, encrypted, checked.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, ServerSideEncryption};

/// The smallest part S3 takes, but for the last one.
const MIN_PART: usize = 5 << 20;
/// After this many parts the size of a part grows by itself once more, so that 10,000 parts are enough for S3's largest object.
const GROWTH: usize = 1_000;

/// Encryption at rest, beyond what the bucket's own setting does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of S3 (SSE-S3).
    S3,
    /// With a key of KMS (SSE-KMS, with a bucket key so that KMS is asked rarely); `None`: the account's key for S3.
    Kms(Option<String>),
}

/// The checksum of an object in parts, which S3 compares on every write, and the SDK on every whole read. One that is written at once
/// has a CRC32, which every store knows and which is enough for its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Of the whole object, in parts or not.
    #[default]
    Crc64Nvme,
    /// Of every part, for stores that do not know the other.
    Crc32,
}

/// How objects are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Objects larger than this are written in parts, in bytes. An upload gathers that much before it sends anything.
    pub threshold: usize,
    /// The size of the first parts in bytes, at least 5 MiB. An upload that sends parts holds about one in memory.
    pub part: usize,
    /// Encryption at rest; `None`: as the bucket says.
    pub encryption: Option<Encryption>,
    /// What is checked of objects in parts.
    pub checksum: Checksum,
}

impl Default for Options {
    fn default() -> Self {
        Options { threshold: 16 << 20, part: 8 << 20, encryption: None, checksum: Checksum::default() }
    }
}

impl Options {
    /// The size of the part with this number, counted from zero.
    pub(super) fn part_size(&self, number: usize) -> usize {
        self.part.max(MIN_PART).saturating_mul(1 + number / GROWTH)
    }

    /// How much an upload gathers before it begins to send parts.
    pub(super) fn gathered(&self) -> usize {
        self.threshold.max(self.part_size(0))
    }

    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        match self.encryption.as_ref()? {
            Encryption::S3 => Some(ServerSideEncryption::Aes256),
            Encryption::Kms(_) => Some(ServerSideEncryption::AwsKms),
        }
    }

    pub(super) fn kms_key(&self) -> Option<String> {
        match self.encryption.as_ref()? {
            Encryption::S3 => None,
            Encryption::Kms(key) => key.clone(),
        }
    }

    pub(super) fn bucket_key(&self) -> Option<bool> {
        matches!(self.encryption, Some(Encryption::Kms(_))).then_some(true)
    }

    pub(super) fn algorithm(&self) -> ChecksumAlgorithm {
        match self.checksum {
            Checksum::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
            Checksum::Crc32 => ChecksumAlgorithm::Crc32,
        }
    }

    /// What the checksum of an object in parts is of.
    pub(super) fn checksum_type(&self) -> ChecksumType {
        match self.checksum {
            Checksum::Crc64Nvme => ChecksumType::FullObject,
            Checksum::Crc32 => ChecksumType::Composite,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_ten_thousand_are_enough() {
        let options = Options::default();
        let all: usize = (0..10_000).map(|number| options.part_size(number)).sum();
        assert!(all > 400 << 30, "{all}");
        assert_eq!(Options { part: 1, ..options }.part_size(0), 5 << 20);
    }
}
