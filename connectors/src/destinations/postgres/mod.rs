//! PostgreSQL: each event a row of a warehouse's table, copied and merged, exactly once.
//!
//! A batch is one transaction: it is copied (`COPY … FROM STDIN`) into a temporary table that is gone with the transaction, and what
//! the table does not have yet is inserted from there (`INSERT … SELECT … ON CONFLICT (id) DO NOTHING`). The table's unique index
//! over the event's id is what makes it exactly once: a batch whose answer was lost, one that is batched differently after a
//! restart, and one that two nodes send at a time may all be repeated. What is done otherwise than usual:
//! - The temporary table is made anew for each batch, of the columns that are written and without their constraints: so poolers that
//!   hand a connection to somebody else between two transactions are no trouble, and a table that was changed is seen as it is.
//!   It costs the server a few rows of its catalog, which is little beside thousands of rows.
//! - Settings are made for the transaction only (`SET LOCAL`), for the same reason. The server gives up by itself what has taken
//!   longer than we waited, and a transaction nobody goes on with: the rows that a dead node left half inserted would be waited for
//!   by everybody who repeats them. And what is committed is on the disk, also where `synchronous_commit` is `off`.
//! - Rows are inserted in the order of their ids, so that two merges of the same rows wait for each other and never in a circle.
//! - A conflict with another unique index than that of the id (23505) is no repetition of the event, which `ON CONFLICT` has
//!   dealt with: it is a row that the table does not take, and becomes a dead letter instead of being called delivered.
//! - Private addresses need no permission: a database is hardly ever elsewhere, and what speaks its protocol is nothing that a
//!   forged URL could be turned against. In return TLS is on, with the server's certificate checked, unless an address of one's own
//!   network is written out or something else is configured.
//!
//! Where tables have no unique index (Redshift), rows cannot be merged so, and the destination pauses with what the server said.

mod answer;
mod client;
mod copy;
mod merge;
mod server;
mod settings;
mod shape;
mod table;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

pub use settings::SETTINGS;

use super::registry::Setup;
use super::settings::SettingProblem;
use super::{Answer, Batch, Destination, Event, Limits, Shaped, event};
use crate::failure::Failure;
use client::CONCURRENCY;
use settings::Postgres;

/// Opens a table. Connections are made by the first delivery.
pub fn open(setup: Setup) -> Result<Arc<dyn Destination>, Vec<SettingProblem>> {
    Ok(Arc::new(settings::read(setup)?))
}

#[async_trait]
impl Destination for Postgres {
    fn limits(&self) -> Limits {
        Limits {
            events: 10_000, // beyond that, a transaction's own cost is no longer seen
            bytes: 64 << 20,
            linger: Duration::from_secs(2),
            concurrency: CONCURRENCY,
            keys_share_batches: true,
        }
    }

    fn shape(&self, event: Event) -> Shaped {
        event::shape(event, |tracked, event| shape::row(&self.table, tracked, event))
    }

    async fn probe(&self) -> Result<bool, Failure> {
        match merge::rehearse(self).await {
            Ok(()) => Ok(true),
            // The first delivery will make it.
            Err(trouble) if self.create && trouble.lacks().is_some() => Ok(true),
            Err(trouble) => Err(answer::refusal(&trouble, self.secret.as_ref()).failure),
        }
    }

    async fn deliver(&self, batch: Batch<'_>) -> Answer {
        match merge::deliver(self, batch.events).await {
            Ok(()) => Answer::delivered(batch.events.len()),
            Err(trouble) => answer::judged(batch, &trouble, self),
        }
    }

    fn preview(&self, batch: Batch<'_>) -> Value {
        let names = || self.table.columns.iter().map(|column| column.name.clone());
        let row = |event: &Event| -> Value {
            let values =
                copy::values(&event.data).into_iter().map(|value| value.map_or(Value::Null, Value::from));
            names().zip(values).collect::<Map<_, _>>().into()
        };
        let end = [self.table.copy(), self.table.merge(), "COMMIT".to_owned()];
        json!({
            "database": self.shown,
            "tls": self.tls,
            "statements": self.table.begin(self.timeout).into_iter().chain(end).collect::<Vec<_>>(),
            "rows": copy::distinct(batch.events).map(row).collect::<Vec<_>>(),
        })
    }
}
