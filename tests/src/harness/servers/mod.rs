//! Servers on loopback, started by whoever needs them and ended with them.
//!
//! Those that speak AWS's protocols come from PyPI and npm, pinned, into folders below the target directory. None of them is AWS:
//! what each is known to do differently stands in its own file, and no test relies on it. PostgreSQL is the system's own.

pub mod athena;
pub mod functions;
pub mod install;
pub mod kinesis;
pub mod ministack;
pub mod moto;
pub mod postgres;
pub mod process;

pub use kinesis::{Ferrokinesis, KinesisLocal};
pub use ministack::Ministack;
pub use moto::Moto;
pub use postgres::Postgres;
pub use process::Process;
