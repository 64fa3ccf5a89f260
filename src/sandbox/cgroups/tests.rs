//! Limits on the host's real groups, with real programs. Where the host offers none, each test asserts that `prepare` says
//! so too; tables and files of the other version are tested in the launcher's crate.

use super::{CONTROLLERS, CgroupsError, Groups};
use flexcore_jailer::cgroup::{Cgroup, CgroupLimits, CgroupSpec, Parents};
use nix::errno::Errno;
use nix::unistd::Pid;
use std::fs::{create_dir, read_dir, read_to_string, remove_dir};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node's name of a test's own.
fn node(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

/// The groups for a test, or none on a host that offers none; the two views of the host must agree.
fn groups(test: &str) -> Option<Groups> {
    let prepared = Groups::prepare(&node(test));
    assert_eq!(prepared.is_ok(), offered(test), "{:?}", prepared.err().map(|error| error.to_string()));
    prepared.ok()
}

/// Whether the host offers groups, found out by trying at the usual places, not by what is tested.
fn offered(test: &str) -> bool {
    let own = read_to_string("/proc/self/cgroup").unwrap();
    let makes = |directory: PathBuf| {
        let group = directory.join(format!("try-{test}-{}", std::process::id()));
        create_dir(&group).is_ok_and(|()| remove_dir(group).is_ok())
    };
    let v1 = |controller: &str| {
        let field = format!(":{controller}:");
        let path = own.lines().find_map(|line| line.split_once(&field)).map(|(_, path)| path)?;
        Some(makes(Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'))))
    };
    if CONTROLLERS.iter().all(|controller| v1(controller) == Some(true)) {
        return true;
    }
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return false };
    let group = Path::new("/sys/fs/cgroup").join(path.trim_end_matches("flexcore.daemon"));
    let has = |file: &str, word: &str| {
        read_to_string(group.join(file)).unwrap_or_default().split_whitespace().any(|one| one == word)
    };
    let alone = read_to_string(group.join("cgroup.procs")).is_ok_and(|procs| procs.lines().count() <= 1);
    let enabled = CONTROLLERS.iter().all(|controller| has("cgroup.subtree_control", controller));
    CONTROLLERS.iter().all(|controller| has("cgroup.controllers", controller))
        && (alone || enabled || !group.join("cgroup.type").exists())
        && makes(group)
}

fn group(groups: &Groups, limits: CgroupLimits) -> Cgroup {
    let spec = CgroupSpec { parents: groups.parents().clone(), name: "run".to_owned() };
    Cgroup::create(&spec, &limits).unwrap()
}

/// A shell that is in the group before it runs the script; it leads a process group of its own.
fn run(group: &Cgroup, script: &str) -> Child {
    let mut shell = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    group.add(Pid::from_raw(i32::try_from(shell.id()).unwrap())).unwrap();
    drop(shell.stdin.take());
    shell
}

/// A file of the group that [`group`] makes, on version 1 in the hierarchy of this controller.
fn file(groups: &Groups, controller: &str, name: &str) -> PathBuf {
    let parent = match groups.parents() {
        Parents::V1 { pids, .. } if controller == "pids" => pids,
        Parents::V1 { cpu, .. } => cpu,
        Parents::V2 { directory } => directory,
    };
    parent.join("run").join(name)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_memory_bomb_split_over_children_is_counted_as_oom_with_its_peak() {
    const LIMIT: u64 = 48 << 20;
    let Some(groups) = groups("memory") else { return };
    let group = group(&groups, CgroupLimits { memory_bytes: Some(LIMIT), ..CgroupLimits::default() });
    assert_eq!(group.oom_kills(), 0);
    // tail keeps all of a line without an end. Neither child exceeds the limit, nor do both if one is killed.
    let child = "head -c 32M /dev/zero | tail >/dev/null";
    let mut shell = run(&group, &format!("({child}) & ({child}) & wait"));
    shell.wait().unwrap();
    assert!(group.oom_kills() > 0);
    let peak = group.peak_bytes().unwrap();
    assert!((LIMIT / 10 * 9..=LIMIT).contains(&peak), "{peak}");
    group.remove().unwrap();
}

#[test]
fn what_stays_below_the_limit_is_not_killed() {
    let Some(groups) = groups("below") else { return };
    let group = group(&groups, CgroupLimits { memory_bytes: Some(96 << 20), ..CgroupLimits::default() });
    let mut shell = run(&group, "head -c 32M /dev/zero | tail >/dev/null");
    assert!(shell.wait().unwrap().success());
    assert_eq!(group.oom_kills(), 0);
    assert!(group.peak_bytes().unwrap() > 32 << 20);
}

#[test]
fn memory_is_not_swapped_away_where_the_kernel_counts_swap() {
    const LIMIT: u64 = 32 << 20;
    let Some(groups) = groups("swap") else { return };
    let group = group(&groups, CgroupLimits { memory_bytes: Some(LIMIT), ..CgroupLimits::default() });
    match groups.parents() {
        Parents::V1 { memory, .. } => {
            let read =
                |name: &str| read_to_string(memory.join("run").join(name)).map(|text| text.trim().to_owned());
            assert_eq!(read("memory.limit_in_bytes").unwrap(), LIMIT.to_string());
            assert_eq!(read("memory.swappiness").unwrap(), "0");
            // Memory and swap together are no more than memory alone, so there is no swap.
            assert!(
                read("memory.memsw.limit_in_bytes").is_ok_and(|both| both == LIMIT.to_string())
                    || !memory.join("memory.memsw.limit_in_bytes").exists()
            );
        }
        Parents::V2 { directory } => {
            let swap = read_to_string(directory.join("run/memory.swap.max"));
            assert!(
                swap.map_or_else(
                    |error| error.raw_os_error() == Some(Errno::ENOENT as i32),
                    |max| max == "0\n"
                )
            );
        }
    }
    group.remove().unwrap();
}

#[test]
fn a_process_too_many_is_refused() {
    const PROCESSES: usize = 6;
    let Some(groups) = groups("pids") else { return };
    let limits = CgroupLimits { processes: Some(PROCESSES as u64), ..CgroupLimits::default() };
    let group = group(&groups, limits);
    // A shell gives up when it cannot fork; what it said is waited for, then what it left behind is counted.
    let mut shell = run(&group, "for i in 1 2 3 4 5 6 7 8; do sleep 600 >/dev/null 2>&1 & done; echo all");
    let mut output = String::new();
    shell.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let mut complaint = String::new();
    BufReader::new(shell.stderr.take().unwrap()).read_line(&mut complaint).unwrap();
    assert!(output.is_empty() && complaint.to_lowercase().contains("fork"), "{output}{complaint}");
    shell.wait().unwrap();
    let procs = file(&groups, "pids", "cgroup.procs");
    assert_eq!(read_to_string(&procs).unwrap().lines().count(), PROCESSES - 1, "all but the shell");
    assert_eq!(group.kill_all().unwrap(), []);
    group.remove().unwrap();
    assert!(!procs.exists());
}

#[test]
fn half_a_processor_is_half_the_time() {
    let Some(groups) = groups("cpu") else { return };
    let group = group(&groups, CgroupLimits { millicpus: Some(500), ..CgroupLimits::default() });
    let stat = file(&groups, "cpu", "cpu.stat");
    let throttled = || -> u64 {
        let text = read_to_string(&stat).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
        line.parse().unwrap()
    };
    let started = Instant::now();
    // Two loops, which would use two processors.
    let mut shell = run(&group, "(while :; do :; done) & while :; do :; done");
    until("ten periods that ended early", || throttled() >= 10);
    assert_eq!(group.kill_all().unwrap(), []);
    shell.wait().unwrap();
    let (used, wall) = (group.cpu_time().unwrap(), started.elapsed());
    // A period's quota in advance, and what the kernel hands out in slices.
    let allowed = wall / 2 + Duration::from_millis(100);
    assert!(used <= allowed && used > Duration::from_millis(100), "{used:?} in {wall:?}");
}

#[test]
fn a_fork_bomb_is_overtaken() {
    let Some(groups) = groups("bomb") else { return };
    // A bound for the host's sake, far above what is waited for: shells end when they cannot fork.
    let group = group(&groups, CgroupLimits { processes: Some(2000), ..CgroupLimits::default() });
    let procs = file(&groups, "pids", "cgroup.procs");
    let bomb = "bomb() { while :; do sleep 600 & done; }";
    let mut shell =
        run(&group, &format!("trap '' TERM HUP; exec >/dev/null 2>&1; {bomb}; bomb & bomb & bomb"));
    until("a bomb that is going off", || read_to_string(&procs).unwrap().lines().count() > 100);
    assert_eq!(group.kill_all().unwrap(), []);
    assert_eq!(read_to_string(&procs).unwrap(), "");
    // By the signal, or because it could fork no more.
    assert!(!shell.wait().unwrap().success());
    group.remove().unwrap();
    assert!(!procs.exists());
}

#[test]
fn a_child_enters_by_itself_from_namespaces_too() {
    let Some(groups) = groups("enter") else { return };
    let group = group(&groups, CgroupLimits { processes: Some(1), ..CgroupLimits::default() });
    for namespaces in [0, libc::CLONE_NEWUSER | libc::CLONE_NEWNS] {
        let entrance = group.entrance().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "cat /proc/self/cgroup & wait"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let enter = move || {
            // SAFETY: changes this one-threaded child only.
            Errno::result(unsafe { libc::unshare(namespaces) })?;
            entrance.enter().map_err(|(errno, _)| errno.into())
        };
        // SAFETY: entering writes to open files and does nothing else.
        let output = unsafe { command.pre_exec(enter) }.output().unwrap();
        assert!(output.stdout.is_empty(), "it is in the group, so it cannot fork");
        assert!(!output.status.success());
    }
    group.remove().unwrap();
}

#[test]
fn only_who_made_a_group_removes_it_by_dropping() {
    let Some(groups) = groups("drop") else { return };
    let directories: Vec<PathBuf> =
        groups.parents().directories().into_iter().map(|parent| parent.join("run")).collect();
    let mut made = Some(group(&groups, CgroupLimits::default()));
    let mut command = Command::new("true");
    let in_the_child = move || {
        drop(made.take());
        Ok(())
    };
    // SAFETY: the copy of the group is freed; the allocator is made ready for that by every fork.
    unsafe { command.pre_exec(in_the_child) }.status().unwrap();
    assert!(directories.iter().all(|directory| directory.exists()));
    drop(command);
    assert!(!directories.iter().any(|directory| directory.exists()));
}

#[test]
fn a_name_is_given_once() {
    let Some(groups) = groups("names") else { return };
    let first = group(&groups, CgroupLimits::default());
    let spec = CgroupSpec { parents: groups.parents().clone(), name: "run".to_owned() };
    let error = Cgroup::create(&spec, &CgroupLimits::default()).unwrap_err();
    assert_eq!(error.errno, Errno::EEXIST);
    // The failed creation left the group of the first alone.
    first.remove().unwrap();
}

#[test]
fn nodes_are_told_apart_and_leave_nothing() {
    let Some(one) = groups("one") else { return };
    let other = groups("other").unwrap();
    let error = Groups::prepare(&node("one")).unwrap_err();
    assert!(
        matches!(error, CgroupsError::Taken { .. }) && error.to_string().contains("node.name"),
        "{error}"
    );
    let directories: Vec<PathBuf> = one.parents().directories().into_iter().map(Path::to_owned).collect();
    assert!(directories.iter().all(|directory| directory.exists()));
    drop(one);
    assert!(!directories.iter().any(|directory| directory.exists()));
    assert!(other.parents().directories().iter().all(|directory| directory.exists()));
    drop(groups("one").unwrap());
}

#[test]
fn a_sweep_kills_what_an_earlier_life_left_and_nothing_of_another_node() {
    let Some(mine) = groups("swept") else { return };
    let other = groups("spared").unwrap();
    let (left, spared) = (group(&mine, CgroupLimits::default()), group(&other, CgroupLimits::default()));
    let mut swept = run(&left, "trap '' TERM HUP; while :; do sleep 600; done");
    let mut lives = run(&spared, "echo; exec sleep 600");
    assert_eq!(mine.sweep().unwrap(), 1);
    assert_eq!(swept.wait().unwrap().signal(), Some(libc::SIGKILL));
    for parent in mine.parents().directories() {
        let inside = read_dir(parent).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(inside.count(), 0);
    }
    assert_eq!(mine.sweep().unwrap(), 0);
    assert!(lives.try_wait().unwrap().is_none());
    assert_eq!(spared.kill_all().unwrap(), []);
    lives.wait().unwrap();
    // Its directories are gone; removing them once more is no error.
    left.remove().unwrap();
}

#[test]
fn a_node_that_names_no_group_is_refused() {
    for name in ["", "a/b", "../up", "ä", &"x".repeat(200)] {
        let error = Groups::prepare(name).map(|_| ()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EINVAL), "{name}: {error}");
    }
}
