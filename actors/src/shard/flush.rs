//! A flush that was asked for: it commits everything that had been read by then, also what is still on its way to the writer.

/// What is asked for, and what was done.
#[derive(Debug)]
pub(super) struct Flush {
    /// The last one that was done.
    done: u64,
    /// The one that is asked for, and how many records have to be taken in before.
    wanted: Option<(u64, u64)>,
}

impl Flush {
    /// So many were asked for before there was anything to commit.
    pub(super) fn new(asked: u64) -> Self {
        Flush { done: asked, wanted: None }
    }

    /// Whether there is one to be done now: `asked` were asked for so far, `read` tells how many records were read, and `taken` of
    /// them have been taken in.
    pub(super) fn is_due(&mut self, asked: u64, taken: u64, read: impl FnOnce() -> u64) -> bool {
        // Asked for again, it waits for no more than it did: whoever asks often enough would never see one done.
        asked != self.done && self.wanted.get_or_insert_with(|| (asked, read())).1 <= taken
    }

    /// All that was taken in is committed, or about to be.
    pub(super) fn settle(&mut self, taken: u64) {
        if let Some((number, _)) = self.wanted.take_if(|(_, records)| *records <= taken) {
            self.done = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_what_was_read_before_it_was_asked_for() {
        let mut flush = Flush::new(3);
        assert!(!flush.is_due(3, 0, || 10), "nobody asked");
        assert!(!flush.is_due(4, 6, || 10), "four are on their way");
        flush.settle(6);
        assert!(!flush.is_due(4, 9, || 99), "a commit for another reason is none of it");
        assert!(flush.is_due(4, 10, || 99), "what was read since does not matter");
        assert!(flush.is_due(5, 10, || 99), "nor that it is asked for again");
        flush.settle(12);
        assert!(flush.is_due(5, 12, || 12), "that is another one");
        flush.settle(12);
        assert!(!flush.is_due(5, 12, || 99));
    }
}
