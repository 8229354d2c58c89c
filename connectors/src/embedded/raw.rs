//! Raw files on this machine: `s3://bucket/key` lies at `<data-dir>/raw/<bucket>/<key>`, `file://` names any file.
//!
//! Files are listed alike: below a bucket's folder, or anywhere on this machine.
//!
//! So a pipeline that reads files from S3 can be tried with nothing but a folder. A file's version is its size and the time
//! it was changed: whoever announces a file has finished it.

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;
use std::{fs, io};

use async_trait::async_trait;
use bytes::Bytes;

use crate::batches::{Pattern, local};
use crate::failure::Failure;
use crate::ports::{Listed, Listing, Place, RawBody, RawFile, RawFiles};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct EmbeddedRaw {
    root: PathBuf,
}

impl EmbeddedRaw {
    /// The raw files of the data directory `dir`.
    pub fn new(dir: &Path) -> Self {
        EmbeddedRaw { root: dir.join("raw") }
    }

    fn path(&self, place: &Place) -> Result<PathBuf, Failure> {
        let path = Path::new(&place.key);
        if place.bucket.is_empty() {
            return Ok(path.to_owned());
        }
        // A key is a name, not a way: it must not lead out of the folder.
        let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        match plain(Path::new(&place.bucket)) && plain(path) && !place.key.is_empty() {
            true => Ok(self.root.join(&place.bucket).join(path)),
            false => Err(Failure::rejected(format!("{} is not the name of a file", place.url()))),
        }
    }
}

/// What tells one content of a file from another: when it was changed, and its size.
fn version(known: &fs::Metadata) -> String {
    let changed = known.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    format!("{:x}-{:x}", changed.unwrap_or_default().as_nanos(), known.len())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let detail = format!("{} cannot be read: {error}", path.display());
    match error.kind() {
        NotFound | NotADirectory | IsADirectory => Failure::rejected(detail),
        PermissionDenied => Failure::unauthorized(detail),
        _ => Failure::transient(detail),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let died = |error| Failure::crashed(format!("reading a raw file: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(died)?
}

#[async_trait]
impl RawFiles for EmbeddedRaw {
    async fn open(&self, place: &Place) -> Result<RawFile, Failure> {
        let path = self.path(place)?;
        blocking(move || {
            let file = std::fs::File::open(&path).map_err(|error| failed(&path, &error))?;
            let known = file.metadata().map_err(|error| failed(&path, &error))?;
            if !known.is_file() {
                return Err(Failure::rejected(format!("{} is not a file", path.display())));
            }
            let version = version(&known);
            let body = Body { path, file: Some(file), left: known.len() };
            Ok(RawFile { listed: version.clone(), version, size: known.len(), body: Box::new(body) })
        })
        .await
    }

    async fn list(&self, pattern: &Pattern, _: Option<&str>) -> Result<Listing, Failure> {
        let (pattern, bucket) = (pattern.clone(), pattern.bucket().to_owned());
        let base = match bucket.as_str() {
            "" => PathBuf::from("/"),
            // The literal parts of a pattern are names, not ways, as those of a key.
            name => self
                .path(&Place { bucket: name.to_owned(), key: pattern.key().to_owned(), version: None })
                .map(|_| self.root.join(name))?,
        };
        blocking(move || {
            let found = local::list(&base, &pattern).map_err(|error| failed(&base, &error))?;
            let file = |(key, known): (String, fs::Metadata)| Listed {
                place: Place { bucket: bucket.clone(), key, version: None },
                version: version(&known),
                size: known.len(),
            };
            Ok(Listing { files: found.into_iter().map(file).collect(), next: None })
        })
        .await
    }
}

struct Body {
    path: PathBuf,
    /// Away while it is read from.
    file: Option<std::fs::File>,
    left: u64,
}

#[async_trait]
impl RawBody for Body {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(mut file) = self.file.take() else {
            return Err(Failure::crashed("a raw file was read after a failure"));
        };
        let (path, most) = (self.path.clone(), self.left.min(PIECE as u64));
        let (file, piece) = blocking(move || {
            let mut piece = vec![0; usize::try_from(most).unwrap_or(PIECE)];
            let read = file.read(&mut piece).map_err(|error| failed(&path, &error))?;
            piece.truncate(read);
            match read {
                0 => Err(Failure::transient(format!("{} became shorter while it was read", path.display()))),
                _ => Ok((file, piece)),
            }
        })
        .await?;
        self.left -= piece.len() as u64;
        self.file = Some(file);
        Ok(Some(piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn place(bucket: &str, key: &str) -> Place {
        Place { bucket: bucket.into(), key: key.into(), version: None }
    }

    #[tokio::test]
    async fn files_are_read_to_their_end_and_names_stay_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let raw = EmbeddedRaw::new(dir.path());
        let path = dir.path().join("raw/b/in/ü 1.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = vec![b'x'; PIECE * 2 + 7];
        std::fs::write(&path, &content).unwrap();
        for place in [place("b", "in/ü 1.json"), place("", &path.display().to_string())] {
            let mut file = raw.open(&place).await.unwrap();
            let mut read = Vec::new();
            while let Some(piece) = file.body.next().await.unwrap() {
                read.extend_from_slice(&piece);
            }
            assert_eq!((read.len(), file.size), (content.len(), content.len() as u64));
        }
        for wrong in [
            place("b", "none"),
            place("b", "../../b"),
            place("..", "x"),
            place("b", "/etc/hosts"),
            place("b", "in"),
        ] {
            assert_eq!(raw.open(&wrong).await.unwrap_err().class, Class::Rejected, "{wrong:?}");
        }
    }
}
