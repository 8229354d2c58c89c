//! Supervision: a failure is answered by a directive; the supervisor owns the work, a child only borrows one unit.
//!
//! A [`Worker`] does one unit of work per step and says what failed. Its [supervisor](supervisor) looks the answer up in the
//! table ([`crate::tree`]) through one pure function, [`decide::decide`], and carries it out: the same child again, a fresh
//! child, the unit dead-lettered, a pause, a stop, or an escalation to the supervisor above. A crash loses nothing, because
//! the position behind the unit has not moved.

pub mod backoff;
mod child;
pub mod decide;
pub mod history;
mod pulse;
pub mod registry;
mod stalls;
mod state;
pub mod strategy;
pub mod supervisor;
#[cfg(test)]
mod tests;
pub mod worker;

pub(crate) use child::guarded;
pub use decide::{Directive, decide};
pub use history::History;
pub use pulse::Pulse;
pub use registry::{Registry, Status};
pub use stalls::{Stall, Stalled};
pub use strategy::{Answer, Intensity, Rule, Scope, Strategy};
pub use supervisor::{Body, ChildSpec, Group, SupervisorHandle};
pub use worker::{Next, Worker};
