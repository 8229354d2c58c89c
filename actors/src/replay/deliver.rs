//! Replaying to one destination: every event that its rules and its mapping have for it today, as dead letters are redelivered. A
//! portion that was delivered is remembered; one that a kill cut short is sent again from its beginning, under the same keys.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shardmill_cluster::{Cell, cell};
use shardmill_connectors::clock::Millis;
use shardmill_connectors::crash;
use shardmill_connectors::failure::{Class, Failure};
use shardmill_connectors::json::Object;
use shardmill_connectors::layout::documents as names;
use shardmill_connectors::routing::Rules;

use super::Run;
use super::portion::Portion;
use super::records::Records;
use crate::dead_letters::deliver::{Events, Redelivery};
use crate::dead_letters::letter::GivenUp;
use crate::dead_letters::selection::Status;
use crate::dead_letters::{Letter, Search, Selection};
use crate::shared::StreamSettings;

/// Requests that a dry run shows.
const SHOWN: usize = 5;

/// What a destination got of a portion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) delivered: u64,
    pub(super) dead_letters: u64,
    pub(super) skipped: u64,
    pub(super) at: Millis,
    /// The number of the last raw backup of its shard and hour that it has got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) through: Option<u64>,
}

impl Run<'_> {
    /// Sends a portion to the destination `name`; the number of the raw backup through which this is done now, `None` when it takes
    /// no more.
    pub(super) async fn deliver(
        &mut self,
        portion: &Portion,
        stream: &StreamSettings,
        name: &str,
    ) -> Result<Option<u64>, Failure> {
        let Some((sent, stopped)) = self.send(portion, stream, name).await? else { return Ok(None) };
        if let Some(reason) = stopped {
            self.add(&sent);
            let advice = "mend it and replay again: what was delivered before is remembered hour by hour";
            self.result.failed.push(format!(
                "the destination `{name}` takes nothing now, {} was not finished: {reason}; {advice}",
                portion.of
            ));
            return Ok(None);
        }
        crash::point("replay.after-delivery");
        if self.with.dry_run || (sent.delivered == 0 && sent.dead_letters == 0) {
            self.add(&sent);
            return Ok(Some(portion.through()));
        }
        let documents = self.with.ports.documents.clone();
        let mut cell: Cell<Sent> = Cell::load(documents, names::replay(&portion.source)).await?;
        if cell.state().is_none() {
            match cell.replace(sent.clone()).await {
                Err(failure) if failure.class == Class::Fenced => {}
                outcome => outcome?,
            }
        }
        self.remembered(&sent);
        // Somebody else may have sent the same meanwhile: what only this run has sent, the next one sends again.
        Ok(Some(portion.through()))
    }

    /// Counts what an earlier run has delivered.
    pub(super) async fn delivered_before(&mut self, source: &str) -> Result<(), Failure> {
        let documents = self.with.ports.documents.as_ref();
        if let Some(sent) = cell::read::<Sent>(documents, &names::replay(source)).await? {
            self.result.adopted += 1;
            self.remembered(&sent);
        }
        Ok(())
    }

    fn remembered(&mut self, sent: &Sent) {
        self.result.sources += 1;
        self.add(sent);
    }

    fn add(&mut self, sent: &Sent) {
        self.result.delivered += sent.delivered;
        self.result.dead_letters += sent.dead_letters;
        self.result.skipped += sent.skipped;
    }

    /// The letters to the destination that are settled: found out once.
    async fn settled(&mut self, name: &str) -> Result<Arc<HashSet<u128>>, Failure> {
        if let Some(settled) = &self.settled {
            return Ok(settled.clone());
        }
        let (destination, status) = (Some(name.to_owned()), vec![Status::Redriven, Status::Purged]);
        let selection = Selection { destination, status, ..Selection::default() };
        let (mut search, mut found) = (Search::open(self.with.ports, &selection).await?, HashSet::new());
        while let Some(one) = search.next().await? {
            found.extend(u128::from_str_radix(&one.letter.id, 16));
        }
        Ok(self.settled.insert(Arc::new(found)).clone())
    }

    /// What was sent, and why no more; `None` when there is no such destination.
    async fn send(
        &mut self,
        portion: &Portion,
        stream: &StreamSettings,
        name: &str,
    ) -> Result<Option<(Sent, Option<String>)>, Failure> {
        let with = self.with;
        let Some(target) = with.targets.target(name) else {
            self.result.failed.push(format!("the destination `{name}` is not configured"));
            return Ok(None);
        };
        let settled = self.settled(name).await?;
        let all = (&portion.of, self.all, &self.erased);
        let records = Records::new(&with, self.request, all, stream, &mut self.pace);
        let rules = stream.rules.current();
        let mut chosen = Chosen { records, stream, rules, name, settled, skipped: 0 };
        let (ports, rate, dry_run) = (with.ports, with.rate, with.dry_run);
        let redelivery = Redelivery { ports, rate, dry_run, progress: &|_| {} };
        let done = redelivery.send(target, &mut chosen).await;
        let (read, matched, skipped) = (chosen.records.read, chosen.records.matched, chosen.skipped);
        self.result.read += read;
        self.result.matched += matched;
        let done = done?;
        let room = SHOWN.saturating_sub(self.result.requests.len());
        self.result.requests.extend(done.requests.into_iter().take(room));
        let (delivered, dead_letters) = (done.delivered, done.came_back);
        let (skipped, at, through) = (skipped + done.skipped, Millis::now(), Some(portion.through()));
        let sent = Sent { delivered, dead_letters, skipped, at, through };
        Ok(Some((sent, done.stopped)))
    }
}

/// The letter with as many redrives that the letter that may come of it is none that is settled already: it would never be seen.
fn anew(mut letter: Letter, settled: &HashSet<u128>) -> Letter {
    while u128::from_str_radix(&letter.id_again(), 16).is_ok_and(|id| settled.contains(&id)) {
        letter.redrives += 1;
    }
    letter
}

/// The events of a portion that the rules have for a destination.
struct Chosen<'r> {
    records: Records<'r>,
    stream: &'r StreamSettings,
    rules: Arc<Rules>,
    name: &'r str,
    settled: Arc<HashSet<u128>>,
    /// Records that are no events, or not meant for it.
    skipped: u64,
}

#[async_trait]
impl Events for Chosen<'_> {
    async fn next(&mut self) -> Result<Option<Letter>, Failure> {
        while let Some(kept) = self.records.next().await? {
            let event = Object::parse(&kept.data).ok();
            let is_meant = event.is_some_and(|event| {
                let name = self.stream.fields.name(&event);
                self.rules.routes(self.name, &event, name.as_deref(), &kept.key)
            });
            if !is_meant {
                self.skipped += 1;
                continue;
            }
            let letter = Letter::delivery(GivenUp {
                stream: self.stream,
                destination: self.name,
                origin: kept.origin,
                key: &kept.key,
                data: &kept.data,
                failure: &Failure::rejected("replayed"),
                response: None,
                attempted_at: &[],
                attempts: 0,
                redrives: 0,
                at: Millis::now(),
            });
            return Ok(Some(anew(letter, &self.settled)));
        }
        Ok(None)
    }
}
