//! The inside of FlexCore: what it *means* to run data pipelines durably.
//!
//! [`domain`] is pure (no clock, no randomness, no I/O), [`ports`] are the traits the outside implements,
//! [`runtime`] is the supervised actors that connect the two, and `testkit` holds in-memory adapters and the
//! conformance suites. This crate never links a database, Redis, HTTP or process crate; a test keeps that true.

pub mod domain;
pub mod limits;
pub mod ports;
pub mod runtime;
#[cfg(feature = "testkit")]
pub mod testkit;
