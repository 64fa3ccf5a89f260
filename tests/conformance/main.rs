//! The conformance suites of the event store, of snapshots, of secrets and of read models, run on every adapter, and what only one
//! of them can promise. The PostgreSQL server is given by `cargo xtask test`.

mod import;
mod memory;
mod migrations;
mod postgres;
mod read_models;
mod same_history;
mod secrets;
mod snapshots;
mod sqlite;
mod tamper;
mod tokens;
