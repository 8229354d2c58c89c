//! Which node may do what: state documents changed by compare-and-set, and the ownership they carry.
//!
//! *Truth is in the documents; messages only speed it up.* A [`Cell`] is one document with the rules that make a
//! conditional write safe when replies are lost; [`ownership`] says who may take, keep and release the work that a document
//! stands for. [`membership`] tells who lives, and a [`Hold`] whether this node may still act. One node leads ([`leader`]) and
//! places all work ([`placement`]) in the plan ([`plan`]); [`coordination`] puts a node's part together.

pub mod calls;
pub mod cell;
pub mod clock;
pub mod coordination;
pub mod hold;
pub mod leader;
pub mod membership;
pub mod node;
pub mod ownership;
pub mod placement;
pub mod plan;
pub mod share;
pub mod transport;

pub use cell::Cell;
pub use coordination::Coordination;
pub use hold::Hold;
pub use membership::{Lease, Membership};
pub use node::{Gone, Liveness, NodeId};
pub use ownership::{Owned, Ownership, Take};
pub use plan::Plan;
pub use transport::{ControlPlane, Transport};
