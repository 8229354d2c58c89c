//! How often documents are read and written: what coordination costs, to be seen while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Document, Documents, Tag, Written};

use crate::clock::Clock;

/// Calls by kind, those included that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Documents read, by name.
    pub reads: u64,
    /// Conditional writes and deletes.
    pub writes: u64,
    /// Lists of names.
    pub lists: u64,
}

#[derive(Debug, Default)]
struct Window {
    total: Counts,
    minute: u64,
    this: Counts,
    last: Counts,
}

impl Window {
    fn turn(&mut self, minute: u64) {
        if minute != self.minute {
            let followed = minute == self.minute + 1;
            self.last = if followed { self.this } else { Counts::default() };
            (self.this, self.minute) = (Counts::default(), minute);
        }
    }
}

/// Counts calls. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Calls {
    window: Arc<Mutex<Window>>,
    clock: Arc<dyn Clock>,
}

impl Calls {
    /// Nothing counted yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Calls { window: Arc::default(), clock }
    }

    /// All calls so far.
    pub fn total(&self) -> Counts {
        self.with(|window| window.total)
    }

    /// The calls of the last full minute.
    pub fn per_minute(&self) -> Counts {
        self.with(|window| window.last)
    }

    /// The same documents, every call of which is counted here.
    pub fn counted(&self, documents: Arc<dyn Documents>) -> Arc<dyn Documents> {
        Arc::new(Counted { documents, calls: self.clone() })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Window) -> T) -> T {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.turn(self.clock.now().minute());
        look(&mut window)
    }

    fn count(&self, one: impl Fn(&mut Counts)) {
        self.with(|window| {
            one(&mut window.total);
            one(&mut window.this);
        });
    }
}

#[derive(Debug)]
struct Counted {
    documents: Arc<dyn Documents>,
    calls: Calls,
}

#[async_trait]
impl Documents for Counted {
    async fn read(&self, key: &str) -> Result<Option<Document>, Failure> {
        self.calls.count(|counts| counts.reads += 1);
        self.documents.read(key).await
    }

    async fn write(&self, key: &str, body: Bytes, expected: Option<&Tag>) -> Result<Written, Failure> {
        self.calls.count(|counts| counts.writes += 1);
        self.documents.write(key, body, expected).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<Written, Failure> {
        self.calls.count(|counts| counts.writes += 1);
        self.documents.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Failure> {
        self.calls.count(|counts| counts.lists += 1);
        self.documents.list(prefix).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Moment {
            Moment::at(Duration::from_secs(self.0.load(Ordering::Acquire)))
        }
    }

    #[test]
    fn the_last_full_minute_is_shown() {
        let clock = Arc::new(Hand::default());
        let calls = Calls::new(clock.clone());
        (0..3).for_each(|_| calls.count(|counts| counts.writes += 1));
        assert_eq!((calls.total().writes, calls.per_minute().writes), (3, 0));
        clock.0.store(61, Ordering::Release);
        calls.count(|counts| counts.reads += 1);
        assert_eq!(
            (calls.total().writes, calls.per_minute()),
            (3, Counts { writes: 3, ..Counts::default() })
        );
        clock.0.store(200, Ordering::Release);
        assert_eq!(calls.per_minute(), Counts::default(), "a minute without calls lies between");
    }
}
