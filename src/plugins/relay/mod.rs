//! The relay between two programs of a pipe: moves whole, checked Singer lines under backpressure and measures who
//! waits for whom. One thread per link with non-blocking pipes: the work is bytes and parsing, not waiting for many
//! things. What a broken link *means* for the attempt is decided by the verdict, not here.

pub mod check;
mod control;
pub mod lines;
mod link;
pub mod pipe;
mod tally;
mod wait;

pub use control::{Control, Order};
pub use link::{Feeds, Link, LinkEnd, Outcome, Sink, spawn};
pub use tally::{StreamTally, Tally};
