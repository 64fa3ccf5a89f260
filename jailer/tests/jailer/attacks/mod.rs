//! Attacks of a program on its jail, one module for each kind of prey: each is made inside, by the superuser's launcher and
//! an ordinary user's, and must end as expected with the host unharmed. Never in here: what programs may do.
//!
//! What a shell cannot do is done by this test binary itself, as one of its ignored tests.

mod degraded;
mod files;
mod hygiene;
mod kernel;
mod mounts;
mod network;
mod processes;
mod resources;

use super::support::Launch;
use nix::errno::Errno;
use nix::unistd::chown;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// This binary, running one of its ignored tests, in the jail.
fn attacker(test: &str) -> Launch {
    let binary = this_binary();
    let name = format!("attacks::{test}");
    Launch::program([binary.to_str().unwrap(), "--ignored", "--exact", &name, "--nocapture"])
        .jailed()
        .shows(&binary, false)
}

/// The same outside: the control.
fn outside(test: &str) -> Told {
    let name = format!("attacks::{test}");
    let mut command = Command::new(this_binary());
    let output = command.args(["--ignored", "--exact", &name, "--nocapture"]).output().unwrap();
    told(&String::from_utf8_lossy(&output.stdout))
}

fn this_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// What an attacker found out, by name.
type Told = BTreeMap<String, String>;

/// What lines of an attacker begin with.
const MARK: &str = "attack ";

/// Said by an attacker.
#[expect(clippy::print_stdout, reason = "an attacker's output is how it answers")]
fn tell(name: &str, value: impl Display) {
    // on a line of its own, whatever the test harness has written before
    println!("\n{MARK}{name} {value}");
}

/// The number of the last call's error, or what it answered instead.
fn tell_answer(name: &str, answer: libc::c_long) {
    if answer < 0 { tell(name, Errno::last()) } else { tell(name, "permitted") }
}

fn told(output: &str) -> Told {
    let lines = output.lines().filter_map(|line| line.strip_prefix(MARK)?.split_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A directory of the host that everyone may enter, with the owner that a launcher of `user` can hand on.
fn directory(user: Option<u32>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    if user.is_some() {
        chown(directory.path(), user.map(Into::into), user.map(Into::into)).unwrap();
    }
    directory
}
