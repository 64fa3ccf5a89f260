//! What the kernel refused, on which file, and what helps.

use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// An operation on a control group that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what} {}: {} ({errno:?}){}", path.display(), errno.desc(), self.cure())]
pub struct CgroupError {
    /// The operation, to be followed by the path.
    pub what: String,
    /// The file, directory or name.
    pub path: PathBuf,
    /// The kernel's answer.
    pub errno: Errno,
}

impl CgroupError {
    /// An error of this operation on this path.
    pub fn new(what: impl Into<String>, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self { what: what.into(), path: path.into(), errno }
    }

    pub(super) fn io(what: &str, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::new(what, path, Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
    }

    /// What a person can do, with the separator before it.
    fn cure(&self) -> &'static str {
        match self.errno {
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                ": the node's user must own the group (systemd: Delegate=yes) and the file system must be writable"
            }
            Errno::ENOENT => {
                ": the kernel or the node's group lacks it, or it was removed while the node runs"
            }
            Errno::EEXIST => {
                ": another run has this name, or an earlier one was not swept: start the node again"
            }
            Errno::EBUSY => ": processes or groups are left in it",
            Errno::ENOSPC | Errno::EAGAIN => {
                ": the host allows no more groups or processes (cgroup.max.descendants)"
            }
            Errno::EINVAL => {
                ": the kernel takes no such value there; a group never gets more than the node's own group has"
            }
            _ => "",
        }
    }
}
