//! Emptying groups by force. That only the right processes are hit is proven here; who is to be killed is decided elsewhere.

use super::CgroupError;
use super::directories::remove_directory;
use super::files::write;
use crate::limits::{CGROUP_REMOVE_WAIT, KILL_ROUND, KILL_WAIT};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

/// Processes that are pinned at a time, below every limit of open descriptors.
const BATCH: usize = 256;

/// Kills whatever is in a group and removes it: for the groups of a life of the node that ended. A group that is gone is no
/// error.
///
/// # Errors
/// [`CgroupError`]: `EBUSY` if a process outlives [`KILL_WAIT`] or groups were made inside.
pub fn destroy(directory: &Path) -> Result<(), CgroupError> {
    match kill_all(&[directory.to_owned()]) {
        Err(error) if error.errno == Errno::ENOENT && !directory.exists() => return Ok(()),
        killed => killed?,
    };
    remove_directory(directory, Instant::now() + CGROUP_REMOVE_WAIT)
}

/// Kills until no directory lists a process; answers who is left after [`KILL_WAIT`].
pub(super) fn kill_all(directories: &[PathBuf]) -> Result<Vec<Pid>, CgroupError> {
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        let mut left = BTreeSet::new();
        for directory in directories {
            left.extend(kill_round(directory)?);
        }
        if left.is_empty() || Instant::now() >= deadline {
            return Ok(left.into_iter().map(Pid::from_raw).collect());
        }
        sleep(KILL_ROUND);
    }
}

/// Kills who is in the group now and answers who was.
fn kill_round(directory: &Path) -> Result<BTreeSet<i32>, CgroupError> {
    let procs = directory.join("cgroup.procs");
    let found = members(&procs)?;
    // Version 2 since Linux 5.14 kills all at once, and those who are being forked with them.
    if found.is_empty() || write(&directory.join("cgroup.kill"), "1").is_ok() {
        return Ok(found);
    }
    // Otherwise nobody forks any more, so that killing overtakes a fork bomb. Where pids is another hierarchy there is
    // no such file here; its directory comes first.
    let _ = write(&directory.join("pids.max"), "0");
    let numbers: Vec<i32> = found.iter().copied().collect();
    for batch in numbers.chunks(BATCH) {
        kill_batch(&procs, batch)?;
    }
    Ok(found)
}

/// A number alone may be someone else's by now, so each process is pinned, then seen once more in the group, then killed.
fn kill_batch(procs: &Path, batch: &[i32]) -> Result<(), CgroupError> {
    let pinned: Vec<(i32, Option<OwnedFd>)> =
        batch.iter().filter_map(|pid| Some((*pid, pin(*pid)?))).collect();
    let still = members(procs)?;
    for (pid, pin) in pinned.iter().filter(|(pid, _)| still.contains(pid)) {
        // Who has ended meanwhile is no error; who cannot be killed is found in the next round.
        match pin {
            Some(pin) => _ = pidfd_send_signal(pin, rustix::process::Signal::KILL),
            None => _ = kill(Pid::from_raw(*pid), Signal::SIGKILL),
        }
    }
    Ok(())
}

/// `None` if there is no such process; without a descriptor where the host refuses to make one (then the look just before
/// the signal must do). 0 is a process of a foreign pid namespace, and as a target of `kill` our own group: never.
fn pin(pid: i32) -> Option<Option<OwnedFd>> {
    match pidfd_open(rustix::process::Pid::from_raw(pid).filter(|_| pid > 0)?, PidfdFlags::empty()) {
        Ok(pin) => Some(Some(pin)),
        Err(rustix::io::Errno::SRCH) => None,
        Err(_) => Some(None),
    }
}

/// The processes of a group. The kernel leaves out the dead that nobody has reaped.
fn members(procs: &Path) -> Result<BTreeSet<i32>, CgroupError> {
    let text =
        read_to_string(procs).map_err(|error| CgroupError::io("read the processes of", procs, &error))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}
