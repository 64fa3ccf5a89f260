//! From `fork` to `exec`: the order of operations that turns a copy of the launcher into the program.
//!
//! [`STEPS`] is that order, as data. Namespaces and root are entered before, by `init`; the system call filter is last
//! before exec, since steps above it need calls that it refuses. Nothing here looks at what the program is.

use crate::access::Rules;
use crate::cgroup::Entrance;
use crate::failure::{At, Failure};
use crate::filter::Filter;
use crate::host::{FIRST_PRIVATE_FD, close_from, dev_null};
use crate::limits::{CPU_TIME_MARGIN, LOCKED_BYTES, PENDING_SIGNALS};
use crate::protocol::{Limits, Policy, Stage};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{
    ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, fork, getpid, getppid, setsid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities,
};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Exit code of a child that could not become the program; never seen outside, the failure itself is reported.
const NOT_STARTED: i32 = 127;

/// Limits of every program, whatever its policy and its launcher's own.
const ALWAYS: &[(Resource, u64)] = &[
    // 1, not 0: a core is larger, and where the host pipes cores to a collector the kernel heeds no other value.
    (Resource::RLIMIT_CORE, 1),
    (Resource::RLIMIT_MEMLOCK, LOCKED_BYTES),
    (Resource::RLIMIT_SIGPENDING, PENDING_SIGNALS),
    // No message queues, real-time scheduling or precedence over others, even if the launcher may have them.
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
    (Resource::RLIMIT_NICE, 0),
];

/// A program made ready, so that the child only makes system calls.
pub(crate) struct Payload {
    parent: Pid,
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    workdir: CString,
    limits: Limits,
    /// Only with namespaces: elsewhere the kernel would count what the user runs besides.
    processes: Option<u64>,
    rules: Option<Rules>,
    filter: Option<Filter>,
    /// Where the launcher is told of dangerous calls.
    notices: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

struct Step {
    stage: Stage,
    run: fn(&Payload) -> nix::Result<()>,
}

/// The child's way to exec. The order matters: the lifeline before anything can take long, descriptors before the
/// working directory so that a denial there is told over the failure pipe alone, privileges before any filter.
const STEPS: &[Step] = &[
    Step { stage: Stage::ParentDeath, run: parent_death },
    Step { stage: Stage::Session, run: session },
    Step { stage: Stage::Signals, run: default_signals },
    Step { stage: Stage::Limits, run: resource_limits },
    Step { stage: Stage::Descriptors, run: descriptors },
    Step { stage: Stage::WorkingDirectory, run: working_directory },
    Step { stage: Stage::Privileges, run: no_new_privileges },
    Step { stage: Stage::Capabilities, run: no_capabilities },
    Step { stage: Stage::Landlock, run: file_access },
    Step { stage: Stage::SystemCalls, run: system_calls },
    Step { stage: Stage::Exec, run: exec },
];

impl Payload {
    /// Takes a checked policy, the system call filter, if any, the descriptors that came with the policy, and where
    /// dangerous calls are told.
    ///
    /// # Errors
    /// `EINVAL` for a NUL byte or the wrong number of descriptors; the system's when `/dev/null` cannot be opened.
    pub(crate) fn new(
        policy: &Policy,
        filter: Option<Filter>,
        descriptors: Vec<OwnedFd>,
        notices: OwnedFd,
    ) -> nix::Result<Self> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::EINVAL);
        let argv =
            policy.argv.iter().map(|argument| text(argument.as_bytes())).collect::<nix::Result<Vec<_>>>()?;
        let env = policy.env.iter().map(|(name, value)| text(format!("{name}={value}").as_bytes()));
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(Errno::EINVAL);
        Ok(Self {
            parent: getpid(),
            program: argv.first().ok_or(Errno::EINVAL)?.clone(),
            env: env.collect::<nix::Result<_>>()?,
            argv,
            workdir: text(policy.workdir.as_os_str().as_bytes())?,
            limits: policy.limits.clone(),
            processes: policy.limits.processes.filter(|_| policy.isolation.namespaces),
            rules: policy.isolation.landlock.then(|| Rules::of(policy)),
            filter,
            notices,
            stdin: if policy.stdin { next()? } else { dev_null(OFlag::O_RDONLY)? },
            stdout: next()?,
            stderr: next()?,
        })
    }

    /// Forks and answers the child's id; it enters `group` first. A step that fails is told over `tell`, which the child closes when it executes the
    /// program.
    ///
    /// # Errors
    /// The system's, of `fork`.
    pub(crate) fn fork(&mut self, group: Option<&Entrance>, tell: &OwnedFd) -> Result<Pid, Failure> {
        self.parent = getpid();
        // SAFETY: this process has one thread (the launcher checked it at its start, init is a copy of that), so the child's
        // copy of memory, the allocator's and standard library's locks included, is consistent and it may run ordinary code.
        match unsafe { fork() }.at(Stage::Fork, "fork")? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => self.become_program(group, tell),
        }
    }

    fn become_program(&self, group: Option<&Entrance>, tell: &OwnedFd) -> ! {
        let entered = group.map_or(Ok(()), enter);
        if let Err(failure) = &entered {
            failure.tell(tell);
        }
        for step in STEPS.iter().take_while(|_| entered.is_ok()) {
            if let Err(errno) = (step.run)(self) {
                Failure::new(step.stage, errno, "").tell(tell);
                break;
            }
        }
        // SAFETY: _exit ends this process without running the handlers that belong to the launcher.
        unsafe { libc::_exit(NOT_STARTED) }
    }
}

/// Moves this process into its control group.
pub(crate) fn enter(group: &Entrance) -> Result<(), Failure> {
    group.enter().map_err(|(errno, path)| Failure::new(Stage::Cgroup, errno, path.display()))
}

fn parent_death(payload: &Payload) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above: then the signal will never come.
    if getppid() == payload.parent { Ok(()) } else { Err(Errno::ESRCH) }
}

fn session(_: &Payload) -> nix::Result<()> {
    setsid().map(drop)
}

fn default_signals(_: &Payload) -> nix::Result<()> {
    // The kernel's struct sigaction differs in length between architectures; all zeros is SIG_DFL without flags on each.
    const DEFAULT: [u64; 8] = [0; 8];
    const KERNEL_SIGSET_BYTES: usize = 8;
    for signal in 1..=libc::SIGRTMAX() {
        let (new, old) = (DEFAULT.as_ptr(), std::ptr::null_mut::<u64>());
        // SAFETY: the kernel reads a sigaction from `new`, which is longer than any, and writes nothing; SIG_DFL installs
        // no code. SIGKILL and SIGSTOP refuse, which is as it should be. The system call itself, because libc's wrappers
        // refuse its own two signals, and an ignored one of those would be inherited.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, KERNEL_SIGSET_BYTES) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

fn resource_limits(payload: &Payload) -> nix::Result<()> {
    let limits = &payload.limits;
    for (resource, most) in ALWAYS {
        limit(*resource, *most, *most)?;
    }
    if let Some(seconds) = limits.cpu_seconds {
        limit(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(CPU_TIME_MARGIN))?;
    }
    if let Some(files) = limits.open_files {
        limit(Resource::RLIMIT_NOFILE, files, files)?;
    }
    if let Some(bytes) = limits.file_bytes {
        limit(Resource::RLIMIT_FSIZE, bytes, bytes)?;
    }
    if let Some(processes) = payload.processes {
        // Init is one more.
        let processes = processes.saturating_add(1);
        limit(Resource::RLIMIT_NPROC, processes, processes)?;
    }
    Ok(())
}

/// Sets a limit, never above the hard one in force: an unprivileged launcher may not raise it, and need not.
fn limit(resource: Resource, soft: u64, hard: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(resource)?;
    setrlimit(resource, soft.min(most), hard.min(most))
}

fn descriptors(payload: &Payload) -> nix::Result<()> {
    for stream in [&payload.stdin, &payload.stdout, &payload.stderr] {
        // A program expects blocking standard streams; the daemon's side of a pipe has flags of its own.
        let flags = OFlag::from_bits_retain(fcntl(stream, FcntlArg::F_GETFL)?);
        if flags.contains(OFlag::O_NONBLOCK) {
            fcntl(stream, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
        }
    }
    // All three are above 2, since the launcher keeps 0 to 2 occupied: none can be overwritten before its own turn.
    dup2_stdin(&payload.stdin)?;
    dup2_stdout(&payload.stdout)?;
    dup2_stderr(&payload.stderr)?;
    // Marked, not closed: the failure pipe must stay until exec.
    close_from(FIRST_PRIVATE_FD, libc::CLOSE_RANGE_CLOEXEC)
}

fn working_directory(payload: &Payload) -> nix::Result<()> {
    chdir(payload.workdir.as_c_str())
}

fn no_new_privileges(_: &Payload) -> nix::Result<()> {
    set_no_new_privs()
}

/// Of all five sets. `no_new_privs` alone would let the superuser keep what it has.
fn no_capabilities(_: &Payload) -> nix::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Unknown to this kernel.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            // Only who has CAP_SETPCAP may: for everyone else no_new_privs keeps what is in this set out of reach.
            Err(rustix::io::Errno::PERM) => break,
            Err(error) => return Err(Errno::from_raw(error.raw_os_error())),
        }
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    clear_ambient_capability_set()
        .and_then(|()| set_capabilities(None, none))
        .map_err(|error| Errno::from_raw(error.raw_os_error()))
}

fn file_access(payload: &Payload) -> nix::Result<()> {
    payload.rules.iter().try_for_each(Rules::enforce)
}

fn system_calls(payload: &Payload) -> nix::Result<()> {
    payload.filter.iter().try_for_each(|filter| filter.install(Some(&payload.notices)))
}

fn exec(payload: &Payload) -> nix::Result<()> {
    execve(&payload.program, &payload.argv, &payload.env).map(drop)
}
