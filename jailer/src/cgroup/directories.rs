//! Making and removing the directories of a group. Nothing about what is in them.

use super::CgroupError;
use crate::limits::{CGROUP_REMOVE_ROUND, CGROUP_REMOVE_WAIT};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

/// Directories that were made, and are removed by the process that made them.
#[derive(Debug)]
pub(super) struct Directories {
    made: Vec<PathBuf>,
    owner: Pid,
}

impl Directories {
    pub(super) fn make(all: &[PathBuf]) -> Result<Self, CgroupError> {
        let mut directories = Self { made: Vec::new(), owner: getpid() };
        for directory in all {
            std::fs::create_dir(directory)
                .map_err(|error| CgroupError::io("make the control group", directory, &error))?;
            directories.made.push(directory.clone());
        }
        Ok(directories)
    }

    pub(super) fn remove(&mut self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + CGROUP_REMOVE_WAIT;
        while let Some(directory) = self.made.last() {
            remove_directory(directory, deadline)?;
            self.made.pop();
        }
        Ok(())
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        if getpid() == self.owner {
            // What cannot be removed is found by the daemon's next sweep.
            let _ = self.remove();
        }
    }
}

/// Removes one empty group. The kernel answers `EBUSY` for a moment after the last process has ended.
pub(super) fn remove_directory(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    loop {
        match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) => match CgroupError::io("remove the control group", directory, &error) {
                gone if gone.errno == Errno::ENOENT => return Ok(()),
                busy if busy.errno == Errno::EBUSY && Instant::now() < deadline => sleep(CGROUP_REMOVE_ROUND),
                error => return Err(error),
            },
        }
    }
}
