//! Who is alive, who restarts whom, and what each actor does.
//!
//! ```mermaid
//! flowchart LR
//!   S[(stream)] -->|"fetch budget, bytes"| R[reader]
//!   R -->|"batches, 4 at most"| W[lake writer]
//!   R -->|"feed, or catch-up"| L[lane per destination]
//!   L -->|"batches through the gate"| T[third party]
//!   L -->|"position, parked, dead letters"| D
//!   W -->|segments, dead-letter file| O[(objects)]
//!   W -->|one compare-and-set| D[(documents)]
//!   N[(notices)] -->|files in hand| I[intake]
//!   I -->|"late files, letters"| O
//!   I -->|manifest| D
//!   X[(files of rows)] -->|at their times| Y[schedules] -->|rows| S
//!   Y -->|letters| O
//!   Y -->|"files, marks"| D
//!   M[(redrive queue)] -->|messages in hand| V[redrives]
//!   V -->|"late files, new letters"| O
//!   V -->|manifest, settlements| D
//!   V -->|redelivered letters| T
//!   D --> F[forwarder] -->|letters| Q[(queue)]
//!   D --> C[coordinator] -->|world| H[hour compactor]
//!   H -->|generation| O
//!   H -->|compare-and-set| D
//!   H -->|switch| K[(catalog)]
//!   H -->|manifests of live tables| O
//! ```
//!
//! The supervision tree is the table in [`tree`]; what a supervisor does about a failure is decided in [`supervision`].
//! [`state`] holds the documents and the pure rules over them, [`world`] the order they are read in.

pub mod admin;
pub mod alarms;
pub mod budget;
mod claim;
pub mod cluster;
pub mod coordinator;
pub mod dead_letters;
pub mod destination;
pub mod erase;
mod hand;
pub mod hour;
pub mod intake;
pub mod lake;
pub mod lane;
mod late;
pub mod ledger;
pub mod live;
mod load;
pub mod node;
pub mod patience;
pub mod probing;
pub mod progress;
pub mod promote;
pub mod put;
pub mod rates;
pub mod raw;
pub mod redrives;
pub mod replay;
pub mod reshard;
pub mod rules;
pub mod schedules;
pub mod schemas;
pub mod shard;
pub mod shared;
pub mod standardise;
pub mod state;
pub mod supervision;
pub mod sweeper;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod tree;
pub mod verify;
pub mod world;

pub use node::Node;
pub use shared::Shared;
