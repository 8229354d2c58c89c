//! Real nodes as processes: started, asked, killed, and looked at from outside.

pub mod binary;
pub mod client;
pub mod node;
pub mod senders;

pub use client::Cli;
pub use node::{Node, Setup};
pub use senders::{Senders, Sent};
