//! What a program finds on itself, and what is left of it afterwards.

use super::super::support::{Launch, alive, users};
use super::{attacker, tell, told};
use flexcore_jailer::process_tree::descendants;
use flexcore_jailer::protocol::Outcome;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::Pid;
use std::fs::{File, read, read_to_string};
use std::io::{Read, Write, pipe};

const SECRET: &str = "hunter2-of-the-policy";

#[test]
#[ignore = "not a test: the program that another test runs in the jail"]
fn looker() {
    let mut open: Vec<(i32, String)> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.display().to_string()))
        })
        .filter(|(_, target)| !target.ends_with("/fd"))
        .collect();
    open.sort();
    tell("numbers", open.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(","));
    tell("sockets", open.iter().filter(|(_, target)| target.starts_with("socket:")).count());
    let status = read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        let (name, value) = line.split_once(':').unwrap();
        tell(name, value.trim());
    }
    tell("environment", std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(","));
}

#[test]
fn a_program_starts_with_nothing_but_what_it_was_given() {
    let leak = File::open("/dev/null").unwrap();
    fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    for user in users() {
        let inside = told(&attacker("hygiene::looker").by(user).run().1);
        assert_eq!((inside["numbers"].as_str(), inside["sockets"].as_str()), ("0,1,2", "0"));
        assert_eq!(inside["environment"], "PATH");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(inside[set], "0000000000000000", "{set}");
        }
        let (new_privileges, filter) = (inside["NoNewPrivs"].as_str(), inside["Seccomp"].as_str());
        assert_eq!((new_privileges, filter), ("1", "2"));
        assert_eq!(inside["Uid"], "1000\t1000\t1000\t1000");
        assert_eq!(inside["Gid"], "1000\t1000\t1000\t1000");
    }
}

/// Its environment and files are the program's own; on the host only the superuser and the same user can look into them.
#[test]
fn secrets_are_in_no_command_line_or_environment_of_launcher_and_init() {
    for user in users() {
        let (input, mut go) = pipe().unwrap();
        let launch = Launch::sh("read go; cat secret; cat /proc/*/environ /proc/*/cmdline | tr '\\0' ' '")
            .jailed()
            .by(user);
        let path = launch.workdir().join("secret");
        let mut launched = launch.file(&path, 0o400, SECRET).stdin(input).start().unwrap();
        let launcher = Pid::from_raw(i32::try_from(launched.jailer.process.id()).unwrap());
        let tree: Vec<Pid> =
            std::iter::once(launcher).chain(descendants(launcher).iter().map(|one| one.pid)).collect();
        assert!(tree.len() >= 3, "launcher, init and program: {tree:?}");
        for pid in tree {
            for file in ["cmdline", "environ"] {
                let text = read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{file} of {pid}");
            }
        }
        assert!(!path.exists(), "it is on no disk");
        go.write_all(b"\n").unwrap();
        let mut output = String::new();
        launched.stdout.read_to_string(&mut output).unwrap();
        assert_eq!(output.matches(SECRET).count(), 1, "{output}");
        assert!(!output.contains("INHERITED"), "the launcher's environment: {output}");
        launched.ended();
    }
}

#[test]
fn nothing_is_left_of_a_program() {
    let script =
        "mkdir -p d/e; head -c 1M /dev/zero > d/e/f; mkfifo p; (setsid sleep 600 &); sleep 600 & exit 3";
    for user in users() {
        for round in 0..10 {
            let mut launched = Launch::sh(script).jailed().by(user).start().unwrap();
            let launcher = Pid::from_raw(i32::try_from(launched.jailer.process.id()).unwrap());
            let work = launched.workdir.path().to_owned();
            let ended = launched.ended();
            assert_eq!((ended.outcome, ended.survivors), (Outcome::Exit(3), vec![]), "round {round}");
            assert!(descendants(launcher).is_empty() && !alive(launched.pid));
            assert_eq!(launched.jailer.exit_code(), Some(0));
            assert_eq!(work.read_dir().unwrap().count(), 0, "the host's directory was not used");
            let mounts = read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(work.to_str().unwrap()), "{mounts}");
        }
    }
}
