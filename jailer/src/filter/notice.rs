//! Dangerous calls are seen: the kernel asks the launcher about each, which notes it and answers `EPERM`. Never in here: an
//! answer that lets a call through, and waiting for a question.
//!
//! Whoever is asked can be kept busy by asking, so only the first [`MOST_NOTICED`] are noted. Then the launcher stops
//! listening, and the kernel itself answers `ENOSYS`; as it does when the launcher is gone, so that nothing ever hangs.

use super::table::{DENIED, PREFIX};
use crate::limits::MOST_NOTICED;
use crate::protocol::Refused;
use crate::protocol::frames::{Frames, receive, send_with_descriptors};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use seccompiler::BpfProgram;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The code of the instruction that answers.
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// The answer that means: ask whoever listens.
const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// Installs the filter so that what it refuses is asked about, and passes the listener on. False when there can be none
/// (one that bound this process before, a container's say, has the only one that the kernel permits): nothing is
/// installed then.
pub(super) fn install(refusals: &BpfProgram, tell: &OwnedFd) -> bool {
    let mut asking = refusals.clone();
    let refusal = libc::SECCOMP_RET_ERRNO | Errno::EPERM as u32;
    for instruction in asking.iter_mut().filter(|one| one.code == RETURN && one.k == refusal) {
        instruction.k = ASK;
    }
    let Ok(len) = u16::try_from(asking.len()) else { return false };
    let filter = asking.as_mut_ptr().cast::<libc::sock_filter>();
    let program = libc::sock_fprog { len, filter };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: `program` points to `len` instructions, laid out as the kernel's, that live until the call returns.
    let listener = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, std::ptr::from_ref(&program)) };
    let Some(listener) = i32::try_from(listener).ok().filter(|number| *number >= 0) else { return false };
    // SAFETY: the call returned a new descriptor, closed at exec, that nobody else has.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    // Without the launcher, which alone is there to receive, nothing runs on.
    let _ = send_with_descriptors(tell, b"n", &[listener.as_fd()]);
    true
}

/// The dangerous calls of one program.
#[derive(Default)]
pub(crate) struct Notices {
    listener: Option<OwnedFd>,
    noticed: BTreeMap<i64, u64>,
    answered: u64,
}

impl Notices {
    /// Of the program that was given the other end of `line` and was executed.
    pub(crate) fn of(line: &OwnedFd) -> Self {
        let (mut message, mut attached) = (Frames::default(), Vec::new());
        // nothing is there where the kernel permits no listener
        let _ = receive(line, &mut message, &mut attached);
        Self { listener: attached.pop(), ..Self::default() }
    }

    /// What to poll, while somebody may ask.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.listener.as_ref().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN))
    }

    /// Takes what polling found.
    pub(crate) fn attend(&mut self, found: PollFlags) {
        let Some(listener) = &self.listener else { return };
        if found.contains(PollFlags::POLLIN)
            && let Some(call) = refuse(listener)
        {
            *self.noticed.entry(call).or_default() += 1;
            self.answered += 1;
        }
        // hung up: everything that the filter bound is gone
        let over = found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL);
        if over || self.answered >= MOST_NOTICED {
            self.listener = None;
        }
    }

    /// What was refused, by the call's number.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        let refused = self.noticed.iter().map(|(call, times)| {
            let (why, name) = named(*call).unwrap_or(("unknown", "SYS_unknown"));
            let call = name.strip_prefix(PREFIX).unwrap_or(name);
            Refused { call: call.to_owned(), why: why.to_owned(), times: *times }
        });
        refused.collect()
    }
}

/// Answers one question, which must be there; the call's number, unless who asked has gone meanwhile.
fn refuse(listener: &OwnedFd) -> Option<i64> {
    // SAFETY: all zeros is a valid value, and the one that the kernel asks for.
    let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let listener = listener.as_raw_fd();
    // SAFETY: the kernel writes one notice to where the pointer leads, which outlives the call.
    let received = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notice) };
    Errno::result(received).ok()?;
    let error = -(Errno::EPERM as i32);
    let mut answer = libc::seccomp_notif_resp { id: notice.id, val: 0, error, flags: 0 };
    // SAFETY: the kernel reads one answer from where the pointer leads. It refuses one for who has gone.
    let answered = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    Errno::result(answered).ok()?;
    Some(notice.data.nr.into())
}

fn named(number: i64) -> Option<(&'static str, &'static str)> {
    let mut calls = DENIED.iter().flat_map(|(why, calls)| calls.iter().map(move |call| (*why, call)));
    calls.find(|(_, (call, _))| *call == number).map(|(why, (_, name))| (why, *name))
}
