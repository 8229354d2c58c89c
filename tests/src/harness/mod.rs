//! Real nodes as processes: started, asked, killed, and looked at from outside.

pub mod binary;
pub mod client;
pub mod door;
pub mod node;
pub mod peers;
pub mod senders;
pub mod tmpfs;

pub use client::Cli;
pub use door::{Answer, Door};
pub use node::{Node, Setup};
pub use senders::{Senders, Sent};
