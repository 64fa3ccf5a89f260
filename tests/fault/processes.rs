//! Processes seen through `/proc`: who is whose parent, and what is left of a node's programs. Only processes that a
//! test's own node has started are ever signalled, by their id.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use flexcore_test_support::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the programs of a dead node may take to be gone: their launchers notice at once and kill.
const GONE_DEADLINE: Duration = Duration::from_secs(15);

/// Kills one process of a program that the test's node has started.
pub(crate) fn kill9(pid: u32) {
    let id = Pid::from_raw(i32::try_from(pid).expect("a process id fits in its own type"));
    kill(id, Signal::SIGKILL).unwrap_or_else(|e| panic!("kill {pid}: {e}"));
}

/// The parent of a process: the launcher, of a program.
pub(crate) fn parent(pid: u32) -> u32 {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|e| panic!("look at {pid}: {e}"));
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    fields
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no parent in {stat}"))
}

/// The name that a process was started under.
pub(crate) fn name(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(first).into_owned()
}

/// Waits until no process but `node` (0 for none) has anything to do with a folder.
pub(crate) async fn all_gone(folder: &Path, node: u32) {
    wait_for("every process of the node is gone", GONE_DEADLINE, async || match left(folder, node) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;
}

/// Live processes whose working directory, arguments or environment lie in `folder`. A zombie has none of them.
pub(crate) fn left(folder: &Path, node: u32) -> Vec<String> {
    let of_it = |pid: &u32| {
        let path = format!("/proc/{pid}");
        let inside = fs::read_link(format!("{path}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        let named = |file: &str| {
            let text = fs::read(format!("{path}/{file}")).unwrap_or_default();
            memchr::memmem::find(&text, folder.as_os_str().as_bytes()).is_some()
        };
        inside || named("cmdline") || named("environ")
    };
    let all = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != node && *pid != std::process::id());
    others.filter(of_it).map(|pid| format!("{pid} {}", name(pid))).collect()
}

#[tokio::test]
async fn a_process_of_the_folder_is_seen_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        std::process::Command::new("sleep").arg("600").current_dir(folder.path()).spawn().unwrap();
    assert_eq!(parent(child.id()), std::process::id());
    wait_for("the child is seen", GONE_DEADLINE, async || match left(folder.path(), 0) {
        left if left.len() == 1 => Ok(()),
        left => Err(left),
    })
    .await;
    assert!(left(folder.path(), child.id()).is_empty(), "the node itself is not counted");
    kill9(child.id());
    all_gone(folder.path(), 0).await; // a zombie by now
    child.wait().unwrap();
}
