//! The system from outside: conformance suites, fault injection, and the laws.

pub mod compare;
pub mod conformance;

pub mod harness;
pub mod prove;
pub mod work;
