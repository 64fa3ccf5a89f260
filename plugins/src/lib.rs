//! The programs that ship with FlexCore: a file tap, a file target and a fault-injecting sample.
//!
//! They are ordinary plugins: they know Singer messages, files and the plugin protocols, and nothing of the
//! runtime that may run them. Each is useful alone in a shell pipe. What must never be in this crate: anything
//! of the runtime's (actors, events, stores, HTTP), async code, or a call that needs `unsafe`.
//!
//! Each program is one module with a `main() -> ExitCode`; the three binaries and the `flexcore` binary, which
//! answers to the same names by `argv[0]`, only call it.

pub mod frames;
pub mod sample;
pub mod tap_file;
pub mod target_file;

mod cli;
mod error;
mod lines;
mod output;
mod pace;
mod singer;

pub use error::Error;
