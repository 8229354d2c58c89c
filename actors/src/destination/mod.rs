//! Destinations: per node and third party one gate that all its lanes share, one document, one actor.
//!
//! The [`Gate`] says who may send now; lanes ask it before every request. The [`actor`] keeps gate and
//! [document](DestinationState) in agreement and shows how the destination is doing; the [`register`] says which destinations
//! there are.

pub mod actor;
mod document;
pub mod gate;
mod handle;
pub mod register;

pub use document::{DestinationState, Paused, PausedBy, Removal};
pub use gate::Gate;
pub use handle::{Handle, OnOutage, OnUnknown, Permit, Settings};
pub use register::Destinations;
