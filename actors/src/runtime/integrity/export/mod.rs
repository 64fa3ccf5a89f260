//! Exports: events and checkpoints as lines of JSON, written from a store and verified without one. The format is
//! documented in docs/integrity.md.

mod import;
pub mod line;
mod read;
mod write;

pub use import::{ImportError, Importer};
pub use read::{ExportReader, Item};
pub use write::{ExportError, ExportQuery, Exporter};
