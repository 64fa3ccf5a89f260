//! A model of what keeps one shard's streams right: claim, append, fence, dedupe, cancel and bookmark commit. The tests
//! explore every order in which two nodes, late messages and lost answers can meet, and show that the invariants of
//! ARCHITECTURE.md hold, and that each guard is needed. Never in here: I/O, time, or the code of the product, which
//! the model mirrors and does not call.
#![cfg(test)]

mod invariants;
mod model;
mod state;
mod tests;
