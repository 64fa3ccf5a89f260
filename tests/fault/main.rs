//! The fault tier: whole nodes and their programs are killed, stopped, cut off and run against each other, and what
//! they leave behind is checked event by event. Never in here: features that work without a fault.

mod cancel;
mod checker;
mod cluster;
mod database;
mod disk;
mod jail;
mod kill9;
mod processes;
mod programs;
mod random;
mod rig;
mod server;
mod small_disk;
mod snapshot;
mod two_nodes;
