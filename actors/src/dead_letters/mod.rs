//! Dead letters: what could not be processed, kept with payload and reason until it is mended and redriven.
//!
//! A file of letters is an object first, listed by the commit that moves the position past its events. It is then
//! [indexed](index) and handed to the queue, and only then unlisted. Files never change: [edited](edits) payloads lie over
//! them, and what is [settled](index::Settled) is remembered beside them. [`redrive`] turns letters of the lake into late
//! inputs of their own hours, and sends letters of destinations [there again](deliver).

mod announce;
mod attempt;
pub mod deliver;
pub mod edits;
pub(crate) mod edits_sift;
mod handover;
pub mod index;
mod lake;
pub mod letter;
pub mod lines;
mod recall;
pub mod redrive;
pub mod retention;
pub mod search;
pub mod selection;
mod settle;
pub(crate) mod sift;
pub mod targets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use announce::{Announced, announce, announce_once, announce_owed};
pub use edits::{Edit, Editing};
pub(crate) use handover::hand_over;
pub use index::{DeadIndex, Settled, Settlement};
pub use letter::Letter;
pub(crate) use recall::recall;
pub use search::Search;
pub use selection::Selection;
pub use settle::{record, settle, withdraw};
