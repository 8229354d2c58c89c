//! Where a redelivery gets its letters from.

use std::sync::Arc;
use std::vec::IntoIter;

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;

use crate::dead_letters::letter::Letter;
use crate::dead_letters::lines::Lines;
use crate::dead_letters::search::{Known, Search};
use crate::dead_letters::selection::Found;

/// Events that are sent in the way of a redelivery and have no letters yet: each comes as the letter that it becomes when it is
/// given up.
#[async_trait]
pub(crate) trait Events: Send {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// What reading them raises: nothing more is sent.
    async fn next(&mut self) -> Result<Option<Letter>, Failure>;
}

/// Events read at once, at most.
const TOGETHER: usize = 2_000;
/// Bytes of payload read at once, at most (soft by one event).
const TOGETHER_BYTES: usize = 16 << 20;

/// The next events, as many as are held at once. They are read while nothing is under way: where few are found among many, no request
/// waits for the next one to be found.
pub(super) async fn some(events: &mut dyn Events) -> Result<Vec<Letter>, Failure> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while some.len() < TOGETHER && bytes < TOGETHER_BYTES {
        let Some(letter) = events.next().await? else { break };
        bytes += letter.payload_bytes();
        some.push(letter);
    }
    Ok(some)
}

/// Where letters come from.
pub(super) enum Feed {
    Search(Box<Search>),
    /// The events of a letter for a whole range: one letter a line of the object.
    Range {
        object: String,
        lines: Lines,
        known: Arc<Known>,
    },
    Events(IntoIter<Letter>),
}

impl Feed {
    pub(super) async fn next(&mut self) -> Result<Option<Found>, Failure> {
        match self {
            Feed::Search(search) => search.next().await,
            Feed::Range { object, lines, known } => {
                while let Some(letter) = lines.letter().await? {
                    let found = known.found(letter, object)?;
                    if found.settlement.is_none() && !known.is_erased(&found) {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            Feed::Events(events) => {
                let found = |letter| Found { letter, original: None, file: String::new(), settlement: None };
                Ok(events.next().map(found))
            }
        }
    }
}
