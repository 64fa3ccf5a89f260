//! Sealing: a checkpoint over the whole log every second in which it grew, and proofs out of what was sealed. Never in
//! here: keys, files and databases.

pub mod export;
mod job;
pub mod outside;
mod sealer;
mod status;
pub mod tree;
mod turn;
pub mod verification;
pub mod views;

pub use job::{Busy, Verifications, Work};
pub use sealer::{IntegrityPorts, Sealer};
pub use status::{SealerState, SealerStatus};
