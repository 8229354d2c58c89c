//! Which node may do what: state documents changed by compare-and-set, and the ownership they carry.
//!
//! *Truth is in the documents; messages only speed it up.* A [`Cell`] is one document with the rules that make a
//! conditional write safe when replies are lost; [`ownership`] says who may take, keep and release the work that a document
//! stands for. [`membership`] tells who lives, and a [`Hold`] whether this node may still act. [`placement`]
//! says who is to do which work.

pub mod calls;
pub mod cell;
pub mod clock;
pub mod hold;
pub mod membership;
pub mod node;
pub mod ownership;
pub mod placement;
pub mod share;

pub use cell::Cell;
pub use hold::Hold;
pub use membership::{Lease, Membership};
pub use node::{Gone, Liveness, NodeId};
pub use ownership::{Owned, Ownership, Take};
