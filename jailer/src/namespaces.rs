//! Processes in namespaces of their own. `clone3` and the maps of users; what happens inside is `init`'s.

use crate::failure::{At, Failure};
use crate::protocol::Stage;
use crate::user::User;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// All but the cgroup namespace, which init enters when it is in its cgroup.
const ALL: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// `clone3`'s flag for a child that is born in a control group, which the libc crate declares too narrow.
const INTO_CGROUP: u64 = 1 << 33;

/// Forks into new namespaces, and into the control group of this directory; the child answers `None`. It has every
/// capability in there and no user yet.
pub(crate) fn fork(group: Option<BorrowedFd<'_>>) -> Result<Option<Pid>, Failure> {
    clone(ALL, group).at(Stage::Namespaces, "clone3")
}

/// The descriptor of a user namespace that maps the files of `owner` to `user`, for a mount.
pub(crate) fn naming_owner(user: &User, owner: (u32, u32)) -> Result<OwnedFd, Failure> {
    let Some(child) = clone(libc::CLONE_NEWUSER, None).at(Stage::Namespaces, "clone3")? else {
        loop {
            // SAFETY: pause waits for a signal and touches nothing; the parent kills this process.
            unsafe { libc::pause() };
        }
    };
    let mapped = user.map_owner(child, owner.0, owner.1);
    let opened = mapped.and_then(|()| {
        let path = format!("/proc/{child}/ns/user");
        File::open(path).map(OwnedFd::from).at(Stage::Namespaces, "ns/user")
    });
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
    opened
}

/// `fork` with namespaces. The C library's handlers for forks are passed by, which is sound for the same reason as the
/// launcher's own forks: it has one thread.
fn clone(namespaces: libc::c_int, group: Option<BorrowedFd<'_>>) -> nix::Result<Option<Pid>> {
    // SAFETY: all zeros is a valid clone_args: no stack, no thread-local storage, no descriptors asked for.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(namespaces.unsigned_abs());
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(group) = group {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM the child gets a copy of this single-threaded process; the kernel reads one clone_args.
    let answer =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    let pid = Errno::result(answer)?;
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::EOVERFLOW)?;
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}
