//! Whose events are erased: a condition that is kept without the values it asks for, and what it means for events and for rows.
//!
//! ```text
//! Wanted (clear, as it was asked for) ── Tables::read ──▶ … and how columns read its fields                    (tables.rs)
//!                                     ── Seal::of ─────▶ Seal (salted hashes, kept in a document)              (seal.rs)
//!                                                    ├─ an event as it was received: field by field
//!                                                    └─ rows of a table: column by column, and within JSON    (rows.rs)
//! every document's seal ─▶ Erasures: one question at every door, whether an event must not come back           (many.rs)
//! ```
//!
//! Fields are told apart without case, `_` and `-`: `userId`, `user_id` and `UserID` are one. Streams spell them as they like, and
//! columns are spelled otherwise again; an event that is found once too often is told by a dry run, one that is missed is not. A field is
//! a property of events, and in a table the column that holds it; the name of a column that holds another one means nothing. When two
//! spellings are of one value, [`spelling`] says, to events and rows alike.

mod field;
mod many;
mod rows;
mod seal;
mod spelling;
mod tables;

#[cfg(test)]
mod agreement;

pub use field::Field;
pub use many::Erasures;
pub use rows::{RowSieve, Sieves};
pub use seal::{Seal, Wanted};
pub use spelling::{Reading, exact};
pub use tables::{Columns, Tables};
