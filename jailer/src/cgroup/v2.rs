//! The names of version 2: one hierarchy. Data only.

use super::files::{Counter, Write};
use super::{CgroupLimits, Names};
use std::path::PathBuf;

/// Microseconds over which processor time is counted: the kernel's default, on both versions.
pub(super) const PERIOD_US: u64 = 100_000;

/// The table for a group with this directory.
pub(super) fn names(directory: PathBuf, limits: &CgroupLimits) -> Names {
    let mut writes = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        writes.push(Write::required(directory.join("memory.max"), bytes));
        // Kernels that do not count swap lack it.
        writes.push(Write::optional(directory.join("memory.swap.max"), 0));
        // All die together. Since Linux 4.19; before, whoever polls kills the rest.
        writes.push(Write::optional(directory.join("memory.oom.group"), 1));
    }
    if let Some(processes) = limits.processes {
        writes.push(Write::required(directory.join("pids.max"), processes));
    }
    if let Some(millicpus) = limits.millicpus {
        let quota = u64::from(millicpus) * PERIOD_US / 1000;
        writes.push(Write::required(directory.join("cpu.max"), format!("{quota} {PERIOD_US}")));
    }
    let number = |name: &str| Counter { path: directory.join(name), key: None };
    Names {
        oom_kills: Counter { path: directory.join("memory.events"), key: Some("oom_kill") },
        peak: vec![number("memory.peak"), number("memory.current")],
        cpu: Some(Counter { path: directory.join("cpu.stat"), key: Some("usage_usec") }),
        cpu_unit_ns: 1000,
        limits: writes,
        procs: "cgroup.procs",
        enter: "cgroup.procs",
        clone_into: true,
        directories: vec![directory],
    }
}
