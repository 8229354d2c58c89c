//! The embedded backends: nothing to install, one data directory, safe for several processes.

pub mod sql;
