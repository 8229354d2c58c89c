//! Who was erased while a redelivery goes on: they are not sent what is theirs any more, and get no new letters.

use std::time::Duration;

use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use tokio::time::Instant;
use uuid::Uuid;

use crate::dead_letters::announce;
use crate::dead_letters::index::DeadIndex;
use crate::dead_letters::letter::{self, Letter};
use crate::erase::Remembered;
use crate::shared::Ports;

/// How often it is asked who was erased.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    erased: Remembered,
    /// When that was asked.
    asked: Option<Instant>,
}

impl Meanwhile {
    /// Whether the person of a letter was erased by now.
    pub(super) async fn covers(&mut self, ports: &Ports, letter: &Letter) -> Result<bool, Failure> {
        if self.asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            self.erased.renew(ports.documents.as_ref()).await?;
            self.asked = Some(Instant::now());
        }
        Ok(self.erased.cover_letter(letter))
    }
}

/// Uploads letters as a file of their own, enters it in the index and announces them: how many, and how many not because their
/// people were erased.
pub(super) async fn announce_again(ports: &Ports, mut letters: Vec<Letter>) -> Result<(u64, u64), Failure> {
    let (all, erased) = (letters.len(), Remembered::load(ports.documents.as_ref()).await?);
    letters.retain(|letter| !erased.cover_letter(letter));
    let counts = (letters.len() as u64, (all - letters.len()) as u64);
    if letters.is_empty() {
        return Ok(counts);
    }
    let key = layout::redriven_letters(&Uuid::new_v4().simple().to_string());
    let file = letter::upload(ports.objects.as_ref(), &key, &letters).await?;
    DeadIndex::enter(&ports.documents, &file).await?;
    announce(ports, &key).await?;
    Ok(counts)
}
