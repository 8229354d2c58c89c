//! Cutting a file's events into batches by count and bytes.

use shardmill_connectors::Failure;

use super::report::Refusal;
use crate::commands::source::Events;

/// One event: its place in the file, and its JSON text on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) index: u64,
    pub(super) text: String,
}

/// What travels in one request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// Places in the file that hold no event.
    pub(super) unreadable: Vec<Refusal>,
    /// Bytes of the file behind it, about.
    pub(super) bytes: usize,
}

/// How large a batch may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// The batches of a file's events.
pub(super) fn batches(events: Events, limits: Limits) -> impl Iterator<Item = Result<Batch, Failure>> + Send {
    let mut numbered = (0_u64..).zip(events).peekable();
    std::iter::from_fn(move || {
        let mut batch = Batch::default();
        while let Some((_, next)) = numbered.peek() {
            let size =
                next.as_ref().ok().and_then(|event| event.as_ref().ok()).map_or(0, |text| text.len() + 1);
            let count = batch.items.len() + batch.unreadable.len();
            if count == limits.events || (count > 0 && batch.bytes + size > limits.bytes) {
                break;
            }
            if count > 0 && next.is_err() {
                break; // what was read before goes first
            }
            let Some((index, event)) = numbered.next() else { break };
            match event {
                Ok(Ok(text)) => batch.items.push(Item { index, text }),
                Ok(Err(message)) => batch.unreadable.push(Refusal::new(index, "unreadable", message)),
                Err(failure) => return Some(Err(failure)),
            }
            batch.bytes += size;
        }
        let empty = batch.items.is_empty() && batch.unreadable.is_empty();
        (!empty).then_some(Ok(batch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_at_count_bytes_and_failures() {
        let text = |n: usize| Ok(Ok("x".repeat(n)));
        let events: Vec<Result<Result<String, String>, Failure>> = vec![
            text(4),
            text(4),
            text(4),
            text(20),
            text(1),
            Ok(Err("bad".into())),
            Err(Failure::transient("disk")),
        ];
        let found: Vec<_> = batches(Box::new(events.into_iter()), Limits { events: 2, bytes: 12 }).collect();
        let shape = |batch: &Result<Batch, Failure>| match batch {
            Ok(batch) => (batch.items.iter().map(|item| item.index).collect(), batch.unreadable.len()),
            Err(_) => (vec![99], 0),
        };
        let shapes: Vec<(Vec<u64>, usize)> = found.iter().map(shape).collect();
        assert_eq!(shapes, [(vec![0, 1], 0), (vec![2], 0), (vec![3], 0), (vec![4], 1), (vec![99], 0)]);
    }
}
