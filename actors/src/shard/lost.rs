//! What a stream has trimmed before it was read: nobody can bring it back, so it is told as loudly as can be, by a dead letter that
//! names the range, and by an alarm.

use shardmill_connectors::clock::Millis;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::layout;
use shardmill_connectors::record::{Origin, Record};
use uuid::Uuid;

use super::Parts;
use super::place::Place;
use crate::dead_letters::{Letter, letter};
use crate::ledger::Change;
use crate::standardise;
use crate::state::ShardState;

/// A range that is lost.
#[derive(Debug)]
pub(super) struct Lost {
    /// The destination that has not got it; `None`: the lake has not.
    destination: Option<String>,
    origin: Origin,
    text: String,
}

/// Whether a consumer that stands at `from` can have lost anything. A stream cannot say whether there was anything between a
/// position whose record is trimmed and the oldest record there is; the document can: every row older than the watermark was
/// committed, so a consumer that is as far as the lake has lost nothing unless the watermark is older than the retention.
pub(super) async fn is_possible(parts: &Parts, from: &Place) -> bool {
    let Some(retention) = parts.stream.retention else { return true };
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let oldest = Millis::now().plus(-retention);
    let safe = |state: &ShardState| {
        from.position() >= state.position.as_ref() && state.watermark.is_some_and(|until| until > oldest)
    };
    !parts.ledger.with(safe).await
}

impl Lost {
    /// What is missing between the place that was asked for and the first record there is.
    pub(super) fn between(
        parts: &Parts,
        destination: Option<&str>,
        from: &Place,
        next: Option<&Record>,
    ) -> Lost {
        let arrived_at = next.map_or_else(Millis::now, |next| next.arrived_at);
        let after = from.position().map(|position| Origin {
            stream: parts.stream.stream.name().into(),
            shard: parts.shard.clone(),
            sequence: position.sequence.clone(),
            subsequence: position.subsequence,
            arrived_at,
        });
        let first = next.map(|next| standardise::origin(&parts.stream, &parts.shard, next));
        let text = format!(
            "records of {} after {} and before {} were trimmed by the stream's retention before they were {}: they are lost",
            parts.name,
            after.as_ref().map_or("its beginning".to_owned(), |after| after.position().to_string()),
            first.as_ref().map_or("its end".to_owned(), |first| first.position().to_string()),
            destination.map_or("read".to_owned(), |name| format!("delivered to {name}")),
        );
        let origin = after.or(first).unwrap_or_else(|| Origin {
            stream: parts.stream.stream.name().into(),
            shard: parts.shard.clone(),
            sequence: 0_u64.into(),
            subsequence: 0,
            arrived_at,
        });
        tracing::error!(shard = %parts.name, "{text}; raise the retention");
        Lost { destination: destination.map(str::to_owned), origin, text }
    }

    /// Uploads the letter and stages it: the commit that passes the range names it.
    ///
    /// # Errors
    /// Those of the store; to be told again then.
    pub(super) async fn tell(&self, parts: &Parts) -> Result<(), Failure> {
        let random = Uuid::new_v4().simple().to_string();
        let stream = parts.stream.stream.name();
        let key = layout::dead_letters(stream, &parts.shard, parts.ledger.epoch(), &random);
        let at = Millis::now();
        let letter =
            Letter::lost(&parts.stream, self.destination.as_deref(), self.origin.clone(), &self.text, at);
        let file = letter::upload(parts.shared.ports.objects.as_ref(), &key, &[letter]).await?;
        parts.ledger.stage(Change::Lost { file, text: self.text.clone(), at }).await;
        Ok(())
    }
}
