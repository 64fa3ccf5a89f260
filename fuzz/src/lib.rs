//! The bodies of the fuzz targets, for their one-line binaries. Never in here: a body that the replay of
//! `tests/integration/corpus.rs` does not run, too.

pub mod targets;
