//! The kernel's larger surface: what `filter.rs` does not try, and what needs more than one call.

use super::super::support::{Launch, users};
use super::{attacker, directory, outside, tell, tell_answer, told};
use flexcore_jailer::protocol::Outcome;
use nix::errno::Errno;
use std::process::Command;

/// A call with arguments that do no harm where it is permitted, and the answer in the jail.
type Attack = (&'static str, i64, [i64; 4], Errno);

const ATTACKS: &[Attack] = &[
    ("setuid", libc::SYS_setuid, [0; 4], Errno::EPERM),
    ("setresuid", libc::SYS_setresuid, [0; 4], Errno::EPERM),
    ("setgroups", libc::SYS_setgroups, [0; 4], Errno::EPERM),
    ("setfsuid", libc::SYS_setfsuid, [0; 4], Errno::EPERM),
    ("add_key", libc::SYS_add_key, [0; 4], Errno::EPERM),
    ("request_key", libc::SYS_request_key, [0; 4], Errno::EPERM),
    ("fanotify_init", libc::SYS_fanotify_init, [-1, 0, 0, 0], Errno::EPERM),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0], Errno::EPERM),
    ("process_vm_writev", libc::SYS_process_vm_writev, [0; 4], Errno::EPERM),
    ("init_module", libc::SYS_init_module, [0; 4], Errno::EPERM),
    ("kexec_load", libc::SYS_kexec_load, [-1, -1, 0, -1], Errno::EPERM),
    ("reboot", libc::SYS_reboot, [0; 4], Errno::EPERM),
    ("settimeofday", libc::SYS_settimeofday, [0; 4], Errno::EPERM),
    ("adjtimex", libc::SYS_adjtimex, [0; 4], Errno::EPERM),
    ("syslog", libc::SYS_syslog, [10, 0, 0, 0], Errno::EPERM),
    ("swapon", libc::SYS_swapon, [0; 4], Errno::EPERM),
    ("quotactl", libc::SYS_quotactl, [0; 4], Errno::EPERM),
    ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0], Errno::EPERM),
    ("fsopen", libc::SYS_fsopen, [0; 4], Errno::EPERM),
    ("listmount", 458, [0; 4], Errno::ENOSYS),
    ("openat2", libc::SYS_openat2, [-1, 0, 0, 0], Errno::ENOSYS),
    ("memfd_create", libc::SYS_memfd_create, [0; 4], Errno::ENOSYS),
    ("io_setup", libc::SYS_io_setup, [0; 4], Errno::ENOSYS),
    ("mq_open", libc::SYS_mq_open, [0; 4], Errno::ENOSYS),
    ("a call of the future", 600, [0; 4], Errno::ENOSYS),
    ("large System V segment", libc::SYS_shmget, [0, 1 << 40, 0o600, 0], Errno::EPERM),
    (
        "huge pages",
        libc::SYS_mmap,
        [0, 1 << 21, 0, (libc::MAP_HUGETLB | libc::MAP_PRIVATE) as i64],
        Errno::EPERM,
    ),
    ("personality", libc::SYS_personality, [0x0004_0000, 0, 0, 0], Errno::EPERM),
    ("real time", libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO as i64, 0, 0], Errno::EINVAL),
    ("sctp", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_STREAM as i64, 132, 0], Errno::EPERM),
    (
        "sctp by type",
        libc::SYS_socket,
        [libc::AF_INET6 as i64, libc::SOCK_SEQPACKET as i64, 0, 0],
        Errno::EPERM,
    ),
    ("l2tp", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_DGRAM as i64, 115, 0], Errno::EPERM),
    ("ping", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_DGRAM as i64, 1, 0], Errno::EPERM),
    ("set user id", libc::SYS_fchmod, [-1, 0o4755, 0, 0], Errno::EPERM),
    (
        "set user id, made so",
        libc::SYS_openat,
        [-1, 0, (libc::O_CREAT | libc::O_EXCL) as i64, 0o4755],
        Errno::EPERM,
    ),
    ("set user id, by mknod", libc::SYS_mknodat, [-1, 0, 0o104_755, 0], Errno::EPERM),
];

/// Those that may be tried outside by whomever, and must have another answer there.
const CONTROLS: &[&str] = &[
    "pidfd_getfd",
    "openat2",
    "memfd_create",
    "io_setup",
    "large System V segment",
    "personality",
    "set user id",
    "set user id, made so",
    "set user id, by mknod",
];

fn attempt((name, call, [a, b, c, d], _): &Attack) {
    // SAFETY: the arguments are null pointers, invalid descriptors or plain numbers; what is mapped is not used.
    tell_answer(&name.replace(' ', "_"), unsafe { libc::syscall(*call, *a, *b, *c, *d, -1_i64, 0_i64) });
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn caller() {
    ATTACKS.iter().for_each(attempt);
}

#[test]
#[ignore = "not a test: the program that another test runs outside"]
fn harmless_caller() {
    ATTACKS.iter().filter(|(name, ..)| CONTROLS.contains(name)).for_each(attempt);
}

#[test]
fn calls_are_refused() {
    let control = outside("kernel::harmless_caller");
    for user in users() {
        let (ended, output) = attacker("kernel::caller").by(user).run();
        assert_eq!(ended.outcome, Outcome::Exit(0), "{output}");
        let inside = told(&output);
        for (name, _, _, expected) in ATTACKS {
            let (key, expected) = (name.replace(' ', "_"), expected.to_string());
            assert_eq!(inside[&key], expected, "{name}");
            if CONTROLS.contains(name) {
                assert_ne!(control[&key], expected, "the control of {name}");
            }
        }
    }
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn greedy() {
    let more = |resource, name: &str| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel fills one rlimit and then reads one.
        let answer = unsafe {
            libc::getrlimit(resource, &raw mut limit);
            limit.rlim_max = limit.rlim_max.saturating_add(1);
            libc::setrlimit(resource, &raw const limit)
        };
        tell_answer(name, answer.into());
    };
    more(libc::RLIMIT_CORE, "core");
    more(libc::RLIMIT_NOFILE, "files");
    more(libc::RLIMIT_RTPRIO, "real_time");
    more(libc::RLIMIT_MEMLOCK, "locked");
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads one sched_param.
    tell_answer("fifo", unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) }.into());
    // SAFETY: numbers only.
    tell_answer("nice", unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -1) }.into());
    let unkillable = std::fs::write("/proc/self/oom_score_adj", "-1000");
    tell("unkillable", unkillable.map_or_else(|error| error.kind().to_string(), |()| "permitted".to_owned()));
    tell("score", std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim());
    let open: libc::c_int = (0..100).map(|_| unsafe_inotify()).take_while(|fd| *fd >= 0).map(|_| 1).sum();
    tell("inotify", open);
}

/// Never closed: what is counted is how many there can be.
fn unsafe_inotify() -> libc::c_int {
    // SAFETY: no argument is a pointer.
    unsafe { libc::inotify_init1(0) }
}

#[test]
fn limits_cannot_be_raised_and_shares_of_the_host_are_bounded() {
    for user in users() {
        let (ended, output) = attacker("kernel::greedy").by(user).run();
        assert_eq!(ended.outcome, Outcome::Exit(0), "{output}");
        let inside = told(&output);
        for name in ["core", "files", "real_time", "locked", "fifo"] {
            assert_eq!(inside[name], Errno::EPERM.to_string(), "{name}");
        }
        assert_eq!(inside["nice"], Errno::EACCES.to_string());
        assert_eq!(inside["unkillable"], "permission denied");
        assert!(inside["score"].parse::<i32>().unwrap() >= 500, "{output}");
        assert!((1..=8).contains(&inside["inotify"].parse().unwrap()), "{output}");
    }
}

#[test]
fn a_crash_leaves_no_core() {
    for user in users() {
        let granted = directory(user);
        let script = format!(
            "cd {}; sh -c 'kill -SEGV $$'; ulimit -c unlimited; sh -c 'kill -SEGV $$'; ls",
            granted.path().display()
        );
        let (_, output) = Launch::sh(&script).jailed().by(user).shows(granted.path(), true).run();
        assert_eq!(output, "");
    }
}

#[test]
fn namespaces_and_mounts_are_out_of_reach_by_the_systems_own_tools() {
    let tools = "unshare -U true && echo user; unshare -Ur true && echo root; unshare -n true && echo net; \
                 nsenter -t 1 -m true && echo enter; mount -t tmpfs none /tmp && echo mount; chroot / true && echo chroot; \
                 mount --bind /usr /tmp && echo bind; umount -l /usr && echo umount; hostname attacked && echo name";
    for user in users() {
        let (_, output) =
            Launch::sh(&format!("PATH=$PATH:/usr/sbin:/sbin; {tools}; echo end")).jailed().by(user).run();
        assert_eq!(output, "end\n");
    }
    let host = Command::new("hostname").output().unwrap();
    assert_ne!(host.stdout, b"attacked\n");
}
