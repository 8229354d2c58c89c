//! The proofs of several nodes: real processes on one lake, with load running, watched from outside by what the documents say and
//! by what arrives at a destination.
//!
//! ```text
//! failover.rs         SIGKILL of workers and leaders          scale.rs         from one node to five and back
//! zombie.rs           SIGSTOP, and waking up too late         store_outage.rs  documents away, peers cut off
//! rolling_restart.rs  all nodes in turn, in good order        blocked_sink.rs  a destination that never answers
//! cut_off.rs  the part of store-outage in a network of its own
//! rig.rs, setting.rs, load.rs, judge.rs, finish.rs  what they share
//! ```

pub mod blocked_sink;
pub mod cut_off;
pub mod failover;
mod finish;
mod judge;
mod load;
mod rig;
pub mod rolling_restart;
pub mod scale;
mod setting;
pub mod store_outage;
pub mod zombie;

use rig::Rig;
use setting::{Backend, Size};
