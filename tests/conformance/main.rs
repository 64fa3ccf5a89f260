//! The conformance suites of the event store and of snapshots, run on every adapter, and what only one of them can
//! promise. The PostgreSQL server is given by `cargo xtask test`.

mod memory;
mod postgres;
mod same_history;
mod snapshots;
mod sqlite;
