//! Other processes: init, the launcher, programs in other jails, whatever else the same user runs; and not ending.

use super::super::support::{Launch, Launched, alive, until, users};
use super::{attacker, tell, tell_answer, told};
use flexcore_jailer::process_tree::descendants;
use flexcore_jailer::protocol::{Order, Outcome};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A process of the same user that has nothing to do with the jail; ends when dropped.
pub(super) struct Bystander(Child);

impl Bystander {
    pub(super) fn of(user: Option<u32>) -> Self {
        let mut command = Command::new("sleep");
        command.arg("600").process_group(0);
        user.iter().for_each(|user| {
            command.uid(*user);
        });
        Self(command.spawn().unwrap())
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn launcher(launched: &Launched) -> Pid {
    Pid::from_raw(i32::try_from(launched.jailer.process.id()).unwrap())
}

#[test]
fn init_cannot_be_looked_into_or_ended() {
    for user in users() {
        let script = "cd /proc/1; for f in environ mem maps fd/0 exe root/etc cwd/etc fdinfo auxv io stack syscall; \
                      do cat $f && echo read $f; done; ls fd map_files && echo listed; readlink exe && echo link; \
                      echo 1000 > oom_score_adj && echo wrote; for s in KILL STOP TERM SEGV INT HUP USR1; do kill -$s 1; done; \
                      echo alive";
        let (ended, output) = Launch::sh(script).jailed().by(user).run();
        assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), "alive\n"));
    }
}

#[test]
fn a_signal_to_everyone_reaches_its_own_only() {
    for user in users() {
        let bystander = Bystander::of(user);
        let mut neighbour = Launch::sh("exec sleep 600").jailed().by(user).start().unwrap();
        let targets = format!("{} {} {}", bystander.pid(), neighbour.pid, launcher(&neighbour));
        // A shell that kills everyone is not killed itself; its children are.
        let script = format!(
            "sleep 600 & kill -KILL {targets}; for p in {targets}; do kill -0 $p && echo seen; done; \
             kill -KILL -1; wait $!; echo $?"
        );
        let (ended, output) = Launch::sh(&script).jailed().by(user).run();
        assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), "137\n"));
        assert!(alive(bystander.pid()) && alive(neighbour.pid) && alive(launcher(&neighbour)));
        neighbour.order(&Order::Kill);
        assert_eq!(neighbour.ended().outcome, Outcome::Signal(libc::SIGKILL));
    }
}

#[test]
fn a_neighbour_is_not_there() {
    for user in users() {
        let mut neighbour = Launch::program(["/bin/sleep", "600.25"]).jailed().by(user).start().unwrap();
        let script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
        let (_, output) = Launch::sh(script).jailed().by(user).run();
        assert!(output.contains("/proc/") && !output.contains("600.25"), "{output}");
        neighbour.order(&Order::Kill);
        neighbour.ended();
    }
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn strangler() {
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_FSIZE, libc::RLIMIT_AS, libc::RLIMIT_CPU] {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel reads one rlimit.
        unsafe { libc::prlimit(1, resource, &raw const none, std::ptr::null_mut()) };
    }
    tell("strangled", 1);
}

#[test]
fn an_init_that_is_strangled_takes_the_program_along() {
    for user in users() {
        let mut launched = attacker("processes::strangler").by(user).start().unwrap();
        let ended = launched.ended();
        // Its own end, or that of everything: but an end, and of all.
        assert!(matches!(ended.outcome, Outcome::Exit(0) | Outcome::Signal(libc::SIGKILL)), "{ended:?}");
        assert!(ended.survivors.is_empty() && descendants(launcher(&launched)).is_empty());
    }
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn finder() {
    let key = std::env::var("KEY").unwrap().parse().unwrap();
    // SAFETY: numbers only.
    tell_answer("segment", unsafe { libc::shmget(key, 0, 0) }.into());
    // SAFETY: numbers only.
    tell_answer("semaphore", unsafe { libc::semget(key, 0, 0) }.into());
}

#[test]
fn system_v_objects_of_the_host_are_not_there() {
    struct Segment(libc::c_int);
    impl Drop for Segment {
        fn drop(&mut self) {
            // SAFETY: removes the segment that this test made; no pointer is used.
            unsafe { libc::shmctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
    let key = i32::try_from(std::process::id()).unwrap();
    // SAFETY: numbers only.
    let segment = Segment(unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o666) });
    assert!(segment.0 >= 0, "the control: it is there for everyone");
    for user in users() {
        let mut launch = attacker("processes::finder").by(user);
        launch.policy.env.push(("KEY".into(), key.to_string()));
        let inside = told(&launch.run().1);
        let absent = nix::errno::Errno::ENOENT.to_string();
        assert_eq!((&inside["segment"], &inside["semaphore"]), (&absent, &absent));
    }
}

#[test]
fn programs_that_will_not_end_are_ended() {
    // Sessions of their own, deaf to signals, stopped, forked again and again, and holding the output open.
    let script = "trap '' TERM HUP INT QUIT USR1 ALRM; (setsid sh -c \"trap '' TERM; exec sleep 600\" &); \
                  (setsid sh -c 'kill -STOP $$' &); (perl -e 'fork; fork; sleep 600' &); \
                  (perl -e 'while (1) { exit if fork; select undef, undef, undef, 0.002 }' &); echo ready; \
                  while :; do sleep 600; done";
    for user in users() {
        let mut launched = Launch::sh(script).jailed().by(user).start().unwrap();
        let mut lines = BufReader::new(launched.stdout.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let launcher = launcher(&launched);
        until("the programs are there", || descendants(launcher).len() > 6);
        launched.order(&Order::Stop { grace_ms: 50 });
        let ended = launched.ended();
        assert_eq!((ended.outcome, ended.survivors), (Outcome::Signal(libc::SIGKILL), vec![]));
        assert!(descendants(launcher).is_empty());
        let mut rest = Vec::new();
        launched.stdout.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn a_killed_init_is_an_end_like_any_other() {
    for user in users() {
        let mut launched = Launch::sh("setsid sleep 600 & exec sleep 600").jailed().by(user).start().unwrap();
        let tree = descendants(launcher(&launched));
        let init = tree.first().unwrap().pid;
        nix::sys::signal::kill(init, Signal::SIGKILL).unwrap();
        let ended = launched.ended();
        assert_eq!((ended.outcome, ended.survivors), (Outcome::Signal(libc::SIGKILL), vec![]));
        assert!(tree.iter().all(|one| !alive(one.pid)));
    }
}

#[test]
fn a_killed_launcher_leaves_no_program_even_while_it_starts() {
    for user in users() {
        // Moments spread over the whole start: a start takes some milliseconds.
        for moment in 0..40_u32 {
            let (mut output, held) = pipe().unwrap();
            let launch = Launch::sh("sleep 600").jailed().by(user).stdin(OwnedFd::from(held));
            launch.abandon(std::time::Duration::from_micros(u64::from(moment) * 150));
            // The write end is held by launcher, init and program alone: its end is that of all of them.
            let mut rest = Vec::new();
            output.read_to_end(&mut rest).unwrap();
        }
    }
}
