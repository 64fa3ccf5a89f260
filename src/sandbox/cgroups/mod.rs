//! Where this node's control groups are: below its own, in a group that carries its name. Found, delegated, proven to work,
//! swept of an earlier life's leftovers, and given up again.
//!
//! Blocking: for the node's start and for `spawn_blocking`. Never in here: the group of a single program, which its launcher
//! makes and watches (`flexcore_jailer::cgroup`).

mod delegate;
mod error;
mod own;
mod probe;

pub use error::CgroupsError;

use flexcore_jailer::cgroup::{CgroupError, Parents, check_name, destroy};
use nix::errno::Errno;
use own::{Own, V1Own};
use std::fs::{File, TryLockError, create_dir, read_dir, read_to_string, remove_dir};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the kernel must bound for a program. All of it, or control groups are not used.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Before the node's name in the name of its group.
const PREFIX: &str = "flexcore-";

/// How often taking the group is tried when a node of the same name gives it up at that moment.
const TAKE_TRIES: usize = 3;

/// The groups of this node, which no other node of the host has as long as this lives. Dropping it removes them, except for
/// those in which something still runs.
#[derive(Debug)]
pub struct Groups {
    parents: Parents,
    // Held, not used: its lock ends with it, also when the node is killed.
    _lock: File,
}

impl Groups {
    /// Finds the node's own groups, makes one for its programs, and tries whether a limit in it binds. On version 2 this
    /// process may be moved into a group of its own below the one it is in, because the kernel gives controllers only to
    /// groups without processes.
    ///
    /// `node` names the node on this host: ASCII letters, digits, `-`, `_` and `.`.
    ///
    /// # Errors
    /// [`CgroupsError`] with mechanism, path, errno and cure; no group of this node is left then.
    pub fn prepare(node: &str) -> Result<Self, CgroupsError> {
        let read = |path: &'static str| {
            read_to_string(path).map_err(|source| CgroupsError::Unreadable { path: path.into(), source })
        };
        Self::prepare_in(&own::find(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?), node)
    }

    fn prepare_in(own: &Own, node: &str) -> Result<Self, CgroupsError> {
        check_name(node)?;
        let name = format!("{PREFIX}{node}");
        check_name(&name)?;
        let parents = match (own.v2_with_controllers(), own.v1()) {
            (Some(directory), _) => {
                Parents::V2 { directory: delegate::delegate(&directory, delegate::enable)?.join(&name) }
            }
            (None, Some(V1Own { memory, pids, cpu, cpuacct })) => Parents::V1 {
                memory: memory.join(&name),
                pids: pids.join(&name),
                cpu: cpu.join(&name),
                cpuacct: cpuacct.map(|directory| directory.join(&name)),
            },
            (None, None) => return Err(own.missing()),
        };
        let groups = Self::take(parents)?;
        if let Parents::V2 { directory } = &groups.parents {
            delegate::enable(directory).map_err(|errno| delegate::refused(directory, errno))?;
        }
        probe::probe(&groups.parents)?;
        Ok(groups)
    }

    /// Makes the directories and locks the first of them.
    fn take(parents: Parents) -> Result<Self, CgroupsError> {
        for _ in 0..TAKE_TRIES {
            make(&parents)?;
            let directories = parents.directories();
            let first = directories[0];
            let lock = File::open(first).map_err(|error| failed("open", first, &error))?;
            match lock.try_lock() {
                Ok(()) if is_still(&lock, first) => return Ok(Self { parents, _lock: lock }),
                // Removed between our two looks, by the node that had it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(CgroupsError::Taken { path: first.to_owned() }),
                Err(TryLockError::Error(error)) => return Err(failed("lock", first, &error).into()),
            }
        }
        Err(CgroupsError::Taken { path: parents.directories()[0].to_owned() })
    }

    /// Where the launcher makes the group of a program.
    #[must_use]
    pub fn parents(&self) -> &Parents {
        &self.parents
    }

    /// Kills and removes what an earlier life of this node left in its groups; answers how many programs' groups that were.
    /// Only before the first program is started, and when no launcher of that life is left.
    ///
    /// # Errors
    /// The first [`CgroupError`]; the others were removed nonetheless.
    pub fn sweep(&self) -> Result<usize, CgroupError> {
        let left: Vec<PathBuf> =
            self.parents.directories().into_iter().flat_map(groups_in).collect::<Vec<_>>();
        let mut swept: Vec<_> = left.iter().filter_map(|group| group.file_name()).collect();
        swept.sort_unstable();
        swept.dedup();
        let failures = left.iter().filter_map(|group| destroy(group).err()).collect::<Vec<_>>();
        failures.into_iter().next().map_or(Ok(swept.len()), Err)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for directory in self.parents.directories() {
            // What is still in use stays, for the next life's sweep.
            let _ = remove_dir(directory);
        }
    }
}

fn make(parents: &Parents) -> Result<(), CgroupError> {
    let mut made: Vec<&Path> = Vec::new();
    for directory in parents.directories() {
        match create_dir(directory).map_err(|error| failed("make the control group", directory, &error)) {
            Ok(()) => made.push(directory),
            // Of an earlier life that was killed, or of a node that runs: the lock tells.
            Err(error) if error.errno == Errno::EEXIST => {}
            Err(error) => {
                made.into_iter().for_each(|directory| _ = remove_dir(directory));
                return Err(error);
            }
        }
    }
    Ok(())
}

fn is_still(open: &File, path: &Path) -> bool {
    match (open.metadata(), path.metadata()) {
        (Ok(open), Ok(path)) => open.ino() == path.ino(),
        _ => false,
    }
}

fn groups_in(parent: &Path) -> Vec<PathBuf> {
    let entries = read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CgroupError {
    CgroupError::new(what, path, Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
}

#[cfg(test)]
mod tests;
