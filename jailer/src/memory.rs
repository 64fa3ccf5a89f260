//! The memory limit of a tree without cgroups: measure, compare, say when it is exceeded. Killing is not done here.
//!
//! The sum of resident memory is cheap but counts a page once for every process that shares it. So it only raises the
//! suspicion; the sentence is spoken on proportional memory, where a shared page is divided among its users and pages of
//! mapped files, which the kernel can drop, do not count.

use crate::limits::{MEMORY_INTERVAL, MEMORY_INTERVAL_NEAR};
use crate::process_tree::{Descendant, proportional_bytes, resident_pages};
use std::time::Instant;

/// The measurements of one tree against its limit.
pub(crate) struct MemoryWatch {
    limit: u64,
    page_bytes: u64,
    peak: u64,
    due: Instant,
}

impl MemoryWatch {
    /// A watch for a limit in bytes, due at once.
    pub(crate) fn new(limit: u64) -> Self {
        let page_bytes = rustix::param::page_size() as u64;
        Self { limit, page_bytes, peak: 0, due: Instant::now() }
    }

    /// When to measure next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The limit, bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The highest sum measured, bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// Measures; answers the bytes in use if they exceed the limit.
    pub(crate) fn measure(&mut self, tree: &[Descendant]) -> Option<u64> {
        let resident: u64 = tree.iter().map(|one| resident_pages(one.pid) * self.page_bytes).sum();
        self.peak = self.peak.max(resident);
        let interval = if resident > self.limit / 2 { MEMORY_INTERVAL_NEAR } else { MEMORY_INTERVAL };
        self.due = Instant::now() + interval;
        if resident <= self.limit {
            return None;
        }
        let exact: u64 = tree
            .iter()
            .map(|one| {
                proportional_bytes(one.pid).unwrap_or_else(|| resident_pages(one.pid) * self.page_bytes)
            })
            .sum();
        (exact > self.limit).then_some(exact)
    }
}
