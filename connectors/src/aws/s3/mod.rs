//! S3: objects, documents, and files that others put there.
//!
//! Creating is `If-None-Match: *`, changing is `If-Match`; both are atomic in S3, and reads see every finished write. A
//! write that failed without a clear answer may have happened: whoever called reads back (see [`crate::ports::Documents`]).
//! `tests` runs the ports' conformance suites on this.
//!
//! The bucket should have a lifecycle rule `AbortIncompleteMultipartUpload`: what a killed process had uploaded in parts is
//! invisible, but kept and paid for until then.

mod answer;
mod bucket;
mod documents;
mod objects;
mod options;
mod place;
mod probe;
mod raw;
mod upload;

pub use documents::S3Documents;
pub use objects::S3Objects;
pub use options::{Checksum, Encryption, Options};
pub use place::S3Place;
pub use raw::{Found, Page, RawFile, RawFiles};
