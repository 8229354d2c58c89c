//! Whose events are erased: a condition that is kept without the values it asks for, and what it means for events and for rows.
//!
//! ```text
//! Wanted (clear, as it was asked for) ── Seal::of ──▶ Seal (salted hashes, kept in a document)
//!                                                    ├─ an event as it was received: field by field
//!                                                    └─ rows of a table: column by column, and within JSON    (rows.rs)
//! every document's seal ─▶ Erasures: one question at every door, whether an event must not come back           (many.rs)
//! ```
//!
//! Fields are told apart without case, `_` and `-`: `userId`, `user_id` and `UserID` are one. Streams spell them as they like, and
//! columns are spelled otherwise again; an event that is found once too often is told by a dry run, one that is missed is not.

mod field;
mod many;
mod rows;
mod seal;

pub use field::Field;
pub use many::Erasures;
pub use rows::{Aliases, RowSieve};
pub use seal::{Seal, Wanted};
