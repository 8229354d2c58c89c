//! The records of a portion that a replay is about, one after the other.

use std::slice::Iter;
use std::sync::Arc;

use shardmill_connectors::backup::Kept;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::fields::Fields;
use shardmill_connectors::json::Object;
use shardmill_connectors::ports::Objects;

use super::pace::Pace;
use super::portion::ShardHour;
use super::{Replay, Request};
use crate::erase::Remembered;
use crate::raw::RawReader;
use crate::shared::StreamSettings;
use crate::state::RawFile;

/// Records dealt with before somebody is told, and other tasks get their turn.
const SLICE: u64 = 256;

/// See the [module](self).
pub(super) struct Records<'r> {
    objects: Arc<dyn Objects>,
    request: &'r Request,
    fields: &'r Fields,
    portion: &'r ShardHour,
    files: Iter<'r, RawFile>,
    reader: Option<RawReader>,
    pace: &'r mut Pace,
    tell: &'r (dyn Fn(u64, u64) + Sync),
    erased: &'r Remembered,
    all: u64,
    /// Records that nobody has been told of.
    untold: u64,
    /// Records that arrived in time.
    pub(super) read: u64,
    /// Those of them that the filters admit.
    pub(super) matched: u64,
}

impl<'r> Records<'r> {
    /// The records of `portion`, of `all` that there are to be dealt with.
    pub(super) fn new(
        with: &Replay<'r>,
        request: &'r Request,
        (portion, all, erased): (&'r ShardHour, u64, &'r Remembered),
        stream: &'r StreamSettings,
        pace: &'r mut Pace,
    ) -> Self {
        Records {
            objects: with.ports.objects.clone(),
            request,
            fields: &stream.fields,
            portion,
            files: portion.files.iter(),
            reader: None,
            pace,
            tell: with.progress,
            erased,
            all,
            untold: 0,
            read: 0,
            matched: 0,
        }
    }

    /// The next record that is meant.
    pub(super) async fn next(&mut self) -> Result<Option<Kept>, Failure> {
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(file) = self.files.next() else {
                    self.told();
                    return Ok(None);
                };
                self.reader = Some(RawReader::new(self.objects.clone(), file.clone()));
                continue;
            };
            let Some(kept) = reader.next().await? else {
                self.reader = None;
                continue;
            };
            self.untold += 1;
            if self.untold >= SLICE {
                self.told();
                tokio::task::yield_now().await;
            }
            if self.is_meant(&kept) {
                self.pace.turn().await;
                return Ok(Some(kept));
            }
        }
    }

    fn told(&mut self) {
        (self.tell)(std::mem::take(&mut self.untold), self.all);
    }

    fn is_meant(&mut self, kept: &Kept) -> bool {
        let at = kept.origin.arrived_at;
        if at < self.portion.from || at >= self.portion.to {
            return false;
        }
        if self.erased.cover(&kept.data, &kept.key, at) {
            return false;
        }
        self.read += 1;
        let admitted = self.request.filters.is_empty() || self.is_admitted(kept);
        self.matched += u64::from(admitted);
        admitted
    }

    /// Whether all filters admit a record. What is no event has nothing that they could ask for.
    fn is_admitted(&self, kept: &Kept) -> bool {
        let Ok(event) = Object::parse(&kept.data) else { return false };
        let name = self.fields.name(&event);
        self.request.filters.iter().all(|filter| filter.admits(&event, name.as_deref(), &kept.key))
    }
}
