//! The level `no-userns`: rules by path and the system call filter alone hold the program from the host's files, settings and
//! processes. Less is promised there; what is promised must hold.

use super::super::support::{Launch, alive, users};
use super::processes::Bystander;
use super::{attacker, directory, tell_answer, told};
use flexcore_jailer::protocol::{Isolation, Outcome};
use nix::errno::Errno;
use std::fs::{metadata, read_to_string, write};
use std::os::unix::fs::MetadataExt;

const NO_USERNS: Isolation = Isolation { namespaces: false, landlock: true, seccomp: true };

fn degraded(mut launch: Launch, user: Option<u32>) -> Launch {
    launch.policy.isolation = NO_USERNS;
    launch.policy.internet = false;
    if let Some(user) = user {
        nix::unistd::chown(launch.workdir(), Some(user.into()), Some(user.into())).unwrap();
    }
    launch.by(user)
}

#[test]
fn files_and_settings_of_the_host_cannot_be_read_or_changed() {
    const SETTING: &str = "/proc/sys/kernel/core_pattern";
    for user in users() {
        let (host, granted) = (directory(user), directory(user));
        let [secret, shown] = [host.path().join("secret"), granted.path().join("shown")];
        write(&secret, "secret").unwrap();
        write(&shown, "shown").unwrap();
        for path in [&secret, &shown] {
            nix::unistd::chown(path, user.map(Into::into), user.map(Into::into)).unwrap();
        }
        let seen = |path: &std::path::Path| {
            let found = metadata(path).unwrap();
            (found.mode(), found.mtime(), found.mtime_nsec(), found.ctime_nsec(), found.len())
        };
        let before = [seen(&secret), seen(&shown)];
        // the setting is written with what it says already: harmless where it succeeds
        let script = format!(
            "echo $(cat {shown}); for f in {secret} {shown}; do chmod 777 $f; chown $(id -u) $f; touch -d @1 $f; \
             echo x > $f; rm -f $f; ln $f l; perl -e 'open F, q(<), shift or exit; chmod 0777, *F; utime 1, 1, *F' $f; \
             setfattr -n user.x -v x $f; done; cat {secret}; cat {SETTING} > s && cat s > {SETTING} && echo set; \
             echo s > /proc/sysrq-trigger && echo sync; cat /etc/shadow; ls {host}",
            shown = shown.display(),
            secret = secret.display(),
            host = host.path().display(),
        );
        let (_, output) = degraded(Launch::sh(&script), user).shows(granted.path(), false).run();
        assert_eq!(output, "shown\n");
        assert_eq!([seen(&secret), seen(&shown)], before);
        assert_eq!(read_to_string(&secret).unwrap(), "secret");
    }
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn strangler() {
    let pid = std::env::var("PID").unwrap().parse().unwrap();
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads one rlimit.
    let answer = unsafe { libc::prlimit(pid, libc::RLIMIT_CPU, &raw const none, std::ptr::null_mut()) };
    tell_answer("strangle", answer.into());
    // SAFETY: numbers only.
    tell_answer("kill", unsafe { libc::kill(pid, libc::SIGKILL) }.into());
    // SAFETY: numbers only.
    tell_answer("internet", unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }.into());
    let environment = std::fs::read(format!("/proc/{pid}/environ"));
    super::tell("environ", environment.map_or_else(|error| error.kind().to_string(), |_| "read".to_owned()));
}

/// Signals need Landlock's scopes (linux 6.12), as this test does.
#[test]
fn other_processes_of_the_user_are_left_alone() {
    for user in users() {
        let bystander = Bystander::of(user);
        let mut launch = degraded(attacker("degraded::strangler"), user);
        launch.policy.env.push(("PID".into(), bystander.pid().to_string()));
        let (ended, output) = launch.run();
        assert_eq!(ended.outcome, Outcome::Exit(0), "{output}");
        let inside = told(&output);
        for name in ["strangle", "kill"] {
            assert_eq!(inside[name], Errno::EPERM.to_string(), "{name}");
        }
        assert_eq!(inside["internet"], Errno::EAFNOSUPPORT.to_string());
        assert_eq!(inside["environ"], "permission denied");
        assert!(alive(bystander.pid()));
        let limits = read_to_string(format!("/proc/{}/limits", bystander.pid())).unwrap();
        assert!(limits.contains("Max cpu time              unlimited"), "{limits}");
    }
}
