//! Reading a file of letters piece by piece: memory holds a few megabytes of it, however large it is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::Objects;

use super::letter::Letter;

/// Bytes read at once.
const PIECE: u64 = 4 << 20;

/// The lines of an object, from the first to the last.
#[derive(Debug)]
pub struct Lines {
    objects: Arc<dyn Objects>,
    key: String,
    size: u64,
    read: u64,
    /// The beginning of a line whose end has not been read.
    begun: Vec<u8>,
    whole: VecDeque<Bytes>,
}

impl Lines {
    /// The lines of the object `key`, which must exist.
    pub async fn open(objects: Arc<dyn Objects>, key: &str) -> Result<Self, Failure> {
        let size = match objects.head(key).await? {
            Some(object) => object.size,
            None => return Err(Failure::rejected(format!("the object {key} does not exist"))),
        };
        Ok(Lines { objects, key: key.to_owned(), size, read: 0, begun: Vec::new(), whole: VecDeque::new() })
    }

    /// The next line that is not empty, without its line break.
    pub async fn line(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.whole.pop_front() {
                Some(line) if line.is_empty() => {}
                Some(line) => return Ok(Some(line)),
                None if self.read < self.size => self.fill().await?,
                None if self.begun.is_empty() => return Ok(None),
                None => return Ok(Some(std::mem::take(&mut self.begun).into())),
            }
        }
    }

    /// The next letter.
    pub async fn letter(&mut self) -> Result<Option<Letter>, Failure> {
        let Some(line) = self.line().await? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).map_err(|error| {
            Failure::rejected(format!("dead-letter file {} cannot be read: {error}", self.key))
        })
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let end = self.size.min(self.read + PIECE);
        let piece = self.objects.get_range(&self.key, self.read..end).await?;
        self.read = end;
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(at + 1).slice(..at);
            if self.begun.is_empty() {
                self.whole.push_back(line);
            } else {
                self.begun.extend_from_slice(&line);
                self.whole.push_back(std::mem::take(&mut self.begun).into());
            }
        }
        self.begun.extend_from_slice(&rest);
        Ok(())
    }
}
