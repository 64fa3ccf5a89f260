//! Starts that fail say where and what to do; a launcher without a daemon runs nothing.

use super::support::{Jailer, Launch, launcher_alone};
use flexcore_jailer::protocol::frames::encode;
use flexcore_jailer::protocol::{Order, Report, Stage, StartFailure};
use std::fs::{File, Permissions, set_permissions, write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

fn failure(launch: Launch) -> StartFailure {
    match launch.start() {
        Ok(launched) => panic!("started as {}", launched.pid),
        Err(failure) => failure,
    }
}

#[test]
fn a_missing_program_is_named() {
    let failure = failure(Launch::program(["/no/such/tap-csv"]));
    assert_eq!((failure.stage, failure.errno), (Stage::Exec, libc::ENOENT));
    assert!(failure.message.contains("/no/such/tap-csv was not found"), "{}", failure.message);
}

#[test]
fn a_file_that_cannot_be_executed_is_explained() {
    let script = |content: &str, mode| {
        let mut launch = Launch::sh("");
        let path = launch.workdir().join("tap");
        write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        launch.policy.argv = vec![path.display().to_string()];
        failure(launch)
    };
    let plain = script("#!/bin/sh\n", 0o644);
    assert_eq!((plain.stage, plain.errno), (Stage::Exec, libc::EACCES));
    assert!(plain.message.contains("chmod +x"), "{}", plain.message);
    let interpreter = script("#!/no/such/python3\n", 0o755);
    assert_eq!(interpreter.errno, libc::ENOENT);
    assert!(interpreter.message.contains("interpreter /no/such/python3"), "{}", interpreter.message);
    assert_eq!(script("echo no first line\n", 0o755).errno, libc::ENOEXEC);
}

#[test]
fn a_missing_working_directory_is_named() {
    let mut launch = Launch::sh("");
    launch.policy.workdir = "/no/such/scratch".into();
    let failure = failure(launch);
    assert_eq!((failure.stage, failure.errno), (Stage::WorkingDirectory, libc::ENOENT));
    assert!(failure.message.contains("/no/such/scratch"), "{}", failure.message);
}

#[test]
fn a_policy_that_cannot_run_is_refused() {
    let failure = failure(Launch::program(["relative"]));
    assert_eq!(failure.stage, Stage::Policy);
    assert!(failure.message.contains("argv[0]"), "{}", failure.message);
}

#[test]
fn descriptors_must_match_the_policy() {
    let mut jailer = Jailer::spawn();
    let null = File::open("/dev/null").unwrap();
    let order = Order::Start(Box::new(Launch::sh("").policy.clone()));
    jailer.send_with(&encode(&order).unwrap(), &[null.as_fd()]);
    let Report::StartFailed(failure) = jailer.report() else { panic!("it started") };
    assert_eq!(failure.stage, Stage::Policy);
    assert!(failure.message.contains("1 descriptors"), "{}", failure.message);
    assert_eq!(jailer.exit_code(), Some(1));
}

/// Whether the rest of the policy is understood or not, both builds are named.
#[test]
fn an_order_of_another_build_is_refused_by_name() {
    let order = |build: &str| {
        let mut policy = Launch::sh("").policy.clone();
        policy.build = build.to_owned();
        encode(&Order::Start(Box::new(policy))).unwrap()
    };
    let (known, unknown) = (b"\xa8internet", b"\xa8intranet");
    let mut foreign = order("9.9.9+0123abcd");
    let at = foreign.windows(known.len()).position(|bytes| bytes == known).unwrap();
    foreign[at..at + known.len()].copy_from_slice(unknown);
    for frame in [order("9.9.9+0123abcd"), foreign] {
        let mut jailer = Jailer::spawn();
        jailer.send_with(&frame, &[]);
        let Report::StartFailed(failure) = jailer.report() else { panic!("it started") };
        let expected = format!(
            "this launcher is of build {}, and was asked by build 9.9.9+0123abcd",
            flexcore_jailer::BUILD
        );
        assert_eq!((failure.stage, failure.message.as_str()), (Stage::Policy, expected.as_str()));
        assert_eq!(jailer.exit_code(), Some(1));
    }
}

#[test]
fn bytes_of_another_protocol_are_refused() {
    let mut jailer = Jailer::spawn();
    jailer.send_with(&[0xFF; 64], &[]);
    let Report::StartFailed(failure) = jailer.report() else { panic!("it started") };
    assert_eq!(failure.stage, Stage::Policy);
    assert_eq!(jailer.exit_code(), Some(1));
}

#[test]
fn a_daemon_that_leaves_before_its_policy_leaves_nothing() {
    let mut jailer = Jailer::spawn();
    jailer.hang_up();
    assert_eq!(jailer.exit_code(), Some(1));
}

#[test]
fn a_person_who_starts_it_is_told_what_it_is() {
    let output = launcher_alone();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("started by flexcore"), "{text}");
}
