//! Why this node cannot use control groups, in words for the person who can change it.

use flexcore_jailer::cgroup::CgroupError;
use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// Control groups cannot be used, or not by this node.
#[derive(Debug, thiserror::Error)]
pub enum CgroupsError {
    /// Without `/proc` the node's own groups cannot be found.
    #[error("cgroup: cannot read {}: mount /proc", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Neither version offers all controllers.
    #[error(
        "cgroup: controllers {missing} are in no hierarchy that is mounted here ({seen}): on version 2 the node's group \
         must get them (systemd: Delegate=memory pids cpu), on version 1 they must be mounted"
    )]
    Missing {
        /// Which controllers.
        missing: String,
        /// What was found instead.
        seen: String,
    },
    /// A version 2 group gives no controllers to its children as long as others are in it.
    #[error(
        "cgroup v2: other processes are in {} beside this node, so it cannot give controllers to programs (EBUSY): start the \
         node as a service with Delegate=yes, or by `systemd-run --scope -p Delegate=yes`",
        path.display()
    )]
    Shared {
        /// The group.
        path: PathBuf,
    },
    /// A node of this name runs on the host.
    #[error("cgroup: a node that runs on this host has {}: give one of them another node.name", path.display())]
    Taken {
        /// The group.
        path: PathBuf,
    },
    /// The kernel refused an operation.
    #[error("cgroup: {0}")]
    Group(#[from] CgroupError),
    /// Everything could be set, and nothing follows from it.
    #[error("cgroup: {limit} does not bind in {}: {found}: use a host or container runtime with working control groups", path.display())]
    NotBinding {
        /// Which limit.
        limit: &'static str,
        /// Where it was tried.
        path: PathBuf,
        /// What happened instead.
        found: String,
    },
    /// The probe's process could not be made or did not answer.
    #[error("cgroup: the probe of control groups could not {what}: {} ({errno:?}): the host is short of processes or memory", errno.desc())]
    Probe {
        /// The operation.
        what: &'static str,
        /// The system's answer.
        errno: Errno,
    },
}

impl CgroupsError {
    /// The system's error number, where one tells the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Unreadable { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Self::Shared { .. } => Some(Errno::EBUSY),
            Self::Group(error) => Some(error.errno),
            Self::Probe { errno, .. } => Some(*errno),
            Self::Missing { .. } | Self::Taken { .. } | Self::NotBinding { .. } => None,
        }
    }
}
