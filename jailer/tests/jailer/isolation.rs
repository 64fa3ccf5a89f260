//! What a program in the jail sees of the host, and what it can change: as the superuser's launcher makes it, and an
//! ordinary user's.

use super::support::{Launch, alive, until, users};
use flexcore_jailer::protocol::{Limits, Outcome, Stage};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::{Permissions, create_dir, metadata, read_to_string, set_permissions, write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use tempfile::{TempDir, tempdir};

/// A directory that everyone may enter.
fn open_directory() -> TempDir {
    let directory = tempdir().unwrap();
    set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    directory
}

#[test]
fn the_host_is_not_there() {
    for user in users() {
        let outside = open_directory();
        write(outside.path().join("secret"), "secret").unwrap();
        let script = format!(
            "ls {}; ls /home /root /sys /var/lib /boot /mnt; ls / | tr '\\n' ' '; cat /etc/shadow; hostname; \
             echo $(ls /dev); echo $(id -u) $(ls -d /proc/[0-9]* | wc -l)",
            outside.path().display()
        );
        let (_, output) = Launch::sh(&script).jailed().by(user).run();
        let mut lines = output.lines();
        let root: Vec<&str> =
            lines.next().unwrap().split(' ').filter(|name| !name.starts_with("lib")).collect();
        assert_eq!(
            root,
            ["bin", "dev", "etc", "proc", "run", "sbin", "tmp", "usr", "var", "flexcore"],
            "{output}"
        );
        assert_eq!(lines.next(), Some("fd full null random shm stderr stdin stdout urandom zero"));
        // Init, the shell, its subshell and ls or wc at most.
        let (id, processes) = lines.next().unwrap().split_once(' ').unwrap();
        assert!(id == "1000" && processes.parse::<u32>().unwrap() <= 5, "{output}");
    }
}

#[test]
fn what_is_granted_can_be_used_as_granted_and_its_owner_stays() {
    for user in users() {
        let (inside, outside) = (open_directory(), open_directory());
        if let Some(user) = user {
            std::os::unix::fs::chown(outside.path(), Some(user), Some(user)).unwrap();
        } else {
            // Only its owner may use it, and so may the program that it is granted to.
            set_permissions(outside.path(), Permissions::from_mode(0o700)).unwrap();
        }
        write(inside.path().join("in"), "data").unwrap();
        let (i, o) = (inside.path().display(), outside.path().display());
        let script = format!(
            "cat {i}/in > {o}/out && mkdir {o}/d && mv {o}/out {o}/d/out && echo more >> {o}/d/out && sync {o}/d/out; \
             echo x > {i}/new; echo x >> {i}/in; rm {i}/in; chmod 777 {i}/in; touch {i}/in; ls {i}"
        );
        let launch = Launch::sh(&script).jailed().by(user);
        let launch = launch.shows(inside.path(), false).shows(outside.path(), true);
        let (ended, output) = launch.run();
        assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(0), "in\n"));
        let made = outside.path().join("d/out");
        assert_eq!(read_to_string(&made).unwrap(), "datamore\n");
        assert_eq!(metadata(&made).unwrap().uid(), metadata(outside.path()).unwrap().uid());
        assert_eq!(read_to_string(inside.path().join("in")).unwrap(), "data");
    }
}

#[test]
fn a_single_file_can_be_granted_and_what_lies_beside_it_is_not() {
    for user in users() {
        let directory = open_directory();
        write(directory.path().join("granted"), "granted").unwrap();
        write(directory.path().join("other"), "other").unwrap();
        let script = format!("cd {} && ls && cat granted other", directory.path().display());
        let launch = Launch::sh(&script).jailed().by(user);
        let (ended, output) = launch.shows(&directory.path().join("granted"), false).run();
        assert_eq!((ended.outcome, output.as_str()), (Outcome::Exit(1), "granted\ngranted"));
    }
}

#[test]
fn a_link_that_took_the_place_of_what_was_granted_is_not_followed() {
    for user in users() {
        let directory = open_directory();
        let granted = directory.path().join("granted");
        create_dir(&granted).unwrap();
        let launch = Launch::sh("true").jailed().by(user).shows(&granted, true);
        std::fs::remove_dir(&granted).unwrap();
        symlink("/etc", &granted).unwrap();
        let failure = launch.start().err().unwrap();
        assert_eq!(failure.stage, Stage::View);
        assert!(failure.message.contains("became a symbolic link"), "{}", failure.message);
    }
}

#[test]
fn what_does_not_exist_is_named() {
    for user in users() {
        let directory = open_directory();
        let gone = directory.path().join("gone");
        create_dir(&gone).unwrap();
        let launch = Launch::sh("true").jailed().by(user).shows(&gone, false);
        std::fs::remove_dir(&gone).unwrap();
        let message = launch.start().err().unwrap().message;
        assert!(message.contains(gone.to_str().unwrap()), "{message}");
    }
}

#[test]
fn placed_files_are_private_and_the_result_is_handed_out() {
    for user in users() {
        let mut launch = Launch::sh("pwd").jailed().by(user);
        let (work, secrets) = (launch.workdir().to_owned(), tempdir().unwrap());
        let secret = secrets.path().join("secrets/PASSWORD");
        let script = format!(
            "cat config.json {0}; stat -c %a {0}; echo x > {0}; rm {0}; cp config.json result.json; echo >> config.json",
            secret.display()
        );
        launch.policy.argv[2] = script;
        launch.policy.result = Some(work.join("result.json"));
        let launch = launch.file(&work.join("config.json"), 0o600, "{}").file(&secret, 0o400, "hunter2");
        let mut launched = launch.start().unwrap();
        let mut output = String::new();
        std::io::Read::read_to_string(&mut launched.stdout, &mut output).unwrap();
        let ended = launched.ended();
        assert_eq!(ended.outcome, Outcome::Exit(0), "{output}");
        assert!(output.starts_with("{}hunter2400\n"), "{output}");
        assert!(ended.result);
        assert_eq!(launched.jailer.attached(), "{}");
        assert!(std::fs::read_dir(&work).unwrap().next().is_none(), "nothing of it was on the host");
        assert!(!secret.exists());
    }
}

#[test]
fn private_space_is_bounded() {
    for user in users() {
        let script = "head -c 900000 /dev/zero > a && head -c 900000 /dev/zero > /tmp/b; wc -c < /tmp/b; \
                      : > /tmp/b; head -c 900000 /dev/zero > /dev/shm/c; echo x > /usr/x; echo x > /x";
        let limits = Limits { scratch_bytes: Some(1 << 20), ..Limits::default() };
        let (_, output) = Launch::sh(script).jailed().by(user).limits(limits).run();
        let stored: u64 = output.trim().parse().unwrap();
        assert!(stored < 200_000, "{stored} bytes more than the rest of 1 MiB");
    }
}

#[test]
fn processes_are_bounded_for_the_tree_alone() {
    for user in users() {
        let script = "i=0; while [ $i -lt 50 ]; do sleep 60 & i=$((i+1)); done";
        let limits = Limits { processes: Some(20), ..Limits::default() };
        let (ended, _) = Launch::sh(script).jailed().by(user).limits(limits.clone()).run();
        assert_eq!(ended.outcome, Outcome::Exit(2), "the shell cannot fork");
        let (ended, _) =
            Launch::sh("for i in 1 2 3 4 5; do sleep 0 & done; wait").jailed().by(user).limits(limits).run();
        assert_eq!(ended.outcome, Outcome::Exit(0), "processes of other programs and users do not count");
    }
}

#[test]
fn everything_ends_with_the_program_the_launcher_and_init() {
    for user in users() {
        // A daemon of its own session that ignores signals: only the namespace's end reaches it.
        let daemon = "setsid sh -c 'trap \"\" TERM HUP INT; echo daemon; exec sleep 1000' & ";
        let marker = format!("{}", std::process::id() * 1000 + user.unwrap_or(0) % 997);
        let script = format!("{daemon} exec sleep {marker}");
        for kill_launcher in [true, false] {
            let mut launched = Launch::sh(&script).jailed().by(user).start().unwrap();
            let tree = || -> Vec<Pid> {
                let launcher = Pid::from_raw(i32::try_from(launched.jailer.process.id()).unwrap());
                flexcore_jailer::process_tree::descendants(launcher).iter().map(|one| one.pid).collect()
            };
            until("init, program and daemon", || tree().len() >= 3);
            let all = tree();
            if kill_launcher {
                launched.jailer.signal(Signal::SIGKILL);
            } else {
                launched.jailer.hang_up();
            }
            until("the end of all", || all.iter().all(|pid| !alive(*pid)));
            launched.jailer.exit_code();
        }
    }
}

#[test]
fn stopping_reaches_the_program_and_its_end_is_told() {
    for user in users() {
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut launched = Launch::sh(script).jailed().by(user).start().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(&mut launched.stdout, &mut ready).unwrap();
        launched.order(&flexcore_jailer::protocol::Order::Stop { grace_ms: 20_000 });
        assert_eq!(launched.ended().outcome, Outcome::Exit(7));
    }
}

#[test]
fn signals_and_usage_are_the_programs_own() {
    for user in users() {
        let (ended, _) = Launch::sh("kill -SEGV $$").jailed().by(user).run();
        assert_eq!(ended.outcome, Outcome::Signal(libc::SIGSEGV));
        let (ended, _) =
            Launch::sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").jailed().by(user).run();
        assert!(ended.usage.cpu_ms > 0 && ended.usage.peak_memory_bytes > 0, "{:?}", ended.usage);
    }
}

#[test]
fn without_the_grant_no_process_can_be_started_but_threads_and_exec_can() {
    for user in users() {
        let start = |script| {
            let mut launch = Launch::sh(script).jailed().by(user);
            launch.policy.subprocess = false;
            launch.run()
        };
        assert_eq!(start("(exit 3)").0.outcome, Outcome::Exit(2), "fork is refused");
        assert_eq!(start("exec echo in place").1, "in place\n");
        let mut launch = Launch::program([
            "/usr/bin/python3",
            "-c",
            "import threading, os\nt = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n\
             try: os.posix_spawn('/bin/true', ['true'], {})\nexcept PermissionError: print('refused')",
        ])
        .jailed()
        .by(user);
        launch.policy.subprocess = false;
        assert_eq!(launch.run().1, "thread\nrefused\n");
    }
}
