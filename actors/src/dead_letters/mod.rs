//! Dead letters: what could not be processed, kept with payload and reason until it is mended and redriven.
//!
//! A file of letters is an object first, listed by the commit that moves the position past its events. It is then
//! [indexed](index) and handed to the queue, and only then unlisted. [`redrive`] turns letters into late inputs of their own
//! hours.

mod announce;
pub mod index;
pub mod letter;
pub mod redrive;
pub mod selection;
mod settle;

pub use announce::announce;
pub use index::{DeadIndex, Settled, Settlement};
pub use letter::Letter;
pub use selection::Selection;
pub use settle::settle;
