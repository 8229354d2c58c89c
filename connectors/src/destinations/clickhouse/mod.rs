//! ClickHouse: each event a row, inserted over HTTP.
//!
//! A batch is one insert and succeeds or fails as a whole. Its token is made of the events' ids: a batch that is repeated as it was
//! is dropped by tables that remember tokens. What is done otherwise than usual:
//! - The insert lists its columns, all names between backticks. A column that the table does not have is then an error about the table,
//!   which pauses the destination; without the list it is one about the rows, and every event would become a dead letter.
//! - The summary that an answer may have is not read: a batch that was dropped as a repetition counts no rows, and is delivered.

mod answer;
mod request;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use settings::Clickhouse;

use super::event::{Item, Tracked};
use super::http::{HttpConnector, Request, Response};
use super::registry::Setup;
use super::settings::{Known, SettingProblem};
use super::{Answer, Batch, Event, Limits, Refusal};

impl HttpConnector for Clickhouse {
    const SETTINGS: &'static [Known] = settings::SETTINGS;

    fn open(setup: Setup) -> Result<Self, Vec<SettingProblem>> {
        settings::read(setup)
    }

    fn limits(&self) -> Limits {
        Limits {
            events: 10_000, // it wants thousands of rows at a time: every insert is a part that must be merged
            bytes: 8 << 20,
            linger: Duration::from_secs(2),
            concurrency: 2,
            keys_share_batches: true,
        }
    }

    fn item(&self, tracked: &Tracked, event: &Event) -> Item {
        shape::row(self, tracked, event)
    }

    fn probe(&self) -> Option<Request> {
        request::probe(self)
    }

    fn request(&self, batch: Batch<'_>) -> Result<Request, Refusal> {
        request::insert(self, batch)
    }

    fn answer(&self, batch: Batch<'_>, response: &Response) -> Answer {
        answer::judged(batch, response)
    }
}
