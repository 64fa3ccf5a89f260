//! Using up what others need: memory, processes, descriptors, space, signals, the daemon's patience.

use super::super::support::{Launch, alive, until, users};
use super::{attacker, tell, told};
use flexcore_jailer::protocol::{Limits, Order, Outcome};
use nix::errno::Errno;
use std::fs::{File, read_to_string};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;

const MIB: u64 = 1024 * 1024;

#[test]
fn a_memory_bomb_is_told_from_a_crash_however_it_is_split() {
    let hog = "perl -e '$x = q(a); $x x= 40_000_000; sleep 600'";
    let bombs = [
        "head -c 400M /dev/zero | tail".to_owned(),
        format!("{hog} & {hog} & {hog} & wait"),
        format!("setsid {hog} & (setsid {hog} &) & (setsid {hog} &) & sleep 600"),
        // a mapped file of the private file system is memory, too
        "head -c 200M /dev/zero > f; perl -e 'open F, q(<), q(f); local $/; $x = <F>; sleep 600'".to_owned(),
    ];
    for user in users() {
        for bomb in &bombs {
            let limits = Limits { memory_bytes: Some(64 * MIB), ..Limits::default() };
            let (ended, _) = Launch::sh(bomb).jailed().by(user).limits(limits).run();
            let Outcome::OutOfMemory { limit, peak } = ended.outcome else { panic!("{ended:?} of {bomb}") };
            assert!(limit == 64 * MIB && peak > limit && ended.survivors.is_empty(), "{ended:?}");
        }
    }
}

#[test]
fn a_flood_of_zombies_and_orphans_is_bounded_and_reaped() {
    // Zombies that their parent keeps count; orphans become init's and are reaped, so that ever new ones fit.
    let zombies = "for (1..1000) { my $p = fork; defined $p or do { print $!{EAGAIN} ? qq(EAGAIN\\n) : $!; last }; \
                   exit unless $p } print qq(alive\\n)";
    let orphans = "i=0; while [ $i -lt 200 ]; do (true & ); i=$((i+1)); done; echo reaped";
    for user in users() {
        let limits = || Limits { processes: Some(20), ..Limits::default() };
        let mut launched = Launch::program(["/usr/bin/perl", "-e", zombies])
            .jailed()
            .by(user)
            .limits(limits())
            .start()
            .unwrap();
        let mut output = String::new();
        launched.stdout.read_to_string(&mut output).unwrap();
        assert_eq!((launched.ended().outcome, output.as_str()), (Outcome::Exit(0), "EAGAIN\nalive\n"));
        let (ended, output) = Launch::sh(orphans).jailed().by(user).limits(limits()).run();
        assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), "reaped\n"));
    }
}

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn exhauster() {
    let mut open = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    let count = open.len();
    drop(open);
    tell("descriptors", format!("{} {}", count, Errno::from_raw(error.raw_os_error().unwrap())));
    let mut made = 0;
    let error = loop {
        match File::create_new(format!("/tmp/{made}")) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    tell("files", format!("{made} {}", Errno::from_raw(error.raw_os_error().unwrap())));
    // SAFETY: blocks one signal for this thread and sends it to this process until that is refused.
    let pending = unsafe {
        let mut one: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut one, libc::SIGRTMIN());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const one, std::ptr::null_mut());
        let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
        (0..1_000_000)
            .take_while(|_| libc::pthread_sigqueue(libc::pthread_self(), libc::SIGRTMIN(), value) == 0)
            .count()
    };
    tell("signals", pending);
}

#[test]
fn descriptors_files_and_signals_run_out_for_the_program_alone() {
    for user in users() {
        let limits = Limits { open_files: Some(64), scratch_bytes: Some(8 * MIB), ..Limits::default() };
        let (ended, output) = attacker("resources::exhauster").by(user).limits(limits).run();
        assert_eq!(ended.outcome, Outcome::Exit(0), "{output}");
        let inside = told(&output);
        let ran_out = |name: &str| {
            let (count, error) = inside[name].split_once(' ').unwrap();
            (count.parse::<u64>().unwrap(), error.to_owned())
        };
        let (count, error) = ran_out("descriptors");
        assert!((32..64).contains(&count) && error == Errno::EMFILE.to_string(), "{output}");
        let (count, error) = ran_out("files");
        assert!((1_000..=4_096).contains(&count) && error == Errno::ENOSPC.to_string(), "{output}");
        assert!(inside["signals"].parse::<u64>().unwrap() <= 4_096, "{output}");
        assert!(File::open("/dev/null").is_ok(), "the host has descriptors left");
    }
}

#[test]
fn endless_output_that_nobody_reads_waits_and_can_be_ended() {
    for user in users() {
        let mut launched = Launch::program(["/usr/bin/yes"]).jailed().by(user).start().unwrap();
        let queued = || {
            let mut bytes: libc::c_int = 0;
            // SAFETY: FIONREAD writes one int.
            let answer = unsafe { libc::ioctl(launched.stdout.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
            assert_eq!(answer, 0);
            bytes
        };
        let asleep =
            || read_to_string(format!("/proc/{}/stat", launched.pid)).is_ok_and(|stat| stat.contains(") S "));
        until("the pipe is full and its writer waits", || queued() >= 4096 && asleep());
        assert!(queued() <= 1 << 20, "{} bytes wait", queued());
        launched.order(&Order::Kill);
        assert_eq!(launched.ended().outcome, Outcome::Signal(libc::SIGKILL));
        assert!(!alive(launched.pid));
    }
}

#[test]
fn a_flood_of_signals_to_init_does_not_delay_the_end() {
    let flood = "$SIG{CHLD} = q(IGNORE); $| = 1; print qq(ready\\n); \
                 while (1) { kill $_ => 1 for qw(CHLD RTMIN HUP); my $p = fork; exit if defined $p && !$p }";
    let script = format!("trap '' TERM; perl -e '{flood}'");
    for user in users() {
        let limits = Limits { processes: Some(32), ..Limits::default() };
        let mut launched = Launch::sh(&script).jailed().by(user).limits(limits).start().unwrap();
        let mut lines = BufReader::new(launched.stdout.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        launched.order(&Order::Stop { grace_ms: 200 });
        let ended = launched.ended();
        assert_eq!((ended.outcome, ended.survivors), (Outcome::Signal(libc::SIGKILL), vec![]));
    }
}
