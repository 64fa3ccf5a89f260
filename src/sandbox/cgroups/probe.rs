//! Whether limits bind here: a child enters a small group, uses memory and tries to fork. A group that can be made and
//! written proves nothing yet: controllers may be masked, or mounted and not counted.
//!
//! Memory is not used up for it, although that would prove more: the kernel would log a killed process at each start of
//! each node. That its use is counted, and the limit stored, is proof enough.

use super::CgroupsError;
use flexcore_jailer::cgroup::{Cgroup, CgroupLimits, CgroupSpec, Entrance, Parents, destroy};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::time::Duration;

/// The probe's group; no program's is called so.
const NAME: &str = "probe";

/// Memory that the child uses.
const TOUCHED_BYTES: usize = 4 << 20;

/// More than that and the kernel's own for the child, with room.
const LIMITS: CgroupLimits =
    CgroupLimits { memory_bytes: Some(64 << 20), processes: Some(1), millicpus: Some(1000) };

/// How long the child may take; it makes a handful of system calls.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// No page of Linux is smaller.
const PAGE_BYTES: usize = 4096;

/// What the child tells, as a byte, with an errno in the next.
const ENTER_FAILED: u8 = 1;
const NO_MEMORY: u8 = 2;
const FORK_ANSWERED: u8 = 3;

/// Makes a group, has a child enter it and tries its limits; nothing is left of it.
pub(super) fn probe(parents: &Parents) -> Result<(), CgroupsError> {
    for parent in parents.directories() {
        // Of an earlier life that was killed within its probe.
        destroy(&parent.join(NAME))?;
    }
    let spec = CgroupSpec { parents: parents.clone(), name: NAME.to_owned() };
    let group = Cgroup::create(&spec, &LIMITS)?;
    let verdict = try_limits(&group, &parents.directories()[0].join(NAME));
    // Whatever was forked in spite of the limit.
    group.kill_all()?;
    verdict.and_then(|()| Ok(group.remove()?))
}

fn try_limits(group: &Cgroup, path: &std::path::Path) -> Result<(), CgroupsError> {
    let entrance = group.entrance()?;
    let (child, answer) = Child::start(&entrance)?;
    let not_binding =
        |limit, found: String| CgroupsError::NotBinding { limit, path: PathBuf::from(path), found };
    let refused = |errno: u8| Errno::from_raw(i32::from(errno));
    match answer {
        [FORK_ANSWERED, errno] if refused(errno) == Errno::EAGAIN => {}
        [FORK_ANSWERED, 0] => {
            return Err(not_binding("the limit of processes", "a process more was made".into()));
        }
        [FORK_ANSWERED, errno] => return Err(CgroupsError::Probe { what: "fork", errno: refused(errno) }),
        [NO_MEMORY, errno] => return Err(CgroupsError::Probe { what: "map memory", errno: refused(errno) }),
        [_, errno] => return Err(CgroupsError::Probe { what: "enter its group", errno: refused(errno) }),
    }
    // While it lives: some kernels know only what is in use now.
    let counted = group.peak_bytes().unwrap_or(0);
    drop(child);
    if counted < TOUCHED_BYTES as u64 {
        let found = format!("{counted} of {TOUCHED_BYTES} bytes in use are counted");
        return Err(not_binding("the limit of memory", found));
    }
    Ok(())
}

/// The child, until this is dropped.
struct Child {
    pid: Pid,
}

impl Child {
    /// Forks; answers with what the child found. It waits then.
    fn start(entrance: &Entrance) -> Result<(Self, [u8; 2]), CgroupsError> {
        let io = |what| move |error: std::io::Error| CgroupsError::Probe { what, errno: errno_of(&error) };
        let (mut ours, theirs) = UnixStream::pair().map_err(io("make a socket"))?;
        ours.set_read_timeout(Some(ANSWER_WAIT)).map_err(io("set a time limit"))?;
        // SAFETY: this process may have many threads, so the child makes system calls only: it neither allocates nor takes a
        // lock, and never returns.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => Self { pid: child },
            Ok(ForkResult::Child) => in_the_child(entrance, ours.as_raw_fd(), theirs.as_raw_fd()),
            Err(errno) => return Err(CgroupsError::Probe { what: "make a process", errno }),
        };
        drop(theirs);
        let mut answer = [0; 2];
        ours.read_exact(&mut answer).map_err(io("get its process's answer"))?;
        Ok((child, answer))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Its number is ours until we wait for it.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// Tells what happens and waits until the node closes the socket, also by its own end.
fn in_the_child(entrance: &Entrance, theirs: RawFd, ours: RawFd) -> ! {
    let answer = find_out(entrance);
    let mut byte = 0_u8;
    // SAFETY: both descriptors are open and ours alone in this process; the buffers outlive the calls; `_exit` runs
    // nothing of what the node has registered for its end.
    unsafe {
        libc::close(theirs);
        libc::write(ours, answer.as_ptr().cast(), answer.len());
        libc::read(ours, (&raw mut byte).cast(), 1);
        libc::_exit(0)
    }
}

fn find_out(entrance: &Entrance) -> [u8; 2] {
    let number = |errno: Errno| u8::try_from(errno as i32).unwrap_or(u8::MAX);
    if let Err((errno, _)) = entrance.enter() {
        return [ENTER_FAILED, number(errno)];
    }
    // SAFETY: a new mapping at an address of the kernel's choice, written only within its length; clone without flags
    // is a fork, whose child ends at once.
    unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(null_mut(), TOUCHED_BYTES, access, kind, -1, 0);
        if memory == libc::MAP_FAILED {
            return [NO_MEMORY, number(Errno::last())];
        }
        for offset in (0..TOUCHED_BYTES).step_by(PAGE_BYTES) {
            memory.cast::<u8>().add(offset).write_volatile(1);
        }
        match libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
            0 => libc::_exit(0),
            -1 => [FORK_ANSWERED, number(Errno::last())],
            _ => [FORK_ANSWERED, 0],
        }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

#[cfg(test)]
mod tests {
    //! The control: where a limit does not bind, the probe says so.

    use super::{LIMITS, try_limits};
    use crate::sandbox::cgroups::{CgroupsError, Groups};
    use flexcore_jailer::cgroup::{Cgroup, CgroupLimits, CgroupSpec};
    use std::path::Path;

    #[test]
    fn a_limit_that_does_not_bind_is_found() {
        // On a host without groups this is an error, and the tests beside `mod.rs` show that it is the right one.
        let Ok(groups) = Groups::prepare(&format!("test-probe-{}", std::process::id())) else { return };
        let spec = CgroupSpec { parents: groups.parents().clone(), name: "probe-test".to_owned() };
        let path = Path::new("/group");
        let group = Cgroup::create(&spec, &CgroupLimits { processes: None, ..LIMITS }).unwrap();
        let error = try_limits(&group, path).unwrap_err();
        assert!(matches!(error, CgroupsError::NotBinding { limit: "the limit of processes", .. }), "{error}");
        group.kill_all().unwrap();
        group.remove().unwrap();
        let group = Cgroup::create(&spec, &LIMITS).unwrap();
        try_limits(&group, path).unwrap();
        group.remove().unwrap();
    }
}
