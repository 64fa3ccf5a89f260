//! What this node has for programs, and which limits of a manifest are beyond it. Read anew each time: a container may
//! be given more.

use std::fs;

use flexcore_actors::domain::plugin::Limits;
use flexcore_actors::domain::problem::Problems;
use flexcore_actors::domain::quantity::Bytes;

/// Where control groups (version 2, then 1) bound the memory of a node that is a container.
const MEMORY_BOUNDS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// What a node has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Memory; `None` when the kernel does not tell.
    pub memory: Option<Bytes>,
    /// Processors that the node may use.
    pub cpus: f64,
    /// Open files that an ordinary user's program may have; `None` for root, who may raise it.
    pub open_files: Option<u64>,
}

impl Capacity {
    /// Of this node.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let bound = MEMORY_BOUNDS.iter().filter_map(|path| text(path).trim().parse().ok());
        let memory = total_memory(&text("/proc/meminfo")).into_iter().chain(bound).min().map(Bytes);
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let ordinary = !nix::unistd::geteuid().is_root();
        Self {
            memory,
            cpus: u32::try_from(cpus).map_or(f64::MAX, f64::from),
            open_files: hard_open_files(&text("/proc/self/limits")).filter(|_| ordinary),
        }
    }

    /// The limits that are above it.
    pub fn exceeded_by(&self, limits: &Limits) -> Problems {
        let mut problems = Problems::default();
        let mut add = |key: &str, asked: String, has: String| {
            let message = format!("{asked} is more than this node has: at most {has}");
            problems.add(format!("limits.{key}"), message);
        };
        if let Some(has) = self.memory.filter(|has| limits.memory > *has) {
            // in whole MiB, as people write it
            add("memory", limits.memory.to_string(), Bytes::mib(has.0 >> 20).to_string());
        }
        if limits.cpus > self.cpus {
            add("cpus", limits.cpus.to_string(), self.cpus.to_string());
        }
        if let Some(has) = self.open_files.filter(|has| u64::from(limits.open_files) > *has) {
            add("open_files", limits.open_files.to_string(), has.to_string());
        }
        problems
    }
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn hard_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    // soft, hard, unit; "unlimited" is no number
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_node_has_something() {
        let capacity = Capacity::read();
        assert!(capacity.memory.unwrap() > Bytes::mib(16) && capacity.cpus >= 1.0, "{capacity:?}");
        assert_eq!(
            capacity.exceeded_by(&Limits { memory: Bytes::mib(1), ..Limits::default() }),
            Problems::default()
        );
        let all = Limits { memory: Bytes(1 << 44), cpus: 1024.0, ..Limits::default() };
        assert_eq!(capacity.exceeded_by(&all).0.len(), 2);
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:        8024 kB\n"), Some(8024 * 1024));
        assert_eq!(total_memory("MemTotal: much\n"), None);
        assert_eq!(
            hard_open_files(
                "Max cpu time 1 2 s\nMax open files            1024                 4096                 files\n"
            ),
            Some(4096)
        );
        assert_eq!(hard_open_files("Max open files 1024 unlimited files\n"), None);
    }

    #[test]
    fn each_limit_beyond_it_is_named_with_what_there_is() {
        let capacity = Capacity { memory: Some(Bytes::mib(512)), cpus: 2.0, open_files: Some(1_024) };
        let limits = Limits { memory: Bytes::mib(513), cpus: 2.5, open_files: 1_025, ..Limits::default() };
        let expected = "limits.memory: 513MiB is more than this node has: at most 512MiB; \
            limits.cpus: 2.5 is more than this node has: at most 2; \
            limits.open_files: 1025 is more than this node has: at most 1024";
        assert_eq!(capacity.exceeded_by(&limits).to_string(), expected);
        let limits = Limits { memory: Bytes::mib(512), cpus: 2.0, open_files: 1_024, ..Limits::default() };
        assert_eq!(capacity.exceeded_by(&limits), Problems::default());
    }
}
