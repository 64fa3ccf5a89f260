//! The whole product, from outside: real nodes, the real command line, HTTP, real programs. What a user or another
//! program sees is what is asserted; nothing in here looks behind the interface. The programs are built, and
//! PostgreSQL is given, by `cargo xtask test`.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

mod access;
mod archive;
mod as_it_was;
mod bad_files;
mod bad_programs;
mod bad_requests;
mod calls;
mod cli;
mod corpus;
mod following;
mod http;
mod http_run;
mod integrity;
mod migrate;
mod network;
mod policy;
mod python;
mod quarantine;
mod redis;
mod same_events;
mod sandbox;
mod secrets;
mod verify;
mod world;
