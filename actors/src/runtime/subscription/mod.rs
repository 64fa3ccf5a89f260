//! Following the log: from any position through everything that is stored, then live ([`Log`]); and durably, under a
//! name, with a checkpoint and a lease ([`Subscriptions`]). Never in here: what an event means.

mod actor;
mod handler;
mod log;
mod replay;
#[cfg(test)]
mod tests;
mod worker;

pub use actor::Subscriptions;
pub use handler::{Handler, HandlerError};
pub use log::{Follower, Log, LogPage};
pub use replay::{ReplayError, Replayed};
