//! A control group of its own for each program: the kernel bounds and counts memory, processes and processor time of the
//! whole tree together, whatever the tree does. Versions 1 and 2 of the kernel's interface differ in names and units
//! only, which are tables (`v1`, `v2`); what is done with them is here.
//!
//! Blocking, without threads, for both sides: the launcher makes one group a run, the daemon the parents and the sweep.
//! Never in here: where the parents are (the daemon finds them), and what follows from a program that ran out of memory.

mod directories;
mod entrance;
mod error;
mod files;
mod kill;
mod v1;
mod v2;

pub use entrance::Entrance;
pub use error::CgroupError;
pub use kill::destroy;

use crate::limits::CGROUP_NAME_BYTES;
use directories::Directories;
use files::{Counter, Open, Write, write};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which group to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupSpec {
    /// Where it is made.
    pub parents: Parents,
    /// Its name in each of them: ASCII letters, digits, `-`, `_` and `.`, the first not a dot, at most
    /// [`CGROUP_NAME_BYTES`]. No other run of the node may have it.
    pub name: String,
}

/// Directories that exist and in which this user may make groups with the controllers memory, pids and cpu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Parents {
    /// One directory in the hierarchy of each controller; controllers that are mounted together share theirs.
    V1 {
        /// Controller `memory`.
        memory: PathBuf,
        /// Controller `pids`.
        pids: PathBuf,
        /// Controller `cpu`.
        cpu: PathBuf,
        /// Controller `cpuacct`, without which processor time is not counted.
        cpuacct: Option<PathBuf>,
    },
    /// The one hierarchy.
    V2 {
        /// A directory with `memory`, `pids` and `cpu` in its `cgroup.subtree_control`.
        directory: PathBuf,
    },
}

/// What the processes of a group may use together. What is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Bytes of memory: anonymous, shared and kernel memory, and cached pages of files, which the kernel drops first. None
    /// of it may be swapped, where the kernel counts swap.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at one time, the jail's own included.
    pub processes: Option<u64>,
    /// Thousandths of a processor, at least 10 (the kernel refuses less); on version 1 no more than the node's own group has.
    pub millicpus: Option<u32>,
}

/// A group. Dropping it removes it, if no process is left in it, in the process that made it; a fork's copy does nothing.
#[derive(Debug)]
pub struct Cgroup {
    names: Names,
    oom_kills: Open,
    directories: Directories,
}

/// What a group's files are called: what versions 1 and 2 differ in.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// The group's directory in each hierarchy.
    directories: Vec<PathBuf>,
    /// The limits, in the order in which they must be written.
    limits: Vec<Write>,
    /// Processes that the kernel killed because memory was used up.
    oom_kills: Counter,
    /// Bytes in use at most; the first that exists counts.
    peak: Vec<Counter>,
    /// Processor time.
    cpu: Option<Counter>,
    /// What it is counted in, nanoseconds.
    cpu_unit_ns: u64,
    /// Takes the number of a process to enter with all its threads.
    procs: &'static str,
    /// Takes `0` for the calling process itself, if it has one thread.
    enter: &'static str,
    /// Whether `clone3` can make a process inside the group.
    clone_into: bool,
}

impl CgroupSpec {
    /// Checks what can be checked without touching the system.
    ///
    /// # Errors
    /// `EINVAL` with the name or directory that is not valid.
    pub fn check(&self) -> Result<(), CgroupError> {
        check_name(&self.name)?;
        match self.parents.directories().into_iter().find(|parent| !parent.is_absolute()) {
            Some(relative) => Err(CgroupError::new("use the relative path", relative, Errno::EINVAL)),
            None => Ok(()),
        }
    }

    fn names(&self, limits: &CgroupLimits) -> Names {
        match &self.parents {
            Parents::V1 { memory, pids, cpu, cpuacct } => {
                let [memory, pids, cpu] = [memory, pids, cpu].map(|parent| parent.join(&self.name));
                v1::names(memory, pids, cpu, cpuacct.as_ref().map(|parent| parent.join(&self.name)), limits)
            }
            Parents::V2 { directory } => v2::names(directory.join(&self.name), limits),
        }
    }
}

impl Parents {
    /// The directories, each once.
    #[must_use]
    pub fn directories(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = match self {
            Self::V1 { memory, pids, cpu, cpuacct } => {
                [pids, memory, cpu].into_iter().chain(cpuacct).map(PathBuf::as_path).collect()
            }
            Self::V2 { directory } => vec![directory],
        };
        // Few enough that looking back is simplest; the order stays.
        for index in (1..all.len()).rev() {
            if all[..index].contains(&all[index]) {
                all.remove(index);
            }
        }
        all
    }
}

impl Cgroup {
    /// Makes the group and sets its limits. On failure nothing of it is left.
    ///
    /// # Errors
    /// [`CgroupError`] with the directory or file and the kernel's answer; `EEXIST` if a run has the name already.
    pub fn create(spec: &CgroupSpec, limits: &CgroupLimits) -> Result<Self, CgroupError> {
        spec.check()?;
        let names = spec.names(limits);
        let directories = Directories::make(&names.directories)?;
        Self::limit(names, directories)
    }

    fn limit(names: Names, directories: Directories) -> Result<Self, CgroupError> {
        names.limits.iter().try_for_each(Write::perform)?;
        let oom_kills = names.oom_kills.open()?;
        // Seen to be readable now, so that a silent zero later is one.
        oom_kills.read().ok_or_else(|| {
            CgroupError::new("find the count of oom kills in", &names.oom_kills.path, Errno::ENODATA)
        })?;
        Ok(Self { names, oom_kills, directories })
    }

    /// Puts a process with all its threads into the group; what it forks from then on is in it too. The kernel waits for
    /// an RCU grace period (5 to 30 ms): an [`Entrance`] is faster for a child of ours.
    ///
    /// # Errors
    /// [`CgroupError`]; `ESRCH` if the process has gone. It may be in some of the hierarchies then.
    pub fn add(&self, pid: Pid) -> Result<(), CgroupError> {
        self.names.directories.iter().try_for_each(|directory| {
            let procs = directory.join(self.names.procs);
            write(&procs, &pid.to_string())
                .map_err(|errno| CgroupError::new("add a process to", procs, errno))
        })
    }

    /// Opens the ways into the group.
    ///
    /// # Errors
    /// [`CgroupError`] with the file that could not be opened.
    pub fn entrance(&self) -> Result<Entrance, CgroupError> {
        Entrance::open(&self.names)
    }

    /// Processes of the group that the kernel killed because its memory was used up. One `pread`.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.read().unwrap_or(0)
    }

    /// The most memory in use at one time, bytes, cached pages of files included. A kernel before 5.19 does not keep it on
    /// version 2: then what is in use now. `None` if it cannot be read.
    #[must_use]
    pub fn peak_bytes(&self) -> Option<u64> {
        self.names.peak.iter().find_map(Counter::read)
    }

    /// Processor time of everything that ran in the group, waited for or not. `None` if nothing counts it (version 1
    /// without `cpuacct`).
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let count = self.names.cpu.as_ref()?.read()?;
        Some(Duration::from_nanos(count.saturating_mul(self.names.cpu_unit_ns)))
    }

    /// Kills everything in the group, in which nothing can be forked from then on, and waits until it is empty. Answers who is left after
    /// [`KILL_WAIT`](crate::limits::KILL_WAIT): a process in uninterruptible sleep, or none. The dead are not reaped by this.
    ///
    /// # Errors
    /// [`CgroupError`] if the group's members cannot be read.
    pub fn kill_all(&self) -> Result<Vec<Pid>, CgroupError> {
        kill::kill_all(&self.names.directories)
    }

    /// Removes the group, which must be empty; waits up to
    /// [`CGROUP_REMOVE_WAIT`](crate::limits::CGROUP_REMOVE_WAIT) for the kernel to forget the last process.
    ///
    /// # Errors
    /// [`CgroupError`]: `EBUSY` while a process, or a group made inside, is left.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        self.directories.remove()
    }
}

/// Whether this may name a group: it never leads elsewhere.
///
/// # Errors
/// `EINVAL` with the name.
pub fn check_name(name: &str) -> Result<(), CgroupError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let valid =
        (1..=CGROUP_NAME_BYTES).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed);
    if valid { Ok(()) } else { Err(CgroupError::new("name a control group", name, Errno::EINVAL)) }
}

#[cfg(test)]
mod tests;
