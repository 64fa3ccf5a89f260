//! What a program finds around itself: nothing that was not given to it.

use super::support::Launch;
use flexcore_jailer::protocol::{Limits, Outcome};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use std::fs::File;
use std::io::{Write, pipe};
use std::process::Command;

/// Prints the numbers of all open descriptors but 0 to 2.
const EXTRA_DESCRIPTORS: &str =
    "n=3; while [ $n -lt 256 ]; do [ -e /proc/$$/fd/$n ] && echo $n; n=$((n+1)); done; exit 0";

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {status}")).trim_start_matches(':').trim()
}

#[test]
fn the_environment_is_exactly_the_given_one() {
    let mut launch = Launch::program(["/usr/bin/env"]);
    launch.policy.env = vec![("A".into(), "one two=3".into()), ("EMPTY".into(), String::new())];
    let (ended, output) = launch.run();
    assert_eq!(ended.outcome, Outcome::Exit(0));
    assert_eq!(output, "A=one two=3\nEMPTY=\n");
}

#[test]
fn no_descriptor_is_inherited() {
    let leak = File::open("/dev/null").unwrap();
    fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let control = Command::new("/bin/sh").args(["-c", EXTRA_DESCRIPTORS]).output().unwrap();
    assert!(!control.stdout.is_empty(), "the control must see the leak");
    let (ended, output) = Launch::sh(EXTRA_DESCRIPTORS).run();
    assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), ""));
    let (_, listing) = Launch::program(["/bin/ls", "/proc/self/fd"]).run();
    assert_eq!(listing, "0\n1\n2\n3\n", "3 is ls's own, of the directory it lists");
}

#[test]
fn privileges_signals_umask_and_parent_are_reset() {
    let (_, status) = Launch::program(["/bin/cat", "/proc/self/status"]).run();
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(field(&status, mask), "0000000000000000", "{mask}");
    }
    assert_eq!(field(&status, "Umask"), "0022");
}

#[test]
fn the_program_leads_its_own_session_and_group_in_its_scratch_directory() {
    let launch = Launch::sh("cut -d' ' -f5,6 /proc/$$/stat; pwd");
    let workdir = launch.workdir().display().to_string();
    let mut launched = launch.start().unwrap();
    let pid = launched.pid;
    assert_eq!(launched.ended().outcome, Outcome::Exit(0));
    let output = std::io::read_to_string(launched.stdout).unwrap();
    assert_eq!(output, format!("{pid} {pid}\n{workdir}\n"));
}

#[test]
fn resource_limits_are_set() {
    let limits =
        Limits { cpu_seconds: Some(7), open_files: Some(64), file_bytes: Some(1 << 20), ..Limits::default() };
    let (_, output) = Launch::program(["/bin/cat", "/proc/self/limits"]).limits(limits).run();
    let row = |name: &str| field(&output, name).split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(row("Max cpu time"), "7 12");
    assert_eq!(row("Max open files"), "64 64");
    assert_eq!(row("Max file size"), "1048576 1048576");
    assert_eq!(row("Max core file size"), "1 1");
}

#[test]
fn standard_input_is_empty_unless_given() {
    let (ended, output) = Launch::sh("cat; readlink /proc/self/fd/0").run();
    assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), "/dev/null\n"));
}

#[test]
fn standard_input_is_passed_and_blocking() {
    let (input, mut feed) = pipe().unwrap();
    fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut launched = Launch::program(["/bin/cat"]).stdin(input).start().unwrap();
    // A program on a non-blocking input would have failed by now, or fail at its next empty read.
    feed.write_all(b"line\n").unwrap();
    let mut line = [0; 5];
    std::io::Read::read_exact(&mut launched.stdout, &mut line).unwrap();
    drop(feed);
    assert_eq!((launched.ended().outcome, &line), (Outcome::Exit(0), b"line\n"));
}
