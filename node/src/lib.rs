//! The node: configuration, command line, HTTP doors (collector, ops, dashboard), telemetry, and the commands that wire
//! them together.

pub mod cli;
pub mod collector;
pub mod commands;
pub mod config;
pub mod deliveries;
pub mod ec2;
pub mod generate;
mod heap;
pub mod ops;
pub mod output;
pub mod schemas;
pub mod serve;
pub mod telemetry;
pub mod wire;
