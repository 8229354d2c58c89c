//! The catch-up: one cursor that reads for all lanes of a shard that do not keep up with the live reader.
//!
//! It stands at the place furthest back among the lanes that can take events now; lanes further on take from its batches
//! what is new to them. A lane that can take nothing is not read for, and holds nobody up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardmill_connectors::failure::Failure;
use shardmill_connectors::ports::{Limit, ShardReader};

use super::lost::{self, Lost};
use super::place::Place;
use super::{Batch, Parts};
use crate::supervision::{Next, Worker};

/// How long it waits for a lane that wants something.
const IDLE: Duration = Duration::from_millis(250);
/// How often it looks whether there is a lane by now.
const LOOK: Duration = Duration::from_secs(1);
/// How long a fetch waits for records: a lane that was detached near the tip must not wait longer than an attached one.
const POLL: Duration = Duration::from_millis(50);
/// Records in a batch, at most.
const RECORDS: usize = 2_000;

/// See the [module](self).
#[derive(Debug)]
pub struct CatchUp {
    parts: Parts,
    /// The open cursor, and where its next fetch begins.
    cursor: Option<(Place, Box<dyn ShardReader>)>,
}

impl CatchUp {
    /// The catch-up of one shard.
    pub fn new(parts: Parts) -> Self {
        CatchUp { parts, cursor: None }
    }

    async fn read(&mut self, from: Place) -> Result<Batch, Failure> {
        let (_, mut cursor) = match self.cursor.take() {
            Some((at, cursor)) if at == from => (at, cursor),
            _ => {
                let stream = &self.parts.stream.stream;
                (from.clone(), stream.open(&self.parts.shard, from.start()).await?)
            }
        };
        let bytes = self.parts.shared.memory.fetch_bytes;
        let mut share = self.parts.shared.memory.fetch.take((bytes + bytes / 4) as u64).await;
        let fetched = cursor.next(Limit { records: RECORDS, bytes }, POLL).await?;
        share.resize(fetched.records.iter().map(|record| record.cost() as u64).sum());
        if fetched.trimmed && lost::is_possible(&self.parts, &from).await {
            for lane in self.parts.feed.standing_at(&from) {
                Lost::between(&self.parts, Some(&lane), &from, fetched.records.first())
                    .tell(&self.parts)
                    .await?;
            }
        }
        let next =
            fetched.records.last().map_or_else(|| from.clone(), |last| Place::After(last.position.clone()));
        self.cursor = Some((next, cursor));
        Ok(Batch {
            records: fetched.records,
            from,
            share,
            complete_until: None,
            ended: fetched.ended,
            set_aside: false,
        })
    }
}

#[async_trait]
impl Worker for CatchUp {
    async fn step(&mut self) -> Result<Next, Failure> {
        if self.parts.feed.has_no_lane() {
            self.cursor = None;
            return Ok(Next::After(LOOK));
        }
        let Some(from) = self.parts.feed.furthest_back() else {
            self.cursor = None;
            let _ = tokio::time::timeout(IDLE, self.parts.feed.wanted()).await;
            return Ok(Next::Again);
        };
        let batch = self.read(from).await?;
        if !batch.records.is_empty() || batch.ended {
            self.parts.feed.hand(&Arc::new(batch));
        }
        Ok(Next::Again)
    }
}
