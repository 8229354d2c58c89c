//! Where in S3: a bucket, and what all names in it begin with.

use std::fmt;
use std::str::FromStr;

use crate::failure::Failure;

/// S3's longest key, in bytes.
const MAX_KEY: usize = 1024;

/// A bucket and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with: empty, or ending in `/`.
    pub prefix: String,
}

/// What is wrong with a URL that should name a place in S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` {problem}: write it like `s3://bucket/prefix`")]
pub struct BadPlace {
    url: String,
    problem: String,
}

impl FromStr for S3Place {
    type Err = BadPlace;

    fn from_str(url: &str) -> Result<Self, BadPlace> {
        let bad = |problem: &str| BadPlace { url: url.to_owned(), problem: problem.to_owned() };
        let rest = url.strip_prefix("s3://").ok_or_else(|| bad("does not begin with `s3://`"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        check_bucket(bucket).map_err(bad)?;
        let prefix = prefix.trim_end_matches('/');
        if prefix.split('/').any(|part| part == "." || part == "..")
            || prefix.contains("//")
            || prefix.starts_with('/')
        {
            return Err(bad("has an empty part, `.` or `..` in its prefix"));
        }
        if prefix.contains(['?', '#', '\0']) {
            return Err(bad("has `?` or `#` in its prefix"));
        }
        if prefix.len() > MAX_KEY / 2 {
            return Err(bad("has a prefix longer than 512 bytes"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(S3Place { bucket: bucket.to_owned(), prefix })
    }
}

/// The rules of general-purpose buckets' names, as far as they tell a name from something else.
fn check_bucket(bucket: &str) -> Result<(), &'static str> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    match bucket {
        "" => Err("names no bucket"),
        name if name.len() < 3 || name.len() > 63 => {
            Err("has a bucket name of fewer than 3 or more than 63 letters")
        }
        name if !name.chars().all(known) => {
            Err("has a bucket name with other than lower-case letters, digits, `-` and `.`")
        }
        name if name.starts_with(['-', '.']) || name.ends_with(['-', '.']) => {
            Err("has a bucket name that begins or ends with `-` or `.`")
        }
        _ => Ok(()),
    }
}

impl S3Place {
    /// The whole key of `name`.
    ///
    /// # Errors
    /// `Rejected` when S3 or some client of it would not take the name as it is.
    pub(super) fn key(&self, name: &str) -> Result<String, Failure> {
        let key = format!("{}{name}", self.prefix);
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        if key.len() > MAX_KEY || name.contains('\0') || name.split('/').any(bad) {
            return Err(Failure::rejected(format!(
                "`{name}` cannot name anything in {self}: up to {MAX_KEY} bytes with the prefix, parts between `/` not empty, `.` or `..`"
            )));
        }
        Ok(key)
    }

    /// The whole prefix of names that begin with `prefix`.
    pub(super) fn beginning(&self, prefix: &str) -> String {
        format!("{}{prefix}", self.prefix)
    }

    /// The name of a whole key, if it lies here.
    pub(super) fn name(&self, key: &str) -> Option<String> {
        key.strip_prefix(&self.prefix).map(str::to_owned)
    }

    /// The URL of a name here, for people.
    pub(super) fn shown(&self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.bucket, self.prefix)
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_bucket_and_a_prefix() {
        let cases = [
            ("s3://acme-lake/events", "acme-lake", "events/"),
            ("s3://acme-lake/events/", "acme-lake", "events/"),
            ("s3://acme-lake", "acme-lake", ""),
            ("s3://acme-lake/", "acme-lake", ""),
            ("s3://a.b.c/x/y z", "a.b.c", "x/y z/"),
        ];
        for (url, bucket, prefix) in cases {
            let place: S3Place = url.parse().unwrap();
            assert_eq!((place.bucket.as_str(), place.prefix.as_str()), (bucket, prefix), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        let cases = [
            ("acme/x", "does not begin"),
            ("S3://acme/x", "does not begin"),
            ("s3://", "names no bucket"),
            ("s3:///x", "names no bucket"),
            ("s3://ab", "fewer than 3"),
            ("s3://Acme/x", "lower-case"),
            ("s3://arn:aws:s3:x/y", "lower-case"),
            ("s3://acme-/x", "begins or ends"),
            ("s3://acme/a//b", "empty part"),
            ("s3://acme//b", "empty part"),
            ("s3://acme/../b", "`..`"),
            ("s3://acme/b?versionId=1", "`?`"),
        ];
        for (url, reason) in cases {
            let error = url.parse::<S3Place>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("s3://bucket/prefix"), "{url}: {error}");
        }
    }

    #[test]
    fn keys_begin_with_the_prefix_and_come_back_without_it() {
        let place: S3Place = "s3://acme/lake".parse().unwrap();
        assert_eq!(place.key("a/b").unwrap(), "lake/a/b");
        assert_eq!(place.name("lake/a/b").as_deref(), Some("a/b"));
        assert_eq!(place.name("other/a"), None);
        for bad in ["", "/a", "a/", "a//b", ".", "../x", "a\0b", &"k".repeat(1020)] {
            assert!(place.key(bad).is_err(), "{bad:?}");
        }
    }
}
