//! The system call filter as data: what programs may ask of the kernel, each group with its reason. No behaviour in here.
//!
//! A call in no table is answered `ENOSYS`. That includes, on purpose, what is new: a call that nobody has looked at is
//! not given away. Absent on purpose, and programs fall back to the older way:
//! - `clone3` and `openat2`, whose flags are in memory, where a filter cannot look: `clone`, `openat`;
//! - `memfd_create`, whose memory belongs to no process and so is found by no sum over processes: `/dev/shm`;
//! - `io_setup` and its family, of which one program could use up the whole host's number (`fs.aio-max-nr`): threads.

/// A reason and the calls it is for.
type Group = (&'static str, &'static [i64]);

/// A reason and the calls it is for, with their names in the libc crate, all of which begin with [`PREFIX`].
pub(super) type NamedGroup = (&'static str, &'static [(i64, &'static str)]);

/// Before the name of each call.
pub(super) const PREFIX: &str = "SYS_";

macro_rules! named {
    ($($call:ident),+ $(,)?) => { &[$((libc::$call, stringify!($call))),+] };
}

/// A reason and one value of an argument.
type Value = (&'static str, u64);

/// Calls that exist on every architecture and are allowed (some with exceptions for arguments, below).
#[rustfmt::skip]
pub(super) const ALLOWED: &[Group] = &[
    ("reading and writing of what is open", &[
        libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
        libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2,
        libc::SYS_lseek, libc::SYS_close, libc::SYS_close_range, libc::SYS_sendfile,
        libc::SYS_copy_file_range, libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice, libc::SYS_readahead,
        libc::SYS_fadvise64,
    ]),
    ("descriptors: duplicates, flags, locks and device requests", &[
        libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_ioctl,
    ]),
    ("opening and looking at files; which ones is decided by the file system", &[
        libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx,
        libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat,
        libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_getxattr,
        libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr,
        libc::SYS_flistxattr,
    ]),
    ("changing files; which ones is decided by the file system", &[
        libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat,
        libc::SYS_symlinkat, libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fchmod,
        libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_utimensat, libc::SYS_umask,
        libc::SYS_mknodat, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr,
        libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    ]),
    ("making written data durable", &[
        libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_syncfs, libc::SYS_msync,
    ]),
    ("memory", &[
        libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect,
        libc::SYS_madvise, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock,
        libc::SYS_mlockall, libc::SYS_munlockall, libc::SYS_membarrier, libc::SYS_get_mempolicy,
        libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect,
    ]),
    ("processes and threads; clone without new namespaces", &[
        libc::SYS_clone, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group,
        libc::SYS_wait4, libc::SYS_waitid, libc::SYS_set_tid_address, libc::SYS_set_robust_list,
        libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_prctl, libc::SYS_personality,
        libc::SYS_restart_syscall,
    ]),
    ("who and where one is", &[
        libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid,
        libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups,
        libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_capget,
        libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getcpu, libc::SYS_times, libc::SYS_getrusage,
    ]),
    ("own limits and scheduling (of others limits are only told); the kernel lets nobody without capabilities raise them", &[
        libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_prlimit64, libc::SYS_getpriority,
        libc::SYS_setpriority, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
        libc::SYS_sched_setaffinity, libc::SYS_sched_getparam, libc::SYS_sched_setparam,
        libc::SYS_sched_getscheduler, libc::SYS_sched_setscheduler, libc::SYS_sched_getattr,
        libc::SYS_sched_setattr, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
        libc::SYS_sched_rr_get_interval, libc::SYS_ioprio_get, libc::SYS_ioprio_set,
    ]),
    ("signals; to whom is decided by ownership", &[
        libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigpending, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack,
        libc::SYS_signalfd4, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    ]),
    ("waiting for each other and for events", &[
        libc::SYS_futex, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_pipe2,
        libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    ]),
    ("time, read only, and timers", &[
        libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
        libc::SYS_gettimeofday, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
        libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
        libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    ]),
    ("sockets, of the families listed below", &[
        libc::SYS_socket, libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept,
        libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown, libc::SYS_getsockname,
        libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto,
        libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    ]),
    ("shared memory and semaphores of System V, which databases use", &[
        libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmdt, libc::SYS_shmctl, libc::SYS_semget,
        libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_semctl,
    ]),
    ("random numbers", &[libc::SYS_getrandom]),
    ("restricting oneself further", &[
        libc::SYS_seccomp, libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self, libc::SYS_capset,
    ]),
];

/// Older forms of the same calls, which only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const ALLOWED_LEGACY: &[Group] = &[
    ("files, as older programs name them", &[
        libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access,
        libc::SYS_readlink, libc::SYS_getdents, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink,
        libc::SYS_rename, libc::SYS_link, libc::SYS_symlink, libc::SYS_chmod, libc::SYS_chown,
        libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_mknod,
        libc::SYS_dup2,
    ]),
    ("processes and waiting, as older programs name them", &[
        libc::SYS_fork, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select,
        libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_signalfd,
        libc::SYS_inotify_init, libc::SYS_pause, libc::SYS_alarm, libc::SYS_time, libc::SYS_arch_prctl,
    ]),
];

/// Other architectures came without older forms.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALLOWED_LEGACY: &[Group] = &[];

/// Calls that are answered `EPERM`: known, and never for a program.
#[rustfmt::skip]
pub(super) const DENIED: &[NamedGroup] = &[
    ("looking into and steering other processes", named![
        SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp,
        SYS_pidfd_getfd, SYS_process_madvise, SYS_migrate_pages, SYS_move_pages,
    ]),
    ("changing what the file system is", named![
        SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree,
        SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
        SYS_mount_setattr, SYS_swapon, SYS_swapoff, SYS_quotactl,
    ]),
    ("other namespaces", named![SYS_unshare, SYS_setns]),
    ("becoming someone else", named![
        SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid,
        SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups,
    ]),
    ("large and often broken parts of the kernel", named![
        SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_bpf,
        SYS_perf_event_open, SYS_userfaultfd, SYS_add_key, SYS_request_key,
        SYS_keyctl, SYS_fanotify_init, SYS_fanotify_mark, SYS_lookup_dcookie,
    ]),
    ("files by handle, past every directory", named![SYS_name_to_handle_at, SYS_open_by_handle_at]),
    ("the host: its kernel, modules, name, clock, log and accounting", named![
        SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
        SYS_reboot, SYS_sethostname, SYS_setdomainname, SYS_settimeofday,
        SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_syslog,
        SYS_acct, SYS_vhangup, SYS_sync,
    ]),
];

/// `clone` is refused with any of these flags.
pub(super) const NAMESPACES: &[Value] = &[
    ("a new user namespace brings all capabilities", libc::CLONE_NEWUSER as u64),
    ("mounts", libc::CLONE_NEWNS as u64),
    ("processes", libc::CLONE_NEWPID as u64),
    ("network", libc::CLONE_NEWNET as u64),
    ("System V objects", libc::CLONE_NEWIPC as u64),
    ("host name", libc::CLONE_NEWUTS as u64),
    ("control groups", libc::CLONE_NEWCGROUP as u64),
];

/// Older forms of `clone` without flags: always a new process.
#[cfg(target_arch = "x86_64")]
pub(super) const NEW_PROCESSES: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];

/// Other architectures came without older forms.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const NEW_PROCESSES: &[i64] = &[];

/// `ioctl` is refused for these requests.
pub(super) const DENIED_IOCTLS: &[Value] = &[
    ("types into the terminal that FlexCore was started from", libc::TIOCSTI),
    ("pastes into a console", TIOCLINUX),
    ("takes a terminal from another session", libc::TIOCSCTTY),
];

/// Not named by the libc crate on every target.
const TIOCLINUX: u64 = 0x541C;

/// A reason, a call, one of its arguments, and bits there with which it is refused.
#[rustfmt::skip]
pub(super) const DENIED_BITS: &[(&str, i64, u8, u64)] = &[
    ("takes the huge pages that a database of the host reserved, and counts as memory of no process",
        libc::SYS_mmap, 3, libc::MAP_HUGETLB as u64),
];

/// Bits of a file's mode that are refused.
pub(super) const DENIED_MODES: &[Value] = &[
    (
        "in a granted directory this is a program that runs as its owner, by whomever it is started outside",
        libc::S_ISUID as u64,
    ),
    ("the same for its group", libc::S_ISGID as u64),
];

/// Calls that set a mode: the mode's argument, and the flags' where the mode counts only with one of [`CREATING`].
pub(super) const MODES: &[(i64, u8, Option<u8>)] = &[
    (libc::SYS_fchmod, 1, None),
    (libc::SYS_fchmodat, 2, None),
    (libc::SYS_mknodat, 2, None),
    (libc::SYS_openat, 3, Some(2)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1, None),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1, None),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1, None),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 2, Some(1)),
];

/// Calls that change what is told about a file. Where no mounts of the program's own decide about files, rules by path do,
/// and the kernel asks those for none of these: the owner could change any file of the host.
#[rustfmt::skip]
pub(super) const ATTRIBUTES: &[i64] = &[
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_utimensat,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr,
    libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown,
    #[cfg(target_arch = "x86_64")] libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")] libc::SYS_utime,
    #[cfg(target_arch = "x86_64")] libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")] libc::SYS_futimesat,
];

/// Flags that make a file.
pub(super) const CREATING: &[u64] = &[libc::O_CREAT as u64, (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64];

/// Bytes of the largest shared memory of System V: enough for what a database locks its directory with. It belongs to no
/// process, so that no sum over processes finds it; a namespace has at most 4,096 of them.
pub(super) const LARGEST_SEGMENT: u64 = 64 * 1024;

/// The families of which sockets can be made.
pub(super) const ALLOWED_FAMILIES: &[Value] = &[
    ("pairs within a program, and granted sockets", libc::AF_UNIX as u64),
    ("IPv4", libc::AF_INET as u64),
    ("IPv6", libc::AF_INET6 as u64),
    ("own addresses, which getaddrinfo asks for; the routing protocol only", libc::AF_NETLINK as u64),
];

/// Those that leave the host.
pub(super) const INTERNET_FAMILIES: &[u64] = &[libc::AF_INET as u64, libc::AF_INET6 as u64];

/// Their protocols.
pub(super) const ALLOWED_PROTOCOLS: &[Value] =
    &[("the usual one of the type", 0), ("TCP", libc::IPPROTO_TCP as u64), ("UDP", libc::IPPROTO_UDP as u64)];

/// What `personality` may be called with: others switch protections off.
pub(super) const ALLOWED_PERSONALITIES: &[Value] =
    &[("the ordinary one", 0), ("a machine that calls itself 32 bit", 8), ("only asks", 0xFFFF_FFFF)];
