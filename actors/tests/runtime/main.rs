//! The runtime as a whole, on the in-memory store and a scripted host: no database, no process, no HTTP.

mod cancel;
mod crash;
mod flow;
mod host;
mod world;
