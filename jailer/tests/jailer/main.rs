//! The launcher from outside: the real binary, real programs, one claim per test. Nothing here looks into its source.

#![expect(clippy::unwrap_used, reason = "a test and its helpers may panic")]

mod attacks;
mod containment;
mod endings;
mod filter;
mod isolation;
mod leases;
mod network;
mod starts;
mod support;
