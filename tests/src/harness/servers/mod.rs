//! Servers that speak AWS's protocols on loopback, started by whoever needs them and ended with them.
//!
//! They come from PyPI and npm, pinned, into folders below the target directory. None of them is AWS: what each is known to
//! do differently stands in its own file, and no test relies on it.

pub mod athena;
pub mod install;
pub mod kinesis;
pub mod ministack;
pub mod moto;
pub mod process;

pub use kinesis::{Ferrokinesis, KinesisLocal};
pub use ministack::Ministack;
pub use moto::Moto;
pub use process::Process;
