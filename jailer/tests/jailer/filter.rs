//! What a program may not ask of the kernel. The attacks are made by this test binary itself, run in the jail; the
//! control makes the same calls outside and must get another answer, so that a refusal is the jail's doing.

use super::support::{Launch, users};
use flexcore_jailer::limits::MOST_NOTICED;
use flexcore_jailer::protocol::Outcome;
use nix::errno::Errno;
use nix::unistd::{Uid, getuid};
use std::collections::BTreeMap;
use std::fs::{File, Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A call with arguments that do no harm where it is permitted, and the answer in the jail.
type Attack = (&'static str, i64, [i64; 5], Errno);

const DENIED: &[Attack] = &[
    ("unshare", libc::SYS_unshare, [0; 5], Errno::EPERM),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0, 0], Errno::EPERM),
    ("mount", libc::SYS_mount, [0; 5], Errno::EPERM),
    ("chroot", libc::SYS_chroot, [0; 5], Errno::EPERM),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0], Errno::EPERM),
    ("ptrace", libc::SYS_ptrace, [-1, 0, 0, 0, 0], Errno::EPERM),
    ("process_vm_readv", libc::SYS_process_vm_readv, [0; 5], Errno::EPERM),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0; 5], Errno::EPERM),
    ("bpf", libc::SYS_bpf, [-1, 0, 0, 0, 0], Errno::EPERM),
    ("perf_event_open", libc::SYS_perf_event_open, [0; 5], Errno::EPERM),
    ("userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0, 0, 0], Errno::EPERM),
    ("keyctl", libc::SYS_keyctl, [-1, 0, 0, 0, 0], Errno::EPERM),
    ("clock_settime", libc::SYS_clock_settime, [0; 5], Errno::EPERM),
    ("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0, 0], Errno::EPERM),
    (
        "clone_newuser",
        libc::SYS_clone,
        [(libc::CLONE_NEWUSER | libc::SIGCHLD) as i64, 0, 0, 0, 0],
        Errno::EPERM,
    ),
    ("clone3", libc::SYS_clone3, [0; 5], Errno::ENOSYS),
    ("getpid_of_x32", 0x4000_0000 | libc::SYS_getpid, [0; 5], Errno::ENOSYS),
    ("tiocsti", libc::SYS_ioctl, [-1, libc::TIOCSTI as i64, 0, 0, 0], Errno::EPERM),
    ("tiocsti_64", libc::SYS_ioctl, [-1, libc::TIOCSTI as i64 | 1 << 32, 0, 0, 0], Errno::EPERM),
    (
        "packet",
        libc::SYS_socket,
        [libc::AF_PACKET as i64, libc::SOCK_RAW as i64, 0, 0, 0],
        Errno::EAFNOSUPPORT,
    ),
    (
        "audit",
        libc::SYS_socket,
        [libc::AF_NETLINK as i64, libc::SOCK_RAW as i64, 9, 0, 0],
        Errno::EAFNOSUPPORT,
    ),
    (
        "alg",
        libc::SYS_socket,
        [libc::AF_ALG as i64, libc::SOCK_SEQPACKET as i64, 0, 0, 0],
        Errno::EAFNOSUPPORT,
    ),
    (
        "vsock",
        libc::SYS_socket,
        [libc::AF_VSOCK as i64, libc::SOCK_STREAM as i64, 0, 0, 0],
        Errno::EAFNOSUPPORT,
    ),
    ("raw", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_RAW as i64, 1, 0, 0], Errno::EPERM),
];

/// Calls that outside have the same answer on some hosts: an ordinary user's, or a kernel's without the feature.
const SAME_OUTSIDE_ON_SOME_HOSTS: &[&str] = &[
    "mount",
    "chroot",
    "clock_settime",
    "finit_module",
    "packet",
    "alg",
    "audit",
    "vsock",
    "raw",
    "bpf",
    "perf_event_open",
    "open_by_handle_at",
    "userfaultfd",
    "clone_newuser",
    "io_uring_setup",
    "keyctl",
    "ptrace",
    "getpid_of_x32",
];

/// The error number that the attack is answered, 0 if it is permitted.
fn attempt((_, call, args, _): &Attack) -> i32 {
    let [a, b, c, d, e] = *args;
    // SAFETY: the arguments are null pointers, invalid descriptors or plain numbers; no memory is handed over.
    let answer = unsafe { libc::syscall(*call, a, b, c, d, e) };
    if *call == libc::SYS_clone && answer == 0 {
        // SAFETY: the child that was not refused ends at once, without touching what it shares with nobody.
        unsafe { libc::_exit(0) }
    }
    if answer < 0 { Errno::last_raw() } else { 0 }
}

#[test]
#[ignore = "not a test: the program that the other tests run, in the jail and outside"]
fn attacker() {
    for attack in DENIED {
        println!("attack {} {}", attack.0, attempt(attack));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn foreign_attacker() {
    const GETPID_OF_I386: i32 = 20;
    // SAFETY: getpid of the 32-bit table takes no argument and changes nothing but the result register.
    unsafe { std::arch::asm!("int 0x80", inlateout("eax") GETPID_OF_I386 => _) };
    println!("not refused");
}

fn this_binary() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

fn answer(output: &str, name: &str) -> Errno {
    let prefix = format!("attack {name} ");
    let line = output.lines().find_map(|line| line.split_once(&prefix)).map(|(_, errno)| errno);
    Errno::from_raw(line.unwrap_or_else(|| panic!("{name} in {output}")).parse().unwrap())
}

#[test]
fn dangerous_calls_are_refused() {
    let arguments = ["--ignored", "--exact", "filter::attacker", "--nocapture"];
    let outside = Command::new(this_binary()).args(arguments).output().unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    let binary = this_binary();
    let [a, b, c, d] = arguments;
    let (ended, inside) = Launch::program([&binary, a, b, c, d]).jailed().shows(binary.as_ref(), false).run();
    assert_eq!(ended.outcome, Outcome::Exit(0), "{inside}");
    for (name, _, _, expected) in DENIED {
        assert_eq!(answer(&inside, name), *expected, "{name}");
        if !SAME_OUTSIDE_ON_SOME_HOSTS.contains(name) {
            assert_ne!(answer(&outside, name), *expected, "the control of {name}");
        }
    }
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn persistent_attacker() {
    let mut answers = BTreeMap::<i32, u64>::new();
    for _ in 0..5 * MOST_NOTICED {
        *answers
            .entry(attempt(&("ptrace", libc::SYS_ptrace, [-1, 0, 0, 0, 0], Errno::EPERM)))
            .or_default() += 1;
    }
    for (errno, times) in answers {
        println!("answered {errno} {times}");
    }
}

#[test]
fn the_first_dangerous_calls_are_seen_and_all_are_refused() {
    let binary = this_binary();
    for user in users() {
        let run = |test| {
            let launch = Launch::program([binary.as_str(), "--ignored", "--exact", test, "--nocapture"]);
            launch.jailed().by(user).shows(binary.as_ref(), false).run()
        };
        let (ended, output) = run("filter::attacker");
        let seen = |call: &str| ended.refused.iter().find(|seen| seen.call == call).map(|seen| seen.times);
        for call in ["unshare", "ptrace", "bpf", "keyctl", "finit_module"] {
            assert_eq!(seen(call), Some(1), "{call}: {output} {:?}", ended.refused);
        }
        assert_eq!((seen("clone"), seen("socket")), (None, None), "only what is never for a program");
        let (ended, output) = run("filter::persistent_attacker");
        assert_eq!(ended.outcome, Outcome::Exit(0), "{output}");
        assert_eq!(ended.refused.iter().map(|seen| seen.times).sum::<u64>(), MOST_NOTICED);
        let answered = |errno: Errno, times| format!("answered {} {times}\n", errno as i32);
        // whoever is asked too often listens no more, and the kernel refuses
        assert!(output.contains(&answered(Errno::EPERM, MOST_NOTICED)), "{output}");
        assert!(output.contains(&answered(Errno::ENOSYS, 4 * MOST_NOTICED)), "{output}");
    }
}

#[test]
fn ordinary_programs_make_no_dangerous_call() {
    let (ended, _) = Launch::sh("ls / | sort | head -1").jailed().run();
    assert_eq!((ended.outcome, ended.refused), (Outcome::Exit(0), Vec::new()));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_another_architecture_end_the_program() {
    let arguments = ["--ignored", "--exact", "filter::foreign_attacker", "--nocapture"];
    let [a, b, c, d] = arguments;
    let (ended, output) =
        Launch::program([&this_binary(), a, b, c, d]).jailed().shows(this_binary().as_ref(), false).run();
    assert!(!output.contains("not refused"), "{output}");
    assert_eq!(ended.outcome, Outcome::Signal(libc::SIGSYS));
}

#[test]
fn no_capability_is_left() {
    let (_, status) = Launch::program(["/bin/cat", "/proc/self/status"]).run();
    let mut sets = vec!["CapInh", "CapPrm", "CapEff", "CapAmb"];
    if getuid().is_root() {
        // Others may not empty it; no_new_privs keeps what is in it out of their reach.
        sets.push("CapBnd");
    }
    for set in sets {
        assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{set} in {status}");
    }
    assert!(status.contains("Seccomp:\t2\n"), "{status}");
}

#[test]
fn the_superuser_has_no_power_over_files() {
    let launch = Launch::sh("cat closed || exit 9");
    let closed = launch.workdir().join("closed");
    write(&closed, "secret").unwrap();
    set_permissions(&closed, Permissions::from_mode(0o0)).unwrap();
    assert_eq!(File::open(&closed).is_ok(), Uid::effective().is_root(), "the control");
    let (ended, output) = launch.run();
    assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(9), ""));
}

#[test]
fn ordinary_work_is_not_hindered() {
    let script = "mkdir d && echo a > d/f && cp -p d/f d/g && chmod 600 d/g && mv d/g g && ln -s g l && cat l | sort; \
                  ( sleep 0; exit 3 ) & wait $!; test $? = 3 && touch t && rm -r d t && ls";
    let (ended, output) = Launch::sh(script).run();
    assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), "a\ng\nl\n"));
}
