//! Files that were not granted, and what a granted directory must not be used for.

use super::super::support::{Launch, users};
use super::directory;
use flexcore_jailer::protocol::{Limits, Outcome, Stage};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chown, getuid};
use std::fs::{Permissions, copy, hard_link, metadata, read_to_string, set_permissions, write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn climbing_and_links_lead_nowhere() {
    for user in users() {
        let (granted, outside) = (directory(user), directory(user));
        let secret = outside.path().join("secret");
        write(&secret, "secret").unwrap();
        set_permissions(&secret, Permissions::from_mode(0o666)).unwrap();
        symlink(&secret, granted.path().join("link")).unwrap();
        symlink(outside.path(), granted.path().join("place")).unwrap();
        let name = outside.path().file_name().unwrap().display().to_string();
        let script = format!(
            "cd {}; for f in ../{name}/secret link place/secret /proc/self/root{2} /proc/self/cwd/../{name}/secret \
             /proc/1/root{2} /proc/1/cwd{2}; do cat $f; echo attacked > $f; chmod 0 $f; stat -c %n $f; rm -f $f; done; {1}",
            granted.path().display(),
            "ln -s /etc/shadow s; cat s",
            secret.display(),
        );
        let control = Command::new("cat").arg(granted.path().join("link")).output().unwrap();
        assert_eq!(control.stdout, b"secret", "the control");
        let launch = Launch::sh(&script).jailed().by(user).shows(granted.path(), true);
        let (_, output) = launch.run();
        assert_eq!(output, "link\n", "only the link itself is there, which was granted");
        assert_eq!(read_to_string(&secret).unwrap(), "secret");
        assert_eq!(metadata(&secret).unwrap().permissions().mode() & 0o777, 0o666);
    }
}

#[test]
fn the_system_cannot_be_written_and_its_devices_are_absent() {
    for user in users() {
        let script = "for f in /x /usr/x /usr/bin/x /etc/x /etc/passwd /run/x /var/x /dev/x /proc/x \
                      /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/1/oom_score_adj /sys/x /dev/mem /dev/kmsg \
                      /dev/vda /dev/sda /dev/tty /dev/fuse /dev/kvm /lib/x /flexcore; do echo x > $f && echo wrote $f; done; \
                      chmod 777 /usr/bin/env /etc/passwd /dev/null && echo chmod; rm -f /etc/passwd /bin/sh /dev/null; \
                      ls /sys /proc/sys /proc/kcore /proc/kallsyms /boot; echo end";
        let (_, output) = Launch::sh(&format!("exec 2>/dev/null; {script}")).jailed().by(user).run();
        assert_eq!(output, "end\n");
        assert!(Path::new("/usr/bin/env").exists() && !Path::new("/usr/x").exists());
    }
}

/// The owner of a granted directory is the program's user in its own view: what it made set-user-id there would be a way
/// to that owner for everyone on the host, the superuser included.
#[test]
fn no_set_user_id_program_can_be_left_on_the_host() {
    for user in users() {
        let granted = directory(user);
        let script = "cp /bin/true t; chmod u+s t; chmod g+s t; chmod 4755 t; \
                      perl -e 'chmod 06755, q(t); open(F, q(<), q(t)); chmod 06755, *F; \
                      sysopen(G, q(new), 0101, 06755); \
                      syscall(437, -100, $p = q(how), pack(q(QQQ), 0101, 06755, 0), 24); \
                      syscall(452, -100, $q = q(t), 04755, 0)'; mkdir -m 700 d; ls -ln";
        let script = format!("umask 0; cd {}; {script}", granted.path().display());
        let (ended, output) = Launch::sh(&script).jailed().by(user).shows(granted.path(), true).run();
        assert_eq!(ended.outcome, Outcome::Exit(0));
        let made: Vec<_> = granted.path().read_dir().unwrap().map(|entry| entry.unwrap()).collect();
        assert!(made.iter().any(|entry| entry.file_name() == "t"), "{output}");
        for entry in made {
            assert_eq!(
                entry.metadata().unwrap().mode() & 0o6000,
                0,
                "{} in {output}",
                entry.path().display()
            );
        }
    }
}

#[test]
fn a_set_user_id_program_gives_nothing() {
    if !getuid().is_root() {
        return; // nobody else can make one of another user
    }
    for user in users() {
        const OTHER: u32 = 1;
        let granted = directory(user);
        let program = granted.path().join("id");
        copy("/usr/bin/id", &program).unwrap();
        chown(&program, Some(OTHER.into()), Some(OTHER.into())).unwrap();
        set_permissions(&program, Permissions::from_mode(0o6755)).unwrap();
        let script = format!("{0} -u; {0} -g", program.display());
        let (_, output) = Launch::sh(&script).jailed().by(user).shows(granted.path(), true).run();
        assert_eq!(output, "1000\n1000\n");
    }
}

#[test]
fn device_nodes_in_a_granted_directory_are_closed_and_none_can_be_made() {
    for user in users() {
        let granted = directory(user);
        let zero = granted.path().join("zero");
        let everyone = Mode::from_bits_truncate(0o666);
        if getuid().is_root() {
            mknod(&zero, SFlag::S_IFCHR, everyone, makedev(1, 5)).unwrap();
            set_permissions(&zero, Permissions::from_mode(0o666)).unwrap();
            let control = Command::new("head").args(["-c", "1"]).arg(&zero).output().unwrap();
            assert_eq!(control.stdout, [0], "the control");
        }
        let script = format!(
            "cd {}; head -c 1 zero; mknod mem c 1 1; mknod disk b 254 0; mknod /tmp/mem c 1 1; mkfifo fifo; ls",
            granted.path().display()
        );
        let (_, output) = Launch::sh(&script).jailed().by(user).shows(granted.path(), true).run();
        let expected = if getuid().is_root() { "fifo\nzero\n" } else { "fifo\n" };
        assert_eq!(output, expected);
    }
}

#[test]
fn what_may_be_read_cannot_be_linked_or_moved_to_where_it_may_be_written() {
    for user in users() {
        let both = directory(user);
        let (read, write_) = (both.path().join("read"), both.path().join("write"));
        for place in [&read, &write_] {
            std::fs::create_dir(place).unwrap();
            set_permissions(place, Permissions::from_mode(0o777)).unwrap();
        }
        let file = read.join("file");
        write(&file, "data").unwrap();
        set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        hard_link(&file, both.path().join("control")).unwrap();
        let script = format!(
            "cd {}; ln {r}/file link; mv {r}/file moved; mv {r} dir; ln /usr/bin/env env; mv /etc/passwd p; ls -A",
            write_.display(),
            r = read.display()
        );
        let launch = Launch::sh(&script).jailed().by(user).shows(&read, false).shows(&write_, true);
        // mv copies what it cannot move: only the original must stay, and stay unlinked
        launch.run();
        assert_eq!(metadata(&file).unwrap().nlink(), 2, "the control's link and its own");
        assert_eq!(read_to_string(&file).unwrap(), "data");
    }
}

#[test]
fn a_huge_file_in_a_granted_directory_ends_its_writer() {
    const MIB: u64 = 1 << 20;
    for user in users() {
        let granted = directory(user);
        let file = granted.path().join("huge");
        let limits = Limits { file_bytes: Some(MIB), ..Limits::default() };
        let script = format!("exec head -c 64M /dev/zero > {}", file.display());
        let launch = Launch::sh(&script).jailed().by(user).limits(limits).shows(granted.path(), true);
        assert_eq!(launch.run().0.outcome, Outcome::Signal(libc::SIGXFSZ));
        assert_eq!(metadata(&file).unwrap().len(), MIB);
    }
}

#[test]
fn the_launcher_itself_cannot_be_executed_again() {
    for user in users() {
        for itself in ["/proc/self/exe", "/proc/1/exe"] {
            let failure = Launch::program([itself]).jailed().by(user).start().err().unwrap();
            assert_eq!((failure.stage, failure.errno), (Stage::Exec, libc::EACCES), "{itself}");
        }
    }
}
