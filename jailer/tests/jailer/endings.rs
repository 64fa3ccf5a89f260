//! However a program ends, or is ended, its end is told once and nothing of its tree survives.

use super::support::{Launch, Launched, alive, until};
use flexcore_jailer::process_tree::kill_session;
use flexcore_jailer::protocol::{Ended, Limits, Order, Outcome};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// Leaves a daemon behind: forked twice, own session, deaf to `SIGTERM` and `SIGHUP`; its pid is in the file `daemon`.
const DAEMON: &str = "(setsid sh -c 'trap \"\" TERM HUP; echo $$ >daemon; while :; do sleep 600; done' &)
    until [ -s daemon ]; do sleep 0.01; done; ";

fn with_daemon(script: &str) -> (Launched, Pid) {
    let launched = Launch::sh(&format!("{DAEMON}{script}")).start().unwrap();
    let daemon = launched.pid_in("daemon");
    (launched, daemon)
}

fn memory(bytes: u64) -> Limits {
    Limits { memory_bytes: Some(bytes), ..Limits::default() }
}

fn assert_killed_for_memory(ended: &Ended, limit: u64) {
    match ended.outcome {
        Outcome::OutOfMemory { limit: named, peak } => {
            assert_eq!(named, limit);
            assert!(peak > limit && ended.usage.peak_memory_bytes > limit, "{ended:?}");
        }
        other => panic!("{other:?} instead of out of memory"),
    }
    assert!(ended.survivors.is_empty());
}

#[test]
fn exit_codes_and_signals_are_told() {
    assert_eq!(Launch::sh("exit 0").run().0.outcome, Outcome::Exit(0));
    assert_eq!(Launch::sh("exit 42").run().0.outcome, Outcome::Exit(42));
    assert_eq!(Launch::sh("kill -KILL $$").run().0.outcome, Outcome::Signal(libc::SIGKILL));
    assert_eq!(Launch::sh("kill -40 $$").run().0.outcome, Outcome::Signal(40), "a real-time signal");
}

#[test]
fn usage_covers_the_whole_tree() {
    let script = "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); sleep 0.1";
    let (ended, _) = Launch::sh(script).run();
    let usage = ended.usage;
    assert!(usage.cpu_ms > 20 && usage.cpu_ms <= 2 * usage.wall_ms, "{usage:?}");
    assert!(usage.wall_ms >= usage.cpu_ms / 2 + 100 && usage.wall_ms < 30_000, "{usage:?}");
    assert!(usage.peak_memory_bytes > MIB / 2 && usage.peak_memory_bytes < 256 * MIB, "{usage:?}");
}

#[test]
fn a_daemon_left_behind_is_gone_when_the_end_is_told() {
    let (mut launched, daemon) = with_daemon("exit 3");
    let ended = launched.ended();
    assert_eq!(ended.outcome, Outcome::Exit(3));
    assert_eq!(ended.survivors, [0; 0]);
    assert!(!alive(daemon));
}

#[test]
fn a_chain_of_forks_does_not_outrun_the_kill() {
    // Each link forks the next and ends, so a listed process is rarely still there; bounded, should the kill fail.
    let chain = "for (my $n = 100_000; $n > 0; $n--) { exit if fork; open L, q(>), q(link); print L qq($n\n); close L }";
    let script =
        format!("setsid perl -e '{chain}' & until [ -s link ]; do sleep 0.01; done; sleep 0.1; exit 0");
    let mut launched = Launch::sh(&script).start().unwrap();
    let ended = launched.ended();
    assert_eq!((ended.outcome, ended.survivors), (Outcome::Exit(0), vec![]));
    let link = launched.workdir.path().join("link");
    let modified = || std::fs::metadata(&link).unwrap().modified().unwrap();
    let last = modified();
    assert_ne!(std::fs::read_to_string(&link).unwrap(), "1\n", "the chain ended by itself: nothing is shown");
    let deadline = Instant::now() + Duration::from_millis(50);
    until("a while in which a living chain would move", || Instant::now() > deadline);
    assert_eq!(modified(), last);
}

#[test]
fn stop_asks_first() {
    let script = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut launched = Launch::sh(script).start().unwrap();
    let mut lines = BufReader::new(launched.stdout.try_clone().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    launched.order(&Order::stop(Duration::from_secs(20)));
    assert_eq!(launched.ended().outcome, Outcome::Exit(5));
    assert_eq!(lines.next().unwrap().unwrap(), "asked");
}

#[test]
fn a_stopped_program_hears_the_request_too() {
    let mut launched = Launch::sh("echo $$ >main; kill -STOP $$").start().unwrap();
    launched.pid_in("main");
    launched.order(&Order::stop(Duration::from_secs(20)));
    assert_eq!(launched.ended().outcome, Outcome::Signal(libc::SIGTERM));
}

#[test]
fn a_program_deaf_to_the_request_is_killed_after_the_grace() {
    let (mut launched, daemon) = with_daemon("trap '' TERM; echo $$ >main; while :; do sleep 0.01; done");
    let main = launched.pid_in("main");
    let grace = Duration::from_millis(300);
    let asked = Instant::now();
    launched.order(&Order::stop(grace));
    let ended = launched.ended();
    assert!(asked.elapsed() >= grace);
    assert_eq!(ended.outcome, Outcome::Signal(libc::SIGKILL));
    assert!(!alive(main) && !alive(daemon));
}

#[test]
fn a_second_stop_can_only_shorten_the_grace() {
    let mut launched =
        Launch::sh("trap '' TERM; echo $$ >main; while :; do sleep 0.01; done").start().unwrap();
    launched.pid_in("main");
    launched.order(&Order::stop(Duration::MAX));
    launched.order(&Order::stop(Duration::from_millis(50)));
    launched.order(&Order::stop(Duration::from_secs(600)));
    assert_eq!(launched.ended().outcome, Outcome::Signal(libc::SIGKILL));
}

#[test]
fn kill_is_at_once_and_whole() {
    let (mut launched, daemon) = with_daemon("sleep 600");
    launched.order(&Order::Kill);
    let ended = launched.ended();
    assert_eq!((ended.outcome, ended.survivors), (Outcome::Signal(libc::SIGKILL), vec![]));
    assert!(!alive(daemon));
    assert_eq!(launched.jailer.exit_code(), Some(0));
}

#[test]
fn when_the_daemon_vanishes_the_tree_does() {
    let (mut launched, daemon) = with_daemon("sleep 600");
    launched.jailer.hang_up();
    assert_eq!(launched.jailer.exit_code(), Some(0));
    assert!(!alive(launched.pid) && !alive(daemon));
}

#[test]
fn when_the_launcher_is_killed_the_program_dies_and_its_session_can_be_swept() {
    let script = "trap '' TERM HUP; sh -c 'echo $$ >child; while :; do sleep 600; done'";
    let mut launched = Launch::sh(script).start().unwrap();
    let child = launched.pid_in("child");
    launched.jailer.signal(Signal::SIGKILL);
    assert_eq!(launched.jailer.try_report(), None);
    until("the parent-death signal", || !alive(launched.pid));
    assert!(alive(child), "the parent-death signal reaches the program only");
    assert!(kill_session(launched.pid).contains(&child));
    until("the end of the session", || !alive(child));
}

#[test]
fn a_signal_for_the_whole_service_does_not_make_the_launcher_leave_its_tree() {
    let mut launched =
        Launch::sh("echo $$ >main; until [ -e go ]; do sleep 0.01; done; exit 4").start().unwrap();
    launched.pid_in("main");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        launched.jailer.signal(signal);
    }
    std::fs::write(launched.workdir.path().join("go"), "").unwrap();
    assert_eq!(launched.ended().outcome, Outcome::Exit(4));
}

#[test]
fn a_memory_hog_is_told_from_a_crash() {
    let limit = 64 * MIB;
    let (ended, _) = Launch::sh("head -c 400M /dev/zero | tail").limits(memory(limit)).run();
    assert_killed_for_memory(&ended, limit);
}

#[test]
fn memory_split_over_children_counts_together() {
    let limit = 96 * MIB;
    let hog = "perl -e '$x = \"a\"; $x x= 40_000_000; sleep 600'";
    let (ended, _) = Launch::sh(&format!("{hog} & {hog} & {hog} & {hog} & wait")).limits(memory(limit)).run();
    assert_killed_for_memory(&ended, limit);
}

#[test]
fn shared_pages_are_not_counted_once_per_process() {
    let limit = 192 * MIB;
    let script = "$x = 'a'; $x x= 80_000_000; for (1..4) { fork or do { select undef, undef, undef, 1; exit } } \
                  wait for 1..4";
    let (ended, _) = Launch::program(["/usr/bin/perl", "-e", script]).limits(memory(limit)).run();
    assert_eq!(ended.outcome, Outcome::Exit(0));
    assert!(ended.usage.peak_memory_bytes > limit, "the plain sum must exceed the limit: {ended:?}");
}

#[test]
fn used_up_processor_time_and_file_size_end_by_their_signals() {
    let cpu = Limits { cpu_seconds: Some(1), ..Limits::default() };
    let (ended, _) = Launch::sh("while :; do :; done").limits(cpu).run();
    assert_eq!(ended.outcome, Outcome::Signal(libc::SIGXCPU));
    let file = Limits { file_bytes: Some(MIB), ..Limits::default() };
    let (ended, _) = Launch::sh("exec head -c 2M /dev/zero >big").limits(file).run();
    assert_eq!(ended.outcome, Outcome::Signal(libc::SIGXFSZ));
}
