//! The tables of both versions on imitated files, and what needs no controller on the host's real version 2 hierarchy. The
//! limits themselves are tried by the daemon's tests, which know where its groups are.

use super::{Cgroup, CgroupError, CgroupLimits, CgroupSpec, Directories, Names, Parents, destroy, v1, v2};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs::{create_dir, read_dir, read_to_string, remove_file, write};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const LIMITS: CgroupLimits =
    CgroupLimits { memory_bytes: Some(64 << 20), processes: Some(9), millicpus: Some(1500) };

/// libc's constant of this name is cut off at 32 bits, where it is zero.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Regular files where the kernel would have made its own.
fn imitate(directory: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        write(directory.join(name), content).unwrap();
    }
}

/// A group on imitated files: nothing to remove.
fn imitated(names: Names) -> Result<Cgroup, CgroupError> {
    Cgroup::limit(names, Directories::make(&[]).unwrap())
}

fn content(directory: &Path, name: &str) -> String {
    read_to_string(directory.join(name)).unwrap()
}

#[test]
fn version_2_gets_its_limits_and_is_read() {
    let group = tempfile::tempdir().unwrap();
    let events = "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n";
    imitate(
        group.path(),
        &[
            ("memory.max", ""),
            ("memory.swap.max", ""),
            ("memory.oom.group", ""),
            ("pids.max", ""),
            ("cpu.max", ""),
            ("memory.events", events),
            ("memory.current", "4096\n"),
            ("cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
        ],
    );
    let cgroup = imitated(v2::names(group.path().to_owned(), &LIMITS)).unwrap();
    let written = ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"]
        .map(|name| content(group.path(), name));
    assert_eq!(written, ["67108864", "0", "1", "9", "150000 100000"]);
    assert_eq!((cgroup.oom_kills(), cgroup.peak_bytes()), (0, Some(4096)));
    assert_eq!(cgroup.cpu_time(), Some(Duration::from_millis(2500)));
    // The file that was opened once is read again; and what the kernel keeps goes before what is now.
    imitate(group.path(), &[("memory.events", "oom_kill 3\n"), ("memory.peak", "8192\n")]);
    assert_eq!((cgroup.oom_kills(), cgroup.peak_bytes()), (3, Some(8192)));
}

#[test]
fn version_1_writes_memory_before_memory_and_swap() {
    let parent = tempfile::tempdir().unwrap();
    let [memory, pids, both] = ["memory", "pids", "cpu,cpuacct"].map(|name| {
        let directory = parent.path().join(name);
        create_dir(&directory).unwrap();
        directory
    });
    let names = v1::names(memory.clone(), pids.clone(), both.clone(), Some(both.clone()), &LIMITS);
    assert_eq!(names.directories, [&pids, &memory, &both].map(PathBuf::clone), "each once, pids first");
    let order: Vec<&str> =
        names.limits.iter().map(|write| write.path.file_name().unwrap().to_str().unwrap()).collect();
    let memory_first = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness"];
    assert_eq!(order, [&memory_first[..], &["pids.max", "cpu.cfs_period_us", "cpu.cfs_quota_us"]].concat());

    // Without swap accounting, as many kernels come.
    imitate(
        &memory,
        &[
            ("memory.limit_in_bytes", ""),
            ("memory.swappiness", ""),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("memory.max_usage_in_bytes", "12288\n"),
        ],
    );
    imitate(&pids, &[("pids.max", "")]);
    imitate(&both, &[("cpu.cfs_period_us", ""), ("cpu.cfs_quota_us", ""), ("cpuacct.usage", "1000000\n")]);
    let cgroup = imitated(names).unwrap();
    assert_eq!(content(&memory, "memory.limit_in_bytes"), "67108864");
    assert_eq!((content(&memory, "memory.swappiness"), content(&pids, "pids.max")), ("0".into(), "9".into()));
    assert_eq!(content(&both, "cpu.cfs_quota_us"), "150000");
    assert_eq!((cgroup.oom_kills(), cgroup.peak_bytes()), (2, Some(12288)));
    assert_eq!(cgroup.cpu_time(), Some(Duration::from_millis(1)));
}

#[test]
fn a_limit_that_cannot_be_set_is_an_error_with_file_reason_and_cure() {
    let group = tempfile::tempdir().unwrap();
    imitate(group.path(), &[("memory.max", ""), ("memory.events", "oom_kill 0\n"), ("cpu.max", "")]);
    let limits = CgroupLimits { processes: Some(9), ..CgroupLimits::default() };
    let error = imitated(v2::names(group.path().to_owned(), &limits)).unwrap_err();
    assert_eq!((error.errno, &error.path), (Errno::ENOENT, &group.path().join("pids.max")));
    let text = error.to_string();
    assert!(text.starts_with("cannot write 9 to /") && text.contains("(ENOENT): the kernel or"), "{text}");

    // A kernel that does not count what it killed could end a program without anyone learning why.
    imitate(group.path(), &[("memory.events", "low 0\n")]);
    let error = imitated(v2::names(group.path().to_owned(), &CgroupLimits::default())).unwrap_err();
    assert_eq!(error.errno, Errno::ENODATA);
    remove_file(group.path().join("memory.events")).unwrap();
    let error = imitated(v2::names(group.path().to_owned(), &CgroupLimits::default())).unwrap_err();
    assert_eq!(error.errno, Errno::ENOENT);
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let spec = |directory: &Path, name: &str| CgroupSpec {
        parents: Parents::V2 { directory: directory.to_owned() },
        name: name.to_owned(),
    };
    // A plain directory has none of the files.
    let error = Cgroup::create(&spec(parent.path(), "run"), &LIMITS).unwrap_err();
    assert_eq!((error.errno, error.path), (Errno::ENOENT, parent.path().join("run/memory.max")));
    assert_eq!(read_dir(parent.path()).unwrap().count(), 0);

    for name in ["", ".", "..", "../up", "a/b", "a\0b", "ä", ".hidden", &"x".repeat(129)] {
        let error = Cgroup::create(&spec(parent.path(), name), &LIMITS).unwrap_err();
        assert_eq!((error.errno, error.path), (Errno::EINVAL, PathBuf::from(name)));
    }
    let error = Cgroup::create(&spec(Path::new("relative"), "run"), &LIMITS).unwrap_err();
    assert_eq!(error.errno, Errno::EINVAL);
    create_dir(parent.path().join("taken")).unwrap();
    let error = Cgroup::create(&spec(parent.path(), "taken"), &LIMITS).unwrap_err();
    assert_eq!(error.errno, Errno::EEXIST);
    assert!(parent.path().join("taken").exists(), "another's group is left alone");
}

#[test]
fn a_directory_that_several_controllers_share_is_named_once() {
    let [a, b] = ["/a", "/b"].map(PathBuf::from);
    let parents =
        Parents::V1 { memory: a.clone(), pids: b.clone(), cpu: a.clone(), cpuacct: Some(b.clone()) };
    assert_eq!(parents.directories(), [&b, &a]);
}

/// A group in the host's version 2 hierarchy, which has no controllers where version 1 has them: its count of kills is
/// imitated. `None` where there is no such hierarchy or this user may not make groups in it.
fn unified(name: &str) -> Option<(Cgroup, PathBuf, TempDir)> {
    let mounts = read_to_string("/proc/self/mounts").unwrap();
    let mount =
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|line| line[2] == "cgroup2");
    let directory = Path::new(mount?[1]).join(format!("flexcore-test-{name}-{}", std::process::id()));
    let mut names = v2::names(directory.clone(), &CgroupLimits::default());
    let events = tempfile::tempdir().unwrap();
    imitate(events.path(), &[("memory.events", "oom_kill 0\n")]);
    names.oom_kills.path = events.path().join("memory.events");
    match Directories::make(&names.directories) {
        Ok(made) => Some((Cgroup::limit(names, made).unwrap(), directory, events)),
        Err(error) => {
            assert!(matches!(error.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS), "{error}");
            None
        }
    }
}

/// A shell that waits for a line before it runs the script.
fn waiting_shell(script: &str) -> (Child, Pid) {
    let shell = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(shell.id()).unwrap());
    (shell, pid)
}

#[test]
fn a_real_version_2_group_is_entered_killed_and_removed() {
    let Some((cgroup, directory, _events)) = unified("kill") else { return };
    let (mut shell, pid) = waiting_shell("sleep 600 & setsid sleep 600 & echo; wait");
    cgroup.add(pid).unwrap();
    drop(shell.stdin.take());
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    assert_eq!(content(&directory, "cgroup.procs").lines().count(), 3);
    assert_eq!(cgroup.kill_all().unwrap(), []);
    assert_eq!(shell.wait().unwrap().signal(), Some(libc::SIGKILL));
    cgroup.remove().unwrap();
    assert!(!directory.exists());
}

#[test]
fn a_real_version_2_group_is_destroyed_and_one_that_is_gone_is_no_error() {
    let Some((cgroup, directory, _events)) = unified("destroy") else { return };
    let (mut shell, pid) = waiting_shell("exit 0");
    cgroup.add(pid).unwrap();
    destroy(&directory).unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert!(!directory.exists());
    destroy(&directory).unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn a_child_can_be_born_in_a_version_2_group() {
    let Some((cgroup, directory, _events)) = unified("clone") else { return };
    let entrance = cgroup.entrance().unwrap();
    let inside = entrance.directory().unwrap().as_raw_fd();
    // SAFETY: clone_args is plain numbers; all zero is a valid value of it.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = u64::try_from(inside).unwrap();
    // SAFETY: without CLONE_VM this is a fork; the child makes system calls only.
    let pid = unsafe {
        match libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) {
            0 => loop {
                libc::pause();
            },
            pid => Pid::from_raw(i32::try_from(pid).unwrap()),
        }
    };
    let listed = content(&directory, "cgroup.procs");
    kill(pid, Signal::SIGKILL).unwrap();
    waitpid(pid, None).unwrap();
    assert_eq!(listed.trim(), pid.to_string());
    drop(entrance);
    drop(cgroup);
    assert!(!directory.exists(), "dropping removes it");
}
