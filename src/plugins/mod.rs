//! The plugin host: runs the programs of one attempt of a step, speaking their protocol, and tells how they ended.
//!
//! `host` is the way in, prepares programs (`program`, `environment`, `discover`, `scratch`, `surroundings`, `secrets`)
//! looks whether one could run before its plugin is registered (`examine`), and keeps Python interpreters ready (`warm`); each
//! protocol has its session (`pipe` for singer with its `relay`, `command`, `session` for flexcore with its `frames`);
//! `verdict` decides what their ends mean, `report` what is recorded. Programs are started through [`launch`], a trait
//! of this room.
//!
//! **Boundary:** never in here: a database, HTTP, the aggregates' rules (retries, bookmarks, permits), or another
//! adapter. A program's data is never written to logs or errors, but for the beginning of a line that is no data.

mod attend;
mod capture;
mod command;
mod discover;
mod environment;
mod examine;
pub mod frames;
mod host;
pub mod launch;
pub mod limits;
mod log;
mod output;
mod pipe;
mod program;
mod redact;
pub mod relay;
mod report;
mod scratch;
mod secrets;
mod select;
mod session;
mod sources;
mod states;
mod surroundings;
mod verdict;
mod view;
mod warm;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use host::{Host, LocalHost, Settings};
pub use secrets::Secrets;
