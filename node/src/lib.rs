//! The node: configuration, command line, HTTP doors (collector, ops, dashboard), telemetry, and the commands that wire
//! them together.

pub mod boundary;
pub mod collector;
pub mod config;
pub mod names;
pub mod ops;
pub mod telemetry;
