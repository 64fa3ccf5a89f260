//! Finding and signalling descendants through `/proc`, so that a signal never hits a process that merely inherited a
//! number. Whether and when to kill is decided elsewhere; waiting for children is `reaper`'s.

use crate::limits::TREE_PROCESSES;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};
use std::io::ErrorKind;

/// A process below some root, and the process above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descendant {
    /// Its id.
    pub pid: Pid,
    /// Its parent when it was found.
    pub parent: Pid,
}

/// What `/proc/<pid>/stat` says of a process's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    dead: bool,
    parent: Pid,
    session: Pid,
}

/// Every live descendant of `root`, parents before children, at most [`TREE_PROCESSES`]. Zombies are left out but looked
/// through. A process that forks while it is looked at may be missed: call again until nothing is left.
#[must_use]
pub fn descendants(root: Pid) -> Vec<Descendant> {
    let children_of: Box<dyn Fn(Pid) -> Vec<Pid>> = if kernel_lists_children() {
        Box::new(children_listed)
    } else {
        let all = children_scanned();
        Box::new(move |pid| all.get(&pid).cloned().unwrap_or_default())
    };
    let mut found = Vec::new();
    let mut next = 0;
    let mut parent = root;
    loop {
        for pid in children_of(parent) {
            if found.len() < TREE_PROCESSES {
                found.push(Descendant { pid, parent });
            }
        }
        let Some(below) = found.get(next) else { break };
        parent = below.pid;
        next += 1;
    }
    found.retain(|descendant| place(descendant.pid).is_some_and(|place| !place.dead));
    found
}

/// Sends a signal to a descendant of `root` if it still is the process that was found. A process that has gone is no
/// error.
pub fn signal(root: Pid, descendant: Descendant, signal: Signal) {
    if descendant.parent == root {
        // A child of ours keeps its number until we wait for it.
        let _ = kill(descendant.pid, signal);
    } else {
        signal_if(descendant.pid, signal, |place| place.parent == descendant.parent || place.parent == root);
    }
}

/// Kills what is left of the session that `leader` led: the answer of a daemon whose launcher died before it could reap.
/// Descendants that made a session of their own are not found this way; only a pid namespace holds those. Answers who was
/// signalled; call again until that is nobody. The leader's number must not have been free for long, or the session may
/// be someone else's: call this at once after the launcher's end.
#[must_use]
pub fn kill_session(leader: Pid) -> Vec<Pid> {
    let in_session = |place: Place| place.session == leader && !place.dead;
    all_processes()
        .filter(|pid| place(*pid).is_some_and(in_session) && signal_if(*pid, Signal::SIGKILL, in_session))
        .collect()
}

/// Resident memory of one process in pages, 0 if it has gone: all of it, shared pages included.
#[must_use]
pub(crate) fn resident_pages(pid: Pid) -> u64 {
    let read = || -> Option<u64> {
        read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()
    };
    read().unwrap_or(0)
}

/// The bytes that only this process's existence costs: its share of anonymous and shared memory, swapped parts included.
/// Slow (the kernel walks the page tables). `None` if the kernel does not tell.
#[must_use]
pub(crate) fn proportional_bytes(pid: Pid) -> Option<u64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = |name: &str| -> Option<u64> {
        let rest = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some((kib("Pss_Anon:")? + kib("Pss_Shmem:")? + kib("SwapPss:").unwrap_or(0)) * 1024)
}

/// Signals through a descriptor that pins the process, after looking once more whether it is the right one.
fn signal_if(pid: Pid, signal: Signal, is_right: impl Fn(Place) -> bool) -> bool {
    let Some(number) = rustix::process::Pid::from_raw(pid.as_raw()) else { return false };
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pinned) => {
            let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) else { return false };
            place(pid).is_some_and(is_right) && pidfd_send_signal(pinned, signal).is_ok()
        }
        Err(rustix::io::Errno::SRCH) => false,
        // A sandboxed host may refuse the call: then the look just before the signal must do.
        Err(_) => place(pid).is_some_and(is_right) && kill(pid, signal).is_ok(),
    }
}

/// Whether the kernel was built with `/proc/<pid>/task/<tid>/children`; nearly all are.
fn kernel_lists_children() -> bool {
    let own = format!("/proc/self/task/{}/children", std::process::id());
    !matches!(read_to_string(own), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn children_listed(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.filter_map(|thread| read_to_string(thread.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(parse_pid).collect::<Vec<_>>()).collect()
}

fn children_scanned() -> HashMap<Pid, Vec<Pid>> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for pid in all_processes() {
        if let Some(place) = place(pid) {
            children.entry(place.parent).or_default().push(pid);
        }
    }
    children
}

fn all_processes() -> impl Iterator<Item = Pid> {
    let entries = read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| parse_pid(entry.ok()?.file_name().to_str()?))
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}

fn place(pid: Pid) -> Option<Place> {
    parse_stat(&read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name stands in parentheses and may hold anything, parentheses too: what follows the last one counts.
fn parse_stat(stat: &str) -> Option<Place> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = parse_pid(fields.next()?)?;
    let session = parse_pid(fields.nth(1)?)?;
    Some(Place { dead, parent, session })
}

#[cfg(test)]
mod tests {
    //! The two ways to find children agree; odd names do not confuse the parser.

    use super::{Place, children_listed, children_scanned, descendants, parse_stat, signal};
    use nix::sys::signal::Signal;
    use nix::unistd::{Pid, getpid};
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_may_hold_anything() {
        let place = Place { dead: false, parent: Pid::from_raw(7), session: Pid::from_raw(9) };
        assert_eq!(parse_stat("12 (a) Z 1 (b)) S 7 8 9 0 -1 4194304"), Some(place));
        assert_eq!(parse_stat("12 (a) Z 7 8 9"), Some(Place { dead: true, ..place }));
        assert_eq!(parse_stat("12 (a"), None);
    }

    #[test]
    fn grandchildren_are_found_both_ways_and_signalled() {
        let script = "setsid sleep 600 & echo $!; wait";
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let parent = Pid::from_raw(i32::try_from(shell.id()).unwrap());
        let grandchild = Pid::from_raw(line.trim().parse().unwrap());
        assert_eq!(children_listed(parent), [grandchild]);
        assert_eq!(children_scanned()[&parent], [grandchild]);
        let found = descendants(getpid());
        let child = *found.iter().find(|one| one.pid == parent).unwrap();
        let below = *found.iter().find(|one| one.pid == grandchild).unwrap();
        assert_eq!((child.parent, below.parent), (getpid(), parent));
        // The shell ends when its child has ended: the signal went where it should.
        signal(getpid(), below, Signal::SIGKILL);
        let status = shell.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
        assert!(!descendants(getpid()).iter().any(|one| one.pid == grandchild));
    }
}
