//! A tree whose node was silent for too long stands still, and goes on or ends as the node's next news say.

use super::support::{ALL, BARE, Launch, Launched, users};
use flexcore_jailer::limits::FROZEN_MAX;
use flexcore_jailer::process_tree::descendants;
use flexcore_jailer::protocol::{Isolation, Order, Outcome};
use flexcore_jailer::since_boot;
use std::fs::read_to_string;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(300);
/// Long enough to be seen on a busy machine.
const STOPPED: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(3600);

/// A program with a child in a session of its own, both busy.
const TREE: &str = "setsid sh -c 'while :; do sleep 0.01; done' & while :; do sleep 0.01; done";

fn started(isolation: Isolation, user: Option<u32>) -> Launched {
    let mut launch = Launch::sh(TREE).by(user);
    launch.policy.isolation = isolation;
    launch.start().unwrap()
}

/// The states of the tree's processes as the kernel tells them, without init, which is the launcher's only child then.
fn states(launched: &Launched, isolation: Isolation) -> Vec<char> {
    let launcher = nix::unistd::Pid::from_raw(launched.jailer.process.id().cast_signed());
    let tree = descendants(launcher).into_iter();
    tree.filter(|one| !(isolation.namespaces && one.parent == launcher))
        .filter_map(|one| {
            let stat = read_to_string(format!("/proc/{}/stat", one.pid)).ok()?;
            stat.rsplit_once(") ")?.1.chars().next()
        })
        .collect()
}

fn until_states(launched: &Launched, isolation: Isolation, what: &str, all: impl Fn(&[char]) -> bool) {
    let deadline = Instant::now() + super::support::PATIENCE;
    loop {
        let states = states(launched, isolation);
        if all(&states) {
            return;
        }
        assert!(Instant::now() < deadline, "waited in vain until the tree is {what}: {states:?}");
        std::thread::yield_now();
    }
}

/// A shell that waits in `vfork` for a child which is stopped cannot be stopped itself (`D`), and does nothing either.
fn is_stopped(states: &[char]) -> bool {
    states.contains(&'T') && states.iter().all(|state| ['T', 'D'].contains(state))
}

/// Both shells are there, and nobody is stopped.
fn is_running(states: &[char]) -> bool {
    states.len() >= 2 && !states.contains(&'T')
}

#[test]
fn a_lease_that_runs_out_stops_the_tree_and_its_renewal_lets_it_go_on() {
    for (isolation, user) in users().into_iter().flat_map(|user| [(BARE, user), (ALL, user)]) {
        let mut launched = started(isolation, user);
        until_states(&launched, isolation, "running", is_running);
        launched.order(&Order::lease(since_boot() + SOON));
        until_states(&launched, isolation, "stopped", is_stopped);
        launched.order(&Order::lease(since_boot() + LONG));
        until_states(&launched, isolation, "running", is_running);
        launched.order(&Order::Kill);
        assert!(launched.ended().survivors.is_empty());
    }
}

#[test]
fn a_stopped_tree_is_killed_in_the_end() {
    for isolation in [BARE, ALL] {
        let mut launched = started(isolation, None);
        until_states(&launched, isolation, "running", is_running);
        launched.order(&Order::lease(since_boot() + STOPPED - FROZEN_MAX));
        until_states(&launched, isolation, "stopped", is_stopped);
        let ended = launched.ended();
        assert_eq!(ended.outcome, Outcome::LeaseOver);
        assert!(ended.survivors.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_stopped_tree_does_not_run_again_in_order_to_end() {
    let script = "trap 'echo ran; exit 0' TERM; echo up; while :; do :; done";
    let mut launched = Launch::sh(script).jailed().start().unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(&mut launched.stdout, &mut up).unwrap();
    launched.order(&Order::lease(since_boot()));
    until_states(&launched, ALL, "stopped", is_stopped);
    launched.order(&Order::stop(LONG));
    let ended = launched.ended();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut launched.stdout, &mut rest).unwrap();
    assert_eq!((ended.outcome, rest.as_str()), (Outcome::Signal(libc::SIGKILL), ""));
}
