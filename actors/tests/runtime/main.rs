//! The runtime as a whole, on the in-memory store and a scripted host: no database, no process, no HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod calls;
mod cancel;
mod cluster;
mod crash;
mod flow;
mod gate;
mod host;
mod lists;
mod outage;
mod races;
mod seal;
mod snapshots;
mod supervision;
mod world;
