//! The file that events are moved to when they leave the database: a SQLite database with the columns of the event
//! table, written once, read back before anything relies on it, and only read from then on. Never in here: which
//! events are archived, or what the database knows of the files.

mod checked;
mod error;
mod reader;
mod row;
mod writer;

pub use checked::{Checked, Recorded};
pub use error::ArchiveError;
pub use reader::Reader;
pub use writer::{Draft, Finished};

/// What tells a file of this format from any other SQLite database (`application_id`): "FCAR" in ASCII.
const APPLICATION: i32 = 0x4643_4152;
/// The version of the format (`user_version`).
const FORMAT: i32 = 1;

#[cfg(test)]
mod tests;
