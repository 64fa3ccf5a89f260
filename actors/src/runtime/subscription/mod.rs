//! Following the log: from any position through everything that is stored, then live. Never in here: what an event
//! means.

mod log;

pub use log::{Follower, Log, LogPage};
