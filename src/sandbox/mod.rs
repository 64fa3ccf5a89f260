//! The daemon's side of the launcher: starts a program under `flexcore-jailer`, hears of its end, ends it.
//!
//! It knows processes, descriptors and limits. Never in here: pipelines, attempts, plugin protocols, logs, or a database.
//! Which isolation a program gets beyond a process tree of its own is a matter of the policy sent here; it has its place
//! in [`Program`] and `flexcore_jailer::protocol::Policy`.

pub mod cgroups;
mod error;
mod launcher;
pub mod level;
pub mod limits;
pub mod programs;
mod running;
mod spare;

pub use error::LaunchError;
pub use launcher::{Connection, Isolation, Jail, Launcher, PlacedFile, Program, ProgramLimits, Shown};
pub use running::{Control, Ended, Refused, Running, Status, Usage};

#[cfg(test)]
mod tests;
