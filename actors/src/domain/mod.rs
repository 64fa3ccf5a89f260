//! The domain: pipelines, executions and plugins, as pure values and functions.
//!
//! **Boundary:** no clock, no randomness, no async, no I/O. What depends on time gets it as an argument.

pub mod access;
pub mod aggregate;
pub mod audit;
pub mod codec;
pub mod event;
pub mod execution;
pub mod external;
pub mod ids;
pub mod integrity;
pub mod labels;
pub mod outcome;
pub mod pipeline;
pub mod plugin;
pub mod problem;
pub mod projection;
pub mod quantity;
pub mod reader;
pub mod retry;
pub mod secret;
#[cfg(test)]
mod story;
mod upcast;
