//! The shipped programs as their users run them: real processes, pipes, signals and files.
//!
//! What one function does is tested beside it; here is only what crosses a process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod command_line;
mod pipe;
mod sample;
mod support;
