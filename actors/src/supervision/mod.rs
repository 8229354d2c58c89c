//! Supervision: a failure is answered by a directive; the supervisor owns the work, a child only borrows one unit.
//!
//! A [`Worker`] does one unit of work per step and says what failed. Its [supervisor](supervisor) looks the answer up in the
//! table ([`crate::tree`]) through one pure function, [`decide::decide`], and carries it out: the same child again, a fresh
//! child, the unit dead-lettered, a pause, a stop, or an escalation to the supervisor above. A crash loses nothing, because
//! the position behind the unit has not moved.

pub mod backoff;
pub mod child;
pub mod decide;
pub mod handle;
pub mod history;
pub mod registry;
pub mod strategy;
pub mod supervisor;
pub mod worker;

pub use child::{Body, ChildSpec, Group};
pub use decide::{Directive, decide};
pub use handle::SupervisorHandle;
pub use history::History;
pub use registry::{Registry, Status};
pub use strategy::{Answer, Intensity, Rule, Scope, Strategy};
pub use worker::{Next, Worker};
