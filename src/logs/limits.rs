//! Every bound of the log store, each with its reason.

/// Batches of lines that may wait for the writer; a batch is what one read of a program's pipe gave, at most 64 KiB.
pub const QUEUE: usize = 1_024;
/// The largest log of one execution in bytes: three programs at their default `limits.output`, and room. What comes
/// after is dropped, with one mark.
pub const FILE_BYTES: u64 = 256 << 20;
/// Files the writer keeps open.
pub const OPEN_FILES: usize = 64;
/// Executions whose dropped lines are counted apart until they can be told; beyond, the count is lost.
pub const DROP_COUNTS: usize = 1_024;
/// Most lines one read gives.
pub const READ_LINES: usize = 10_000;
/// Most bytes of lines one read gives; at least one line is given.
pub const READ_BYTES: u64 = 4 << 20;
/// A reader remembers the place of every line whose number is a multiple of this.
pub const INDEX_EVERY: u64 = 1_024;
/// Executions whose places are remembered.
pub const INDEXED_FILES: usize = 64;

/// The end of a log in which the last lines of a program are looked for.
pub const TAIL_BYTES: u64 = 256 << 10;
