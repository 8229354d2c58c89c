//! Which node may do what: state documents changed by compare-and-set, and the ownership they carry.
//!
//! *Truth is in the documents; messages only speed it up.* A [`Cell`] is one document with the rules that make a
//! conditional write safe when replies are lost; [`ownership`] says who may take, keep and release the work that a document
//! stands for. With one node there is no leader and no plan: the node plans for itself.

pub mod cell;
pub mod membership;
pub mod node;
pub mod ownership;
pub mod transport;

pub use cell::Cell;
pub use membership::{Lease, Membership};
pub use node::{Liveness, NodeId};
pub use ownership::{Owned, Ownership, Take};
pub use transport::{ControlPlane, Transport};
