//! Mounts that cross between host and jail: neither sees the other's later ones, and none is left.

use super::super::support::{Launch, users};
use super::{directory, this_binary};
use flexcore_jailer::protocol::Shown;
use nix::unistd::getuid;
use std::fs::{create_dir, read_to_string, write};
use std::io::{Read, Write, pipe};
use std::path::Path;
use std::process::Command;

/// Mounts on the host are made in a mount namespace of the test's own, where the directory is shared as systemd shares
/// everything: a test that is killed leaves nothing.
#[test]
fn mounts_do_not_pass_between_host_and_jail() {
    if !getuid().is_root() {
        return; // only the superuser can make the mounts that would pass
    }
    let host = directory(None);
    let script = r#"mount -t tmpfs -o size=1m none "$1" && mount --make-shared "$1" && shift && exec "$@""#;
    let arguments = ["--ignored", "--exact", "attacks::mounts::in_a_shared_directory", "--nocapture"];
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(host.path());
    let output = command.arg(this_binary()).args(arguments).env("SHARED", host.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "not a test by itself: the other one runs it in a mount namespace of its own"]
fn in_a_shared_directory() {
    let shared = std::env::var("SHARED").unwrap();
    let shared = Path::new(&shared);
    let (below, late) = (shared.join("below"), shared.join("late"));
    create_dir(&below).unwrap();
    create_dir(&late).unwrap();
    let other = directory(None);
    write(other.path().join("file"), "").unwrap();
    for user in users() {
        let before = read_to_string("/proc/self/mountinfo").unwrap();
        let script = format!(
            "ls {0}; read go; ls {1}; echo attacked > {1}/file; cut -d' ' -f7- /proc/self/mountinfo",
            below.display(),
            late.display()
        );
        let (input, mut go) = pipe().unwrap();
        let mut launch = Launch::sh(&script).jailed().by(user).shows(shared, false).stdin(input);
        let source = other.path().canonicalize().unwrap();
        launch.policy.view.push(Shown { source, target: below.clone(), write: false });
        let mut launched = launch.start().unwrap();
        assert_eq!(
            read_to_string("/proc/self/mountinfo").unwrap(),
            before,
            "the jail's mounts are the host's"
        );

        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=777", "none"]).arg(&late);
        assert!(mount.status().unwrap().success());
        write(late.join("secret"), "").unwrap();
        go.write_all(b"\n").unwrap();
        let mut output = String::new();
        launched.stdout.read_to_string(&mut output).unwrap();
        launched.ended();
        assert!(output.starts_with("file\n"), "the nested grant is there: {output}");
        assert!(
            !output.contains("secret") && !output.contains("shared:") && !output.contains("master:"),
            "{output}"
        );
        assert!(!late.join("file").exists());
        assert!(Command::new("umount").arg(&late).status().unwrap().success());
    }
}

#[test]
fn every_mount_is_closed_to_devices_and_set_user_id_programs_and_the_hosts_root_is_gone() {
    for user in users() {
        let script = "cat /proc/self/mountinfo; ls -a / | grep -e host -e private; umount /usr; mount -o remount,rw /usr; \
                      touch /usr/x";
        let (_, output) = Launch::sh(script).jailed().by(user).run();
        let mut mounts = 0;
        for line in output.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            assert!(fields.len() > 6, "not a mount: {line}");
            let (point, options) = (fields[4], fields[5]);
            let has = |option: &str| options.split(',').any(|one| one == option);
            assert!(has("nosuid") && (has("nodev") || has("noexec") && point.starts_with("/dev/")), "{line}");
            let private = ["/tmp", "/dev/shm", "/proc"].iter().any(|own| point.starts_with(own));
            assert!(has("ro") || private || point.starts_with("/dev/"), "{line}");
            mounts += 1;
        }
        assert!(mounts > 5, "{output}");
    }
}
