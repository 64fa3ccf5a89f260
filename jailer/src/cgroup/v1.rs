//! The names of version 1: a hierarchy a controller. Data only.

use super::files::{Counter, Write};
use super::v2::PERIOD_US;
use super::{CgroupLimits, Names};
use std::path::PathBuf;

/// The table for a group with these directories.
pub(super) fn names(
    memory: PathBuf,
    pids: PathBuf,
    cpu: PathBuf,
    cpuacct: Option<PathBuf>,
    limits: &CgroupLimits,
) -> Names {
    let mut writes = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        writes.push(Write::required(memory.join("memory.limit_in_bytes"), bytes));
        // Memory and swap together, so never below the limit above. Kernels that do not count swap lack it.
        writes.push(Write::optional(memory.join("memory.memsw.limit_in_bytes"), bytes));
        // Zero keeps a version 1 group from swapping for its own limit's sake, also where swap is not counted.
        writes.push(Write::optional(memory.join("memory.swappiness"), 0));
    }
    if let Some(processes) = limits.processes {
        writes.push(Write::required(pids.join("pids.max"), processes));
    }
    if let Some(millicpus) = limits.millicpus {
        writes.push(Write::required(cpu.join("cpu.cfs_period_us"), PERIOD_US));
        writes.push(Write::required(cpu.join("cpu.cfs_quota_us"), u64::from(millicpus) * PERIOD_US / 1000));
    }
    let time = cpuacct.as_ref().map(|cpuacct| Counter { path: cpuacct.join("cpuacct.usage"), key: None });
    Names {
        oom_kills: Counter { path: memory.join("memory.oom_control"), key: Some("oom_kill") },
        peak: vec![Counter { path: memory.join("memory.max_usage_in_bytes"), key: None }],
        cpu: time,
        cpu_unit_ns: 1,
        limits: writes,
        // Forks are stopped in the first before anything is killed.
        directories: distinct([pids, memory, cpu].into_iter().chain(cpuacct)),
        procs: "cgroup.procs",
        enter: "tasks",
        clone_into: false,
    }
}

/// Controllers that are mounted together share a directory.
fn distinct(all: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}
