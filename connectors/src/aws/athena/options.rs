//! What the Athena catalog is told: where its tables are, and how long and how much it may take.

use std::time::Duration;

/// See the fields; [`Options::new`] has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The Glue database; created if needed.
    pub database: String,
    /// The workgroup; default `primary`.
    pub workgroup: String,
    /// Where Athena writes results, `s3://bucket/prefix/`; `None`: as the workgroup says.
    pub output: Option<String>,
    /// Where the lake lies, `s3://bucket/prefix`: what locations are relative to.
    pub lake: String,
    /// How long one statement of DDL may take, queueing included; default one minute. Athena's own limit is 600 minutes.
    pub ddl_time: Duration,
    /// How long one query may take, queueing included; default 30 minutes, as Athena's own.
    pub query_time: Duration,
    /// Statements of DDL at once; default 4. An account has 20 active ones by default, shared by all nodes, and queued ones
    /// count. <https://docs.aws.amazon.com/general/latest/gr/athena.html>
    pub ddl_at_once: usize,
    /// The most bytes of text one query may answer; default 256 MiB.
    pub result_bytes: usize,
    /// Between the first two looks at a running statement; it doubles up to a second. Default 100 ms.
    pub look: Duration,
}

impl Options {
    /// Tables of `database` over the lake at `lake`, in the workgroup `primary`.
    pub fn new(database: &str, lake: &str) -> Self {
        Options {
            database: database.to_owned(),
            workgroup: "primary".to_owned(),
            output: None,
            lake: lake.to_owned(),
            ddl_time: Duration::from_secs(60),
            query_time: Duration::from_secs(30 * 60),
            ddl_at_once: 4,
            result_bytes: 256 << 20,
            look: Duration::from_millis(100),
        }
    }

    /// The URL of a folder of the lake. Athena wants a slash at the end, and takes an empty folder's name away.
    /// <https://docs.aws.amazon.com/athena/latest/ug/tables-location-format.html>
    pub(super) fn url(&self, folder: &str) -> String {
        let whole = format!("{}/{}", self.lake.trim_end_matches('/'), folder.trim_matches('/'));
        format!("{}/", whole.trim_end_matches('/'))
    }

    /// The folder of the lake at a URL; the URL itself when it lies elsewhere.
    pub(super) fn folder(&self, url: &str) -> String {
        let inside =
            url.strip_prefix(self.lake.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        inside.unwrap_or(url).trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_urls_and_come_back() {
        for lake in ["s3://b/lake", "s3://b/lake/"] {
            let options = Options::new("d", lake);
            assert_eq!(options.url("tables/t/g1"), "s3://b/lake/tables/t/g1/");
            assert_eq!(options.folder("s3://b/lake/tables/t/g1/"), "tables/t/g1");
            assert_eq!(options.folder("s3://b/lake/tables/t/g1"), "tables/t/g1");
            assert_eq!(options.folder("s3://b/lakes/t/"), "s3://b/lakes/t");
        }
        assert_eq!(Options::new("d", "s3://b").url("t"), "s3://b/t/");
    }
}
