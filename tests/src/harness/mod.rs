//! Real nodes as processes: started, asked, killed, and looked at from outside.

pub mod binary;
pub mod client;
pub mod cloud;
pub mod cluster;
pub mod door;
pub mod feed;
pub mod kpl;
pub mod node;
pub mod observer;
pub mod peers;
pub mod producer;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod sampler;
pub mod senders;
pub mod servers;
pub mod tmpfs;

pub use client::Cli;
pub use cluster::Cluster;
pub use door::{Answer, Door};
pub use feed::{Book, Feed, Feeding, Offered};
pub use node::{Node, Setup};
pub use observer::Observer;
pub use receiver::Receiver;
pub use sampler::Sampler;
pub use senders::{Senders, Sent};
